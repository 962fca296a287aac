"""How a photograph becomes a square of the size that a model takes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from padinv.runtime.images import prepare, square_box

RESIZES = ("lanczos", "area")


def square_pixels(
    image: Image.Image, size: int, full_size: tuple[int, int] | None = None, resize: str = "lanczos"
) -> np.ndarray:
    """The centred square of a picture, uint8 RGB [size, size, 3].

    Args:
        image: RGB.
        full_size: the source's own size where `image` is a reduced decode of it.
        resize: 'lanczos', or 'area': each pixel is the mean of those it covers (OpenCV's INTER_AREA), where the
            picture is larger than the result.
    """
    if resize == "lanczos" or min(image.size) <= size:
        return prepare(image, size, "crop", full_size).pixels
    box = square_box(image.size, "crop")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX, box=box), np.uint8)
