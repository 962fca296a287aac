"""Training loops, configuration and presets."""
