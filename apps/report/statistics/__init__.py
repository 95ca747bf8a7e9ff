"""What the runs of a comparison say: summaries, intervals, tests, a recommendation."""
