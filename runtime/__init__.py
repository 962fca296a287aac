"""The torch-free half of padinv: bundles, sessions, inversion files, editing and the batch pipeline."""
