"""Many files at once: find inputs, invert, edit, generate and align them, and keep the record."""
