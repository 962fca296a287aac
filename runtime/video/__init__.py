"""Clips: one face followed through a video file or a folder of frames, edited, smoothed over time and pasted back."""
