"""Benchmarks: one question for each script."""
