"""Images: read, prepare, convert and measure."""

from __future__ import annotations

from padinv.runtime.images.colour import to_rgb
from padinv.runtime.images.formats import SUFFIXES, UNREAD_SUFFIXES, sniff
from padinv.runtime.images.limits import MAX_FILE_BYTES, check_size
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
from padinv.runtime.images.reading import check_image_bytes, read_image, read_image_bytes, turn_upright

__all__ = [
    "FITS",
    "MAX_FILE_BYTES",
    "SUFFIXES",
    "UNREAD_SUFFIXES",
    "Fit",
    "Prepared",
    "array_to_image",
    "average_pool",
    "check_image_bytes",
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
