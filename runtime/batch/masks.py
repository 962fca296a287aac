"""Masks that limit where two pictures are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import cut, item_transform
from padinv.runtime.batch.sources import Loaded
from padinv.runtime.errors import InputError
from padinv.runtime.images import Prepared, read_image


def read_mask(path: Path | str, like: Loaded, side: int) -> np.ndarray:
    """A mask that limits where two pictures are compared: white counts, black does not.

    Args:
        path: a picture of the size of A's photograph, which is cut like it, or a square one, taken as the aligned face.
        like: A.

    Returns:
        float64 [side, side] in [0, 1].

    Raises:
        InputError: unreadable, of a size that fits neither, or black everywhere.
    """
    image, size = read_image(path)
    transform, known = item_transform(like.item), like.item.get("size")
    if known is not None and list(size) == list(known) and transform is not None:
        prepared: Prepared = cut(image, transform, side, size=size, name=str(path))
    elif size[0] == size[1]:
        prepared = cut(image, None, side)
    else:
        raise InputError(
            f"the mask {path} has {size[0]} x {size[1]} pixels; it must be square, or of the size of {like.source.path}"
        )
    mask = np.asarray(Image.fromarray(prepared.pixels).convert("L"), np.float64) / 255
    if mask.max() < 0.5:
        raise InputError(f"the mask {path} is black on the whole face, so nothing would be compared; white counts")
    return mask
