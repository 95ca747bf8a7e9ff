"""Sentiment of short texts: negative, neutral or positive, how strongly, and why."""
