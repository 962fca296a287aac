"""Metrics over a test set."""
