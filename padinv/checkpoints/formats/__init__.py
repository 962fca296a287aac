"""The checkpoint formats that padinv reads: one module per format."""
