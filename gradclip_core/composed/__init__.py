"""Clippers made of other clippers."""
