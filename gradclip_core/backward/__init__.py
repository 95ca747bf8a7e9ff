"""Clipping inside the backward pass, and sample by sample."""
