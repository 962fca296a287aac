"""Masks and regions given as pictures: white counts, black does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import cut, item_transform
from padinv.runtime.batch.sources import Loaded
from padinv.runtime.editing.region import NAMED, Region, named_mask, parse_resolutions, region_of_mask
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.images import Prepared, read_image
from padinv.runtime.spec import ModelSpec


def read_mask(path: Path | str, like: Loaded | None, side: int) -> np.ndarray:
    """A mask over the aligned face: white counts, black does not.

    Args:
        path: a square picture, taken as the aligned face, or one of the size of `like`'s photograph, which is cut like
            it.
        like: the picture that the mask belongs to; None: only square masks are possible.

    Returns:
        float64 [side, side] in [0, 1].

    Raises:
        InputError: unreadable, of a size that fits neither, or black everywhere.
    """
    image, size = read_image(path)
    transform = None if like is None else item_transform(like.item)
    known = None if like is None else like.item.get("size")
    if known is not None and list(size) == list(known) and transform is not None:
        prepared: Prepared = cut(image, transform, side, size=size, name=str(path))
    elif size[0] == size[1]:
        prepared = cut(image, None, side)
    else:
        other = "" if like is None else f", or of the size of {like.source.path}"
        raise InputError(f"the mask {path} has {size[0]} x {size[1]} pixels; it must be square{other}")
    mask = np.asarray(Image.fromarray(prepared.pixels).convert("L"), np.float64) / 255
    if mask.max() < 0.5:
        raise InputError(f"the mask {path} is black on the whole face, so it selects nothing; white selects")
    return mask


def read_region(
    region: str | None, resolutions: str | None, spec: ModelSpec, like: Loaded | None = None
) -> Region | None:
    """The region that a person names, or None where nothing is limited.

    Args:
        region: a name out of `NAMED`, the path of a mask picture (see `read_mask`), or None: everywhere.
        resolutions: '4,8', or None: all.

    Raises:
        UsageError: neither a name nor a file; no such resolution; nothing left to move. InputError: see `read_mask`.
    """
    if region is None and resolutions is None:
        return None
    chosen = None if resolutions is None else parse_resolutions(resolutions, spec)
    if region is None:
        mask = np.ones((spec.image_size, spec.image_size))
    elif region in NAMED:
        mask = named_mask(region)
    elif os.path.exists(region):
        mask = read_mask(region, like, spec.image_size)
    else:
        raise UsageError(f"{region} is neither a mask picture nor one of {', '.join(NAMED)}")
    return region_of_mask(mask, spec, chosen)
