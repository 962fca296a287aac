"""Measuring reconstructions: metrics with bootstrap intervals. Pixel metrics of a bundle need no torch."""
