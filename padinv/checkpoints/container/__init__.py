"""Untrusted checkpoint files read without running their code."""
