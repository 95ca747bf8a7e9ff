"""Rules on what the optimizer's step has changed."""
