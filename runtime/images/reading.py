"""Reading pictures as people have them: upright 8-bit RGB, or one sentence why not."""

from __future__ import annotations

import os
import stat
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.errors import InputError

MAX_FILE_BYTES = 1 << 30
MAX_PIXELS = 120_000_000  # the largest cameras give 102 megapixels
BACKGROUND = (255, 255, 255)  # what transparent pixels, and the margins of fit='pad', become
SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff")
)  # what counts as a picture in a folder; a file named outright is judged by its content alone

# Format -> module of Pillow that reads it; only the one that is needed is imported.
_PLUGINS = {
    "PNG": "PngImagePlugin",
    "JPEG": "JpegImagePlugin",
    "WEBP": "WebPImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
}

# Files that people feed by mistake, by their first bytes.
_FOREIGN = (
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the real file with: git lfs pull"),
)

_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def sniff(head: bytes) -> str | None:
    """The picture format of a file that begins with these bytes, or None."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM"):
        return "BMP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    return None


def _foreign(head: bytes) -> str:
    """What a file that is no picture seems to be."""
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith((b"<svg", b"<?xml")):
        return "an SVG or XML file"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "text"
    return "of an unknown kind"


def read_image(path: Path | str, enough: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """Read a picture file as upright 8-bit RGB.

    EXIF rotation is applied, palettes are looked up, transparency is laid on white, CMYK and grey are converted, 16-bit
    grey is scaled to 8 bits. Of a file with several pictures the first one counts.

    Args:
        path: a PNG, JPEG, WebP, BMP or TIFF file, recognised by content.
        enough: a JPEG may be decoded at a half, a quarter or an eighth of its size as long as its shorter side keeps
            this many pixels. None: full size.

    Returns:
        the picture, and the upright full size (w, h) in pixels.

    Raises:
        InputError: missing, not a picture, damaged, truncated, or too large; nothing was kept of it.
    """
    path = Path(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no ordinary file"
            raise InputError(f"{path} is {what}, so it was not read")
        if status.st_size == 0:
            raise InputError(f"{path} is empty (0 bytes), so it was skipped")
        if status.st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB, so it was not read")
        with open(path, "rb") as file:
            head = file.read(512)
            kind = sniff(head)
            if kind is None:
                raise InputError(
                    f"{path} is not a PNG, JPEG, WebP, BMP or TIFF picture (it is {_foreign(head)}), so it was skipped"
                )
            file.seek(0)
            return _decode(file, kind, path, enough)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def read_image_bytes(data: bytes, name: Path | str, enough: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """`read_image` for a file already in memory, such as a member of an archive; `name` stands in messages.

    Raises:
        InputError: see `read_image`.
    """
    if not data:
        raise InputError(f"{name} is empty (0 bytes), so it was skipped")
    kind = sniff(data[:512])
    if kind is None:
        raise InputError(
            f"{name} is not a PNG, JPEG, WebP, BMP or TIFF picture (it is {_foreign(data[:512])}), so it was skipped"
        )
    return _decode(BytesIO(data), kind, Path(name), enough)


def _decode(file: Any, kind: str, path: Path, enough: int | None) -> tuple[Image.Image, tuple[int, int]]:
    try:
        import_module(f"PIL.{_PLUGINS[kind]}")
        with Image.open(file, formats=(kind,)) as image:
            check_size(image.size, path)
            full = image.size
            if enough and kind == "JPEG" and min(full) > 2 * enough:
                shrink = enough / min(full)
                image.draft(None, (int(full[0] * shrink) + 1, int(full[1] * shrink) + 1))
            orientation = _orientation(image)
            image.load()
            upright = _turned(to_rgb(image, path), orientation)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has more than {MAX_PIXELS // 1_000_000} million pixels, so it was not read"
        ) from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit in memory, so it was skipped") from error
    except Exception as error:  # Pillow raises about a dozen unrelated types for damaged files
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        cause = "is truncated" if "truncated" in reason.lower() else "is damaged"
        raise InputError(f"{path} {cause} and was skipped ({kind} decoder: {reason})") from error
    return upright, (full[1], full[0]) if orientation >= 5 else full


def turn_upright(image: Image.Image) -> Image.Image:
    """A Pillow image turned as its EXIF data says, if it has any."""
    return _turned(image, _orientation(image))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; damaged EXIF data counts as upright, as in browsers."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, OverflowError):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def check_size(size: tuple[int, int], path: Path | str) -> None:
    """Refuse a picture whose header promises too many pixels, before any of it is decoded.

    Raises:
        InputError
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"{path} has {size[0]} x {size[1]} pixels, more than the limit of {MAX_PIXELS // 1_000_000} million, "
            "so it was not read"
        )
    if min(size) < 1:
        raise InputError(f"{path} has no pixels, so it was skipped")


def to_rgb(image: Image.Image, name: Path | str = "the picture") -> Image.Image:
    """Any Pillow image -> mode RGB; transparency is laid on white, 16-bit grey is scaled to 8 bits.

    Raises:
        InputError: floating-point or 32-bit pixels, whose range is not stated.
    """
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image if type(image) is Image.Image else image.copy()
    if mode == "F" or mode == "I" or mode.startswith("I;"):
        values = np.asarray(image)
        if mode == "F" or values.size == 0 or values.min() < 0 or values.max() > 65535:
            raise InputError(f"{name} holds pixels outside 8 and 16 bits ({mode}), whose range is unknown; convert it")
        grey = (values.astype(np.uint32) * 255 + 32767) // 65535  # 65535 -> 255, rounded
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        rgba = image.convert("RGBA")
        under = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        return Image.alpha_composite(under, rgba).convert("RGB")
    return image.convert("RGB")
