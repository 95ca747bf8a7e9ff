"""A character-level language model: how surprising each character of a text is."""
