"""What a report is about: runs, grids of runs, and the record of their steps."""
