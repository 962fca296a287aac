"""Paste-back: the generated square returned to its photograph, through the exact inverse of how it was cut out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.alignment.crop import mirrored_region, sampled
from padinv.runtime.alignment.similarity import inverted, map_points, source_side
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.images import read_image
from padinv.runtime.images.colour import to_profile

DEFAULT_FEATHER = 0.12
_STRIP = 1 << 22  # photograph pixels that are worked on at once


def paste_back(
    photo: np.ndarray,
    square: np.ndarray,
    transform: np.ndarray,
    feather: float = DEFAULT_FEATHER,
    *,
    profile: bytes | None = None,
) -> np.ndarray:
    """Put a square picture back where it was cut out of a photograph.

    Inside the square the result blends from the photograph at the border to the square over the width of the seam; at
    and outside the border every pixel keeps its exact value.

    Args:
        photo: uint8 RGB [H, W, 3]; not written to.
        square: uint8 RGB [R, R, 3].
        transform: [2, 3], photograph pixels -> fractions of the square, as an `Inversion`'s items keep it.
        feather: width of the seam in fractions of the side, above 0 and up to 0.5.
        profile: ICC profile of the photograph's pixels, into which the square's sRGB colours are converted; None: sRGB.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        UsageError: a seam out of range. InputError: a transform without an inverse, or a square outside the photograph.
    """
    if not 0 < feather <= 0.5:
        raise UsageError(f"the seam must be wider than 0 and at most 0.5 of the side, not {feather}")
    transform = np.asarray(transform, np.float64)
    result = photo.copy()
    if not np.isfinite(transform).all() or not math.isfinite(source_side(transform)):
        raise InputError("the alignment kept with this inversion has no inverse, so nothing was pasted back")
    left, top, right, bottom = pasted_box(transform, (photo.shape[1], photo.shape[0]))
    if left >= right or top >= bottom:
        raise InputError("the alignment kept with this inversion lies outside the photograph, so nothing was pasted")
    picture, shift = _ready(to_profile(square, profile), transform)
    rows = max(1, _STRIP // (right - left))
    for start in range(top, bottom, rows):
        stop = min(start + rows, bottom)
        _strip(result[start:stop, left:right], picture, shift, transform, (left, start), feather)
    return result


def pasted_box(transform: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """[left, top, right, bottom] in pixels of a photograph of `size` (w, h): nothing outside changes."""
    corners = map_points(inverted(transform), np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64))
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, size).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _ready(square: np.ndarray, transform: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """The square, reduced where the photograph is coarser, in a mirrored frame; and the map fractions -> its pixels."""
    picture = Image.fromarray(square)
    reduction = max(1, math.floor(picture.width / source_side(transform)))
    if reduction > 1:
        picture = picture.reduce(reduction)
    side = square.shape[0] / reduction
    frame = min(4, picture.width)
    framed = mirrored_region(picture, (-frame, -frame, picture.width + frame, picture.height + frame))
    return framed, np.array([[side, 0, frame], [0, side, frame]])


def _strip(
    photo: np.ndarray,
    picture: Image.Image,
    shift: np.ndarray,
    transform: np.ndarray,
    origin: tuple[int, int],
    feather: float,
) -> None:
    """Blend into one part of the photograph, in place; `origin` is the part's upper left corner."""
    h, w = photo.shape[:2]
    local = transform.copy()
    local[:, 2] += transform[:, :2] @ origin  # pixels of this part -> fractions
    x, y = np.arange(w) + 0.5, np.arange(h)[:, None] + 0.5
    u = local[0, 0] * x + local[0, 1] * y + local[0, 2]
    v = local[1, 0] * x + local[1, 1] * y + local[1, 2]
    inside = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))  # distance to the border, in fractions
    t = np.clip(inside / feather, 0, 1)
    weight = (t * t * (3 - 2 * t))[..., None]
    matrix = shift[:, :2] @ local
    matrix[:, 2] += shift[:, 2]
    moved = np.clip(sampled(picture, matrix, (w, h)), 0, 255)
    blended = np.rint(photo + weight * (moved - photo)).astype(np.uint8)
    np.copyto(photo, blended, where=weight > 0)


def read_photo(path: Path | str, size: tuple[int, int] | list[int] | None = None) -> tuple[np.ndarray, bytes | None]:
    """A photograph to paste into: upright 8-bit RGB [H, W, 3] in its own colours, and their ICC profile.

    Give the profile to `paste_back` and to the file that is saved. It is None where the pixels are sRGB: the file has
    no profile, or is grey or CMYK and was converted.

    Args:
        size: [w, h] that it had when it was inverted; None: unknown.

    Raises:
        InputError: unreadable, or of another size than when it was inverted.
    """
    image, full = read_image(path, keep_profile=True)
    if size is not None and tuple(size) != full:
        raise InputError(
            f"{path} has {full[0]} x {full[1]} pixels, and the picture that was inverted had {size[0]} x {size[1]}, so "
            "nothing was pasted back"
        )
    return np.asarray(image, np.uint8), image.info.get("icc_profile")
