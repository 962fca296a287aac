"""Networks: generator, discriminators, encoders."""
