"""The model's square input made from a picture, and pixels between uint8 and float."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from padinv.runtime.errors import MismatchError, UsageError
from padinv.runtime.images.colour import BACKGROUND, to_rgb
from padinv.runtime.images.reading import read_image

Fit = Literal["crop", "pad"]
FITS: tuple[str, ...] = get_args(Fit)


@dataclass
class Prepared:
    """A picture made square for a model, and how.

    Attributes:
        pixels: uint8 RGB [S, S, 3].
        size: [w, h] of the upright source in pixels.
        fit: 'crop' or 'pad'.
        box: [left, top, right, bottom] of the square in the upright source, in pixels; with 'pad' it reaches outside.
            None for an aligned picture.
        transform: of an aligned picture, 2 x 3, source pixels -> fractions of the square; else None.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    fit: str
    box: tuple[float, float, float, float] | None
    transform: list[list[float]] | None = None

    def item(self) -> dict[str, Any]:
        """The fields an Inversion keeps about a picture."""
        box = None if self.box is None else list(self.box)
        return {"size": list(self.size), "transform": self.transform, "fit": self.fit, "box": box}


def square_box(size: tuple[int, int], fit: str) -> tuple[float, float, float, float]:
    """The centred square of a picture [left, top, right, bottom]: inside it ('crop') or around it ('pad').

    Raises:
        UsageError: another `fit`.
    """
    if fit not in FITS:
        raise UsageError(f"fit must be one of {', '.join(FITS)}, not {fit!r}")
    w, h = size
    side = min(w, h) if fit == "crop" else max(w, h)
    left, top = (w - side) / 2, (h - side) / 2
    return (left, top, left + side, top + side)


def prepare(image: Image.Image, size: int, fit: str = "crop", full_size: tuple[int, int] | None = None) -> Prepared:
    """Make a picture square and resize it (Lanczos) to the model's input.

    Args:
        image: a Pillow image of any mode; an RGB one that is S x S already keeps every pixel.
        size: S, the side of the model's input.
        fit: 'crop' the centred square, or 'pad' to one with white.
        full_size: the source's own size where `image` is a reduced decode of it.
    """
    full = full_size or image.size
    box = square_box(full, fit)
    rgb = to_rgb(image)
    if fit == "crop":
        small = square_box(rgb.size, fit)
        done = rgb if rgb.size == (size, size) else rgb.resize((size, size), Image.Resampling.LANCZOS, box=small)
    else:
        scale = size / max(rgb.size)
        inner = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
        done = Image.new("RGB", (size, size), BACKGROUND)
        scaled = rgb if inner == rgb.size else rgb.resize(inner, Image.Resampling.LANCZOS)
        done.paste(scaled, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return Prepared(np.asarray(done, np.uint8).copy(), full, fit, box)


def read_prepared(path: Path | str, size: int, fit: str = "crop") -> Prepared:
    """`read_image`, then `prepare`. JPEGs are decoded at no more than they need: at least three times the input.

    Raises:
        InputError: see `read_image`.
    """
    image, full = read_image(path, enough=3 * size)
    return prepare(image, size, fit, full)


def array_to_image(array: np.ndarray) -> Image.Image:
    """uint8 RGB [H, W, 3] -> Pillow image."""
    return Image.fromarray(np.ascontiguousarray(array))


def to_uint8(x: np.ndarray) -> np.ndarray:
    """float [N, 3, H, W] in [-1, 1] (values outside are clamped) -> uint8 [N, H, W, 3]."""
    scaled = np.clip(np.asarray(x, np.float32) * 127.5 + 127.5, 0, 255)
    return np.ascontiguousarray(np.rint(scaled).astype(np.uint8).transpose(0, 2, 3, 1))


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def average_pool(x: np.ndarray, size: int) -> np.ndarray:
    """[N, C, R, R] -> [N, C, size, size] by averaging blocks; R a multiple of `size`."""
    n, c, r, _ = x.shape
    if r == size:
        return x
    if r % size:
        raise MismatchError(f"an image of side {r} cannot be pooled to {size}")
    k = r // size
    result: np.ndarray = x.reshape(n, c, size, k, size, k).mean(axis=(3, 5))
    return result
