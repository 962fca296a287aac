"""Training of the encoder for a frozen generator."""
