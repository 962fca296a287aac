"""Strips and animations of a sequence of images."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.files import write_bytes


def strip(frames: np.ndarray) -> np.ndarray:
    """uint8 RGB frames [N, H, W, 3] -> one picture [H, N W + gaps, 3], left to right."""
    n, h, w, _ = frames.shape
    result = np.full((h, n * w + (n - 1) * 2, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        result[:, i * (w + 2) : i * (w + 2) + w] = frame
    return result


def unstrip(picture: np.ndarray, frames: int) -> np.ndarray:
    """The inverse of `strip`: one picture [H, N W + gaps, 3] -> its N frames [N, H, W, 3]."""
    width = (picture.shape[1] - (frames - 1) * 2) // frames
    return np.stack([picture[:, i * (width + 2) : i * (width + 2) + width] for i in range(frames)])


def tiled(frames: np.ndarray, columns: int) -> np.ndarray:
    """uint8 RGB frames [N, H, W, 3] -> rows of `columns` frames as one picture. N is a multiple of `columns`."""
    rows = [strip(frames[i : i + columns]) for i in range(0, len(frames), columns)]
    gap = np.full((2, *rows[0].shape[1:]), 255, np.uint8)
    return np.concatenate([part for row in rows for part in (gap, row)][1:])


def save_animation(path: Path | str, frames: np.ndarray, milliseconds: int = 120) -> None:
    """Write uint8 RGB frames [N, H, W, 3] as an endless WebP that runs there and back.

    Raises:
        OutputError: not writable.
    """
    write_bytes(path, animation_bytes(frames, milliseconds))


def animation_bytes(frames: np.ndarray, milliseconds: int = 120, exif: bytes = b"") -> bytes:
    """What `save_animation` writes, with EXIF data if given."""
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    images = [Image.fromarray(np.ascontiguousarray(frames[i])) for i in order]
    out = BytesIO()
    settings = {"duration": milliseconds, "loop": 0, "quality": 90, "exif": exif}
    images[0].save(out, "WEBP", save_all=True, append_images=images[1:], **settings)
    return out.getvalue()
