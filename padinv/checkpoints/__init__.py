"""Checkpoint files: read, recognise, write."""

from __future__ import annotations

from padinv.checkpoints.loading import describe, load_discriminator, load_encoder, load_generator
from padinv.checkpoints.native import generator_hash, save_encoder, save_generator, save_model

__all__ = [
    "describe",
    "generator_hash",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "save_encoder",
    "save_generator",
    "save_model",
]
