"""Checkpoint files: read, recognise, write."""

from __future__ import annotations

from padinv.checkpoints.native import (
    generator_hash,
    load_native_discriminator,
    load_native_encoder,
    load_native_generator,
    save_encoder,
    save_generator,
    save_model,
)

load_generator = load_native_generator
load_discriminator = load_native_discriminator
load_encoder = load_native_encoder

__all__ = [
    "generator_hash",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "save_encoder",
    "save_generator",
    "save_model",
]
