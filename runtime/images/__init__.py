"""Images: read, prepare, convert and measure."""

from __future__ import annotations

from padinv.runtime.images.preparing import (
    FITS,
    Fit,
    Prepared,
    array_to_image,
    average_pool,
    prepare,
    read_prepared,
    square_box,
    to_float,
    to_uint8,
)
from padinv.runtime.images.reading import (
    SUFFIXES,
    check_size,
    read_image,
    read_image_bytes,
    sniff,
    to_rgb,
    turn_upright,
)

__all__ = [
    "FITS",
    "SUFFIXES",
    "Fit",
    "Prepared",
    "array_to_image",
    "average_pool",
    "check_size",
    "prepare",
    "read_image",
    "read_image_bytes",
    "read_prepared",
    "sniff",
    "square_box",
    "to_float",
    "to_rgb",
    "to_uint8",
    "turn_upright",
]
