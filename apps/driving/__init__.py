"""Autonomous driving: a recurrent policy among obstacles that it detects badly."""
