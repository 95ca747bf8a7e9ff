"""The runs of a comparison: which there are, and making them here or on many machines."""
