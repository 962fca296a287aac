"""Cutting an aligned square out of a picture: any similarity, antialiased, with mirrored borders; and its inverse."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from padinv.runtime.alignment.similarity import inverted, map_points, source_side

MAX_CANVAS = 4096  # side of the supersampled square; photographs of more pixels are reduced first
MIN_SOURCE_SIDE = 4.0  # a square of fewer source pixels than this shows nothing
MAX_BEYOND = 8.0  # a square this many times larger than the picture shows nothing either


# How many samples a pixel of the result is averaged from, per axis. A source that is finer than this is reduced by
# whole pixels first: a 64-pixel square of a 12-megapixel portrait would otherwise be sampled at nine million places.
MAX_CELLS = 8


def crop_square(
    image: Image.Image, transform: np.ndarray, size: int, *, max_cells: int = MAX_CELLS
) -> np.ndarray | None:
    """Cut the unit square of `transform` out of an image.

    Sampled bicubically on a grid about as fine as the source (or as the result, where that is finer), then averaged
    over whole cells down to the result: no aliasing at any reduction. Beyond the image's borders it is mirrored.

    Args:
        image: RGB.
        transform: [2, 3], source pixels -> fractions of the square. Pixel i reaches from i to i + 1.
        size: side of the result.
        max_cells: samples per pixel and axis of the result, at most.

    Returns:
        uint8 RGB [size, size, 3]; None where the square is far too small, too large, or far outside the picture.
    """
    side = source_side(transform)
    if not MIN_SOURCE_SIDE <= side <= MAX_BEYOND * max(image.size):
        return None
    backward = inverted(transform)  # fractions -> source pixels
    corners = map_points(backward, np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64))
    most = max(1, min(max_cells, MAX_CANVAS // size))
    reduction = max(1, math.floor(side / (size * most)))
    margin = 3.0 * reduction
    low = np.floor(corners.min(axis=0) - margin).astype(np.int64)
    high = np.ceil(corners.max(axis=0) + margin).astype(np.int64)
    limit = MAX_BEYOND * max(image.size)
    if low.min() < -limit or high.max() > 2 * limit:
        return None
    region = mirrored_region(image, (int(low[0]), int(low[1]), int(high[0]), int(high[1])))
    if reduction > 1:
        region = region.reduce(reduction)
    cells = max(1, min(math.ceil(side / reduction / size), most))
    canvas = size * cells
    matrix = backward.copy()
    matrix[:, 2] -= low
    matrix[:, :2] /= canvas  # canvas pixels -> source pixels
    matrix /= reduction
    square = sampled(region, matrix, (canvas, canvas)).reshape(size, cells, size, cells, 3).mean(axis=(1, 3))
    result: np.ndarray | None = np.clip(np.rint(square), 0, 255).astype(np.uint8)
    return result


def sampled(image: Image.Image, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic samples of an RGB picture: float32 [H, W, 3] of `size` (w, h), black outside the picture.

    Args:
        matrix: [2, 3], pixels of the result -> pixels of the picture.
    """
    data = tuple(float(value) for value in np.asarray(matrix).reshape(-1))
    result = np.empty((size[1], size[0], 3), np.float32)
    for i, channel in enumerate(image.split()):  # as floats: in 8 bits Pillow rounds towards black
        moved = channel.convert("F").transform(size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
        result[..., i] = np.asarray(moved)
    return result


def mirrored_region(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """A region [left, top, right, bottom] that may reach beyond the picture, which is mirrored at its borders."""
    left, top, right, bottom = box
    w, h = image.size
    if left >= 0 and top >= 0 and right <= w and bottom <= h:
        return image.crop(box)
    pixels = np.asarray(image)
    rows, columns = mirrored_indices(top, bottom, h), mirrored_indices(left, right, w)
    return Image.fromarray(np.ascontiguousarray(pixels[rows[:, None], columns[None, :]]))


def mirrored_indices(start: int, stop: int, length: int) -> np.ndarray:
    """Indices start ... stop-1 folded into 0 ... length-1; the border pixel is repeated: c b a | a b c | c b a."""
    folded = np.arange(start, stop) % (2 * length)
    return np.where(folded < length, folded, 2 * length - 1 - folded)
