"""One run: its training, and the folder that it leaves behind."""
