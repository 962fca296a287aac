"""A generator, pictures and an encoder small enough to train for some steps inside a test."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from padinv.checkpoints.native import save_generator
from padinv.models.discriminator import Discriminator
from padinv.models.fast_encoder import Widths
from padinv.models.generator import Generator
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)


def small_widths(image_size: int, size: str | None = None) -> Widths:
    """In place of `padinv.models.fast_encoder.widths`: the same resolutions, narrow."""
    stages, resolution = {}, image_size // 2
    while resolution >= 4:
        stages[resolution] = (8, 1)
        resolution //= 2
    return Widths(stages, squeeze=8, hidden=16, fpn=8)


def write_generator(path: Path, discriminator: bool = False) -> Path:
    """A generator file at random weights."""
    torch.manual_seed(3)
    generator = Generator(SPEC).eval()
    with torch.no_grad():
        for layer in generator.layers:
            layer.noise_strength.fill_(0.1)
        generator.w_avg.normal_()
    save_generator(path, generator, Discriminator(32, SPEC.channels) if discriminator else None)
    return path


def picture_bytes(seed: int, size: int = 32) -> bytes:
    """A smooth colourful PNG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(path: Path, count: int = 13) -> Path:
    """A ZIP archive of pictures."""
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(count):
            archive.writestr(f"p{k:03d}.png", picture_bytes(k))
    return path
