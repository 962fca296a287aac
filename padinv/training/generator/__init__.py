"""Training of a small StyleGAN2 generator."""
