"""Faces brought to the position that a model expects, and back into their photographs."""
