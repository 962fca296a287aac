"""Checkpoint files: read, recognise, write."""
