"""Objectives, each usable alone."""
