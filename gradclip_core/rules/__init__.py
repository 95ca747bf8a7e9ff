"""Rules on gradients: the five parts put together."""
