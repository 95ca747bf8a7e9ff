"""The temporal order problem: which two symbols came early, and in what order."""
