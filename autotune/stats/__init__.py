"""Summaries and comparisons of raw samples. Standard library only."""
