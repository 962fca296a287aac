"""Aligning a face: from five landmarks to the crop that a model's template describes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from padinv.runtime.errors import InputError
from padinv.runtime.templates import similarity, template_named

_MAX_SUPERSAMPLING = 8
_MAX_MARGIN = 4  # how far a crop may reach beyond the picture, in widths and heights of the picture


def alignment(landmarks: Sequence[Sequence[float]] | np.ndarray, template: str = "faces") -> np.ndarray:
    """The similarity that brings a face's landmarks onto a template with the least squared error.

    Args:
        landmarks: [5, 2] in source pixels (a pixel's centre lies at .5): the person's right eye (at the picture's
            left), left eye, nose, right and left mouth corner.
        template: a name in `padinv.runtime.templates`.

    Returns:
        transform [2, 3], float64: source pixels -> fractions of the aligned square.

    Raises:
        UsageError: another template. InputError: landmarks that are not finite or fall together.
    """
    points, target = np.asarray(landmarks, np.float64), template_named(template)
    if points.shape != target.shape or not np.isfinite(points).all():
        raise InputError(f"five finite landmarks [5, 2] are needed, not {list(points.shape)}")
    if np.ptp(points, axis=0).max() < 1:
        raise InputError("the landmarks fall together, so the picture cannot be aligned")
    return similarity(points, target)


def invert_affine(transform: np.ndarray) -> np.ndarray:
    """The affine map [2, 3] that undoes `transform` [2, 3]."""
    linear = np.linalg.inv(transform[:, :2])
    return np.concatenate([linear, -linear @ transform[:, 2:]], axis=1)


def warp(image: Image.Image, transform: np.ndarray, size: int) -> Image.Image:
    """The aligned square of a picture, size x size; borders are mirrored, down-scaling is area-averaged.

    Args:
        image: mode RGB.
        transform: [2, 3], source pixels -> fractions of the square.

    Raises:
        InputError: the square lies so far outside the picture that mirrors would make most of it.
    """
    back = invert_affine(np.asarray(transform, np.float64))  # fractions -> source pixels
    corners = back[:, :2] @ np.array([[0, 1, 0, 1], [0, 0, 1, 1]]) + back[:, 2:]
    low, high = np.floor(corners.min(axis=1)) - 3, np.ceil(corners.max(axis=1)) + 3
    extent = np.array(image.size)
    if (low < -_MAX_MARGIN * extent).any() or (high > (1 + _MAX_MARGIN) * extent).any():
        raise InputError("the aligned square would lie far outside the picture, so it was not made")
    left, top, right, bottom = (int(v) for v in (*low, *high))
    inside = image.crop((max(left, 0), max(top, 0), min(right, extent[0]), min(bottom, extent[1])))
    if min(inside.size) < 1:
        raise InputError("the aligned square lies outside the picture, so it was not made")
    margins = ((max(-top, 0), max(bottom - extent[1], 0)), (max(-left, 0), max(right - extent[0], 0)), (0, 0))
    region = Image.fromarray(np.pad(np.asarray(inside), margins, mode="symmetric"))
    scale = math.sqrt(abs(np.linalg.det(back[:, :2]))) / size  # source pixels an output pixel
    k = min(_MAX_SUPERSAMPLING, max(1, math.ceil(scale)))
    step = back[:, :2] / (size * k)
    shift = back[:, 2] - (left, top)
    data = (step[0, 0], step[0, 1], shift[0], step[1, 0], step[1, 1], shift[1])
    fine = region.transform((size * k, size * k), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    return fine if k == 1 else fine.reduce(k)
