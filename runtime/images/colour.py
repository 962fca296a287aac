"""Any pixels -> 8-bit sRGB: colour profiles, transparency, grey of 16 bits."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.errors import InputError

BACKGROUND = (255, 255, 255)  # what transparent pixels, and the margins of fit='pad', become
_MAX_PROFILE_BYTES = 16 << 20
_STRIP_PIXELS = 1 << 22  # worked on at once where an intermediate form takes several times the memory
_EXACT: Any = 0x0100  # LittleCMS: compute every value instead of looking it up in a table
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")


def to_rgb(image: Image.Image, name: object = "the picture", *, keep_profile: bool = False) -> Image.Image:
    """Any Pillow image -> mode RGB in sRGB; transparent areas become white, 16-bit grey is scaled to 8 bits.

    Args:
        name: stands in messages.
        keep_profile: leave the colours of an image with an RGB profile as they are, and the profile in `info`.

    Raises:
        InputError: floating-point or 32-bit pixels, whose range is not stated.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 128 < len(profile) <= _MAX_PROFILE_BYTES:
        profile = None
    if image.mode == "RGB" and "transparency" not in image.info and profile is None:
        return image if type(image) is Image.Image and not image.info else _plain(image)
    if image.mode == "F" or image.mode == "I" or image.mode.startswith("I;"):
        image = _grey_of_16_bits(image, name)
    if image.mode == "La":
        image = image.convert("LA")
    kept = profile if keep_profile and image.mode in ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA") else None
    if "transparency" in image.info or image.mode in _ALPHA_MODES:
        result = _on_white(image, None if kept else profile)
    else:
        if image.mode in ("P", "PA", "1", "RGBX", "I;16"):
            image = image.convert("L" if image.mode == "1" else "RGB")
        result = (None if kept or profile is None else _through_profile(image, profile)) or image.convert("RGB")
    result = _plain(result)
    if kept is not None and is_rgb_profile(kept):
        result.info["icc_profile"] = kept
    return result


def to_profile(pixels: np.ndarray, profile: bytes | None) -> np.ndarray:
    """sRGB pixels -> the same colours in the space of an ICC profile, so that they can be pasted into its image.

    Args:
        pixels: uint8 RGB [H, W, 3]. profile: of an RGB image; None: sRGB.

    Returns:
        uint8 RGB [H, W, 3].
    """
    transform = None if profile is None else _transform(profile, "RGB", backward=True)
    if transform is None:
        return pixels
    converted = transform.apply(Image.fromarray(np.ascontiguousarray(pixels)))
    return np.asarray(converted, np.uint8)


def is_rgb_profile(profile: bytes) -> bool:
    """Whether an ICC profile describes RGB pixels."""
    return profile[16:20] == b"RGB "


def _plain(image: Image.Image) -> Image.Image:
    """A copy that no file belongs to and that says nothing about itself."""
    result = image if type(image) is Image.Image else image.copy()
    result.info = {}
    return result


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """RGB, grey or CMYK pixels -> sRGB; None where the profile does not fit them, is damaged, or is sRGB itself."""
    transform = _transform(profile, image.mode)
    if transform is None:
        return None
    if image.mode != "L":
        result: Image.Image | None = transform.apply(image)
        return result
    ramp = transform.apply(Image.fromarray(np.arange(256, dtype=np.uint8)[None]))
    return Image.fromarray(np.asarray(ramp)[0][np.asarray(image)])


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str, *, backward: bool = False) -> Any:
    """Pillow's transform from a profile to sRGB, or backward; None where there is nothing to do or nothing usable."""
    if mode not in ("RGB", "L", "CMYK") or profile[16:20] != {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}[mode]:
        return None
    try:
        from PIL import ImageCms
    except ImportError:  # a Pillow that was built without LittleCMS
        return None
    try:
        theirs, ours = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        if backward:
            transform = ImageCms.buildTransform(ours, theirs, "RGB", mode)
        else:
            # LittleCMS's table for grey is coarse in the darks: up to 10 levels off for a linear profile.
            flags: Any = _EXACT if mode == "L" else 0
            transform = ImageCms.buildTransform(theirs, ours, mode, "RGB", flags=flags)
        if mode == "RGB":
            probe = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3), axis=-1).reshape(-1, 18, 3)
            moved = np.asarray(transform.apply(Image.fromarray(probe)))
            if np.abs(moved.astype(int) - probe).max() <= 1:
                return None  # sRGB by another name: pixels stay exactly as they are
        return transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _strips(image: Image.Image) -> list[tuple[int, int, int, int]]:
    rows = max(1, _STRIP_PIXELS // image.width)
    return [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def _on_white(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Pixels with transparency, drawn on white."""
    result = Image.new("RGB", image.size)
    for box in _strips(image):
        rgba = image.crop(box).convert("RGBA")
        if profile is None and rgba.getchannel("A").getextrema() == (255, 255):
            result.paste(rgba.convert("RGB"), box[:2])
            continue
        if profile is not None and (converted := _through_profile(rgba.convert("RGB"), profile)) is not None:
            converted.putalpha(rgba.getchannel("A"))
            rgba = converted
        under = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        result.paste(Image.alpha_composite(under, rgba).convert("RGB"), box[:2])
    return result


def _grey_of_16_bits(image: Image.Image, name: object) -> Image.Image:
    """Whole numbers of 0 to 65,535 -> mode L; 65,535 becomes 255."""
    result = Image.new("L", image.size)
    for box in _strips(image):
        values = np.asarray(image.crop(box))
        if image.mode == "F" or values.size == 0 or values.min() < 0 or values.max() > 65535:
            raise InputError(
                f"{name} has the pixel type {image.mode}, whose value range is unknown, so it was skipped; "
                "convert it to 8 or 16 bits first"
            )
        grey = (values.astype(np.uint32) * 255 + 32767) // 65535
        result.paste(Image.fromarray(grey.astype(np.uint8)), box[:2])
    return result
