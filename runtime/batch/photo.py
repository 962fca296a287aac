"""Results in their photographs: NAME.photo.png."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from padinv.runtime.alignment.paste_back import paste_back, read_photo
from padinv.runtime.batch.ownership import Origin, image_bytes

PHOTO = ".photo.png"


def photo_bytes(
    path: Path | str,
    size: tuple[int, int] | list[int] | None,
    square: np.ndarray,
    transform: np.ndarray,
    origin: Origin,
    *,
    feather: float,
) -> bytes:
    """A PNG file of a photograph with a result in it.

    Args:
        path: the photograph. size: [w, h] that it had when it was inverted; None: unknown.
        square: uint8 RGB [R, R, 3]. transform: [2, 3], photograph pixels -> fractions of the square.
        feather: width of the seam in fractions of the square's side.

    Raises:
        InputError: the photograph cannot be read, or is another one now.
    """
    photo, profile = read_photo(path, size)
    return image_bytes(paste_back(photo, square, transform, feather, profile=profile), "png", origin, profile=profile)
