"""Reading images as people have them: upright 8-bit sRGB, or one sentence why not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular
from padinv.runtime.images.colour import to_rgb
from padinv.runtime.images.formats import PLUGINS, describe_foreign, sniff
from padinv.runtime.images.limits import (
    MAX_FILE_BYTES,
    MAX_JPEG_BYTES,
    MAX_PIXELS,
    JpegLayout,
    check_bmp,
    check_promise,
    check_size,
    header_size,
    jpeg_layout,
)
from padinv.runtime.images.png_file import PngFile, open_png
from padinv.runtime.images.tiff_file import TiffPage, find_page

_HEAD_BYTES = 1 << 16
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


def read_image(
    path: Path | str, enough: int | None = None, *, keep_profile: bool = False
) -> tuple[Image.Image, tuple[int, int]]:
    """Read an image file as upright 8-bit sRGB.

    EXIF rotation is applied, colour profiles are converted to sRGB, palettes are looked up, transparency is laid on
    white, CMYK and grey are converted, 16-bit grey is scaled to 8 bits. Of a file with several images the first one
    that is not a thumbnail counts. Comments and other metadata are ignored, damaged ones too.

    Args:
        path: a PNG, JPEG, WebP, BMP, TIFF, AVIF or HEIC file, recognised by content.
        enough: a JPEG may be decoded at a half, a quarter or an eighth of its size as long as its shorter side keeps
            this many pixels. None: full size.
        keep_profile: leave the colours of an RGB image as they are; its profile is in the result's `info`.

    Returns:
        the image, and the upright full size (w, h) in pixels.

    Raises:
        InputError: missing, not an image, damaged, truncated, or too large; nothing was kept of it.
    """
    try:
        with open_regular(path) as file:
            return _read(file, Path(path), enough, keep_profile, MAX_PIXELS)
    except OSError as error:
        code = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise InputError(f"{path} cannot be read: {error.strerror or error}", code=code) from error


def read_image_bytes(
    data: bytes,
    name: Path | str,
    enough: int | None = None,
    *,
    keep_profile: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Image.Image, tuple[int, int]]:
    """`read_image` for a file already in memory, such as a member of an archive; `name` stands in messages.

    Raises:
        InputError: see `read_image`.
    """
    return _read(BytesIO(data), Path(name), enough, keep_profile, max_pixels)


def check_image_bytes(data: bytes, name: Path | str, *, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse what is not an image, or promises too many pixels, by the file's header; nothing is decoded.

    Raises:
        InputError
    """
    file = BytesIO(data)
    with _sentences(Path(name), max_pixels) as state:
        kind, head = _kind(file, Path(name))
        state.append(kind)
        _Decoder(file, len(data), Path(name), max_pixels, False).check(kind, head)


def _read(
    file: BinaryIO, path: Path, enough: int | None, keep_profile: bool, max_pixels: int
) -> tuple[Image.Image, tuple[int, int]]:
    with _sentences(path, max_pixels) as state:
        kind, head = _kind(file, path)
        state.append(kind)
        decoder = _Decoder(file, file.seek(0, 2), path, max_pixels, keep_profile)
        decoder.check(kind, head)
        return decoder.run(kind, enough)


def _kind(file: BinaryIO, path: Path) -> tuple[str, bytes]:
    """The format of a file, and its first bytes."""
    file_bytes = file.seek(0, 2)
    if file_bytes == 0:
        raise InputError(f"{path} is empty (0 bytes), so it was skipped", code="empty")
    if file_bytes > MAX_FILE_BYTES:
        raise InputError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB, so it was not read", code="too-large")
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    kind = sniff(head[:512])
    if kind is None:
        raise InputError(
            f"{path} is not a PNG, JPEG, WebP, BMP, TIFF, AVIF or HEIC image (it is {describe_foreign(head[:512])}), "
            "so it was skipped",
            code="not-an-image",
        )
    return kind, head


@contextmanager
def _sentences(path: Path, max_pixels: int) -> Iterator[list[str]]:
    """Turn whatever a decoder raises into one sentence. The list that is yielded takes the name of the format."""
    state: list[str] = []
    try:
        yield state
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        limit = max_pixels // 1_000_000
        raise InputError(
            f"{path} has more than {limit} million pixels, so it was not read", code="too-large"
        ) from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit in memory, so it was skipped") from error
    except Exception as error:  # Pillow raises about a dozen unrelated types for damaged files
        reason = " ".join(re.sub(r"<[^>]*>?", "", str(error)).split())[:160] or type(error).__name__
        if type(error).__name__ == "UnidentifiedImageError":
            reason = "its header cannot be read"
        cause = "is truncated" if "truncated" in reason.lower() else "is damaged"
        raise InputError(
            f"{path} {cause} and was skipped ({''.join(state)} decoder: {reason})", code="damaged"
        ) from error


class _Decoder:
    """One file on its way to an image: `check` reads the header, then `run` decodes."""

    def __init__(self, file: BinaryIO, file_bytes: int, path: Path, max_pixels: int, keep_profile: bool) -> None:
        self.file = file
        self.file_bytes = file_bytes
        self.path = path
        self.max_pixels = max_pixels
        self.keep_profile = keep_profile
        self.orientation = 1
        self.facts: Any = None

    def check(self, kind: str, head: bytes) -> None:
        """Refuse what promises too much, by the header; keep what the header says."""
        if kind == "JPEG":
            self.facts = self._jpeg_layout()
        elif kind == "PNG":
            self.facts = open_png(self.file, self.path)
        elif kind == "TIFF":
            self.facts = find_page(self.file, self.path)
        elif kind == "BMP":
            check_bmp(self.file, self.file_bytes, self.path, limit=self.max_pixels)
        else:
            size = header_size(kind, head)
            if size is None:
                raise InputError(
                    f"{self.path} is damaged and was skipped (its header does not say its size)", code="damaged"
                )
            self._check_size(size, kind)
        if self.facts is not None:
            self._check_size(self.facts.size, kind)

    def run(self, kind: str, enough: int | None) -> tuple[Image.Image, tuple[int, int]]:
        """The image, upright, and its full size."""
        import_plugin(kind)
        if kind == "JPEG":
            image, full = self._jpeg(enough)
        else:
            special = {"PNG": self._png, "TIFF": self._tiff, "BMP": self._bmp}
            image = special[kind]() if kind in special else self._plain(kind)
            full = image.size
        rgb = to_rgb(image, self.path, keep_profile=self.keep_profile)
        return _turned(rgb, self.orientation), (full[1], full[0]) if self.orientation >= 5 else full

    def _check_size(self, size: tuple[int, int], kind: str) -> None:
        check_size(size, self.path, kind=kind, limit=self.max_pixels)
        check_promise(size, self.file_bytes, self.path)

    def _load(self, image: Image.Image) -> None:
        """Decode the pixels, then ask for the orientation: Pillow turns TIFF files by itself while it loads them, and
        reads some of a PNG's data only then."""
        image.load()
        self.orientation = _orientation(image)

    def _plain(self, kind: str, file: BinaryIO | None = None) -> Image.Image:
        source = file or self.file
        source.seek(0)
        image = Image.open(source, formats=(kind,))
        self._check_size(image.size, kind)
        self._load(image)
        return image

    def _jpeg_layout(self) -> JpegLayout:
        if self.file_bytes > MAX_JPEG_BYTES:
            raise InputError(f"{self.path} is larger than {MAX_JPEG_BYTES >> 20} MiB, so it was not read")
        self.file.seek(0)
        return jpeg_layout(self.file.read(), self.path)

    def _jpeg(self, enough: int | None) -> tuple[Image.Image, tuple[int, int]]:
        layout: JpegLayout = self.facts
        if layout.end is not None:
            return self._decoded_jpeg(layout.data, enough)
        # Without an end marker the file may be whole or cut off. What follows the last pixel of a whole one changes
        # nothing; what follows a cut becomes pixels.
        if not layout.complete:
            raise InputError(
                f"{self.path} is truncated and was skipped (JPEG decoder: passes over its pixels are missing)"
            )
        data = layout.data.rstrip(b"\xff")  # half a marker
        image, full = self._decoded_jpeg(data + b"\xff\xd9", enough)
        restarts = b"".join(bytes([0xFF, 0xD0 + i % 8, 0x5A, 0xA6, 0x3C]) for i in range(256))
        for filler in (b"\x5a\xa6" * 512, restarts)[: 2 if layout.restarts else 1]:
            other, _ = self._decoded_jpeg(data + filler + b"\xff\xd9", enough)
            if image.tobytes() != other.tobytes():
                raise InputError(
                    f"{self.path} is truncated and was skipped (JPEG decoder: its last pixels are missing)"
                )
        return image, full

    def _decoded_jpeg(self, data: bytes, enough: int | None) -> tuple[Image.Image, tuple[int, int]]:
        image = Image.open(BytesIO(data), formats=("JPEG",))
        full = image.size
        if enough and min(full) > 2 * enough:
            shrink = enough / min(full)
            image.draft(None, (int(full[0] * shrink) + 1, int(full[1] * shrink) + 1))
        self._load(image)
        return image, full

    def _png(self) -> Image.Image:
        png: PngFile = self.facts
        image = self._plain("PNG", png.file)
        if png.transparent is not None and png.colour in (0, 2) and png.depth != 8:
            image = _with_transparent_colour(image, png)
        if png.profile is not None:
            image.info["icc_profile"] = png.profile
        return image

    def _tiff(self) -> Image.Image:
        page: TiffPage = self.facts
        self.file.seek(0)
        image: Image.Image = Image.open(self.file, formats=("TIFF",))
        if page.index:
            image.seek(page.index)
        self._check_size(image.size, "TIFF")
        self._load(image)
        profile = image.info.get("icc_profile")
        if image.mode.startswith("I;16") or image.mode == "I":
            image = _scaled_grey(image, page.bits, inverted=page.inverted)
        elif image.mode in ("RGBA", "LA", "PA") and (not page.alpha or _is_zero(image.getchannel("A"))):
            image = _without_alpha(image)
        if profile is not None:
            image.info["icc_profile"] = profile
        return image

    def _bmp(self) -> Image.Image:
        image = self._plain("BMP")
        if image.mode == "RGBA" and _is_zero(image.getchannel("A")):  # programs leave the fourth byte empty
            image = _without_alpha(image)
        return image


def import_plugin(kind: str) -> None:
    """Import what decodes a format."""
    module = import_module(PLUGINS[kind])
    if kind == "HEIF":
        module.register_heif_opener()


def _with_transparent_colour(image: Image.Image, png: PngFile) -> Image.Image:
    """A PNG of 1, 2, 4 or 16 bits whose transparent colour (tRNS) Pillow does not compare in the file's own bits."""
    data = png.transparent or b""
    colour = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    image.info.pop("transparency", None)
    if png.colour == 0 and len(colour) == 1:
        if png.depth == 16:
            values = np.asarray(image, np.int64)
            clear = values == colour[0]
            image = _scaled_grey(image, 16)
        else:
            image = image.convert("L")
            clear = np.asarray(image) == colour[0] * 255 // ((1 << png.depth) - 1)
    elif png.colour == 2 and len(colour) == 3:
        high, low = np.asarray(image), np.asarray(_low_bytes(png))
        clear = np.ones(high.shape[:2], bool)
        for channel, value in enumerate(colour):
            clear &= (high[..., channel] == value >> 8) & (low[..., channel] == value & 255)
    else:
        return image
    result = image.convert("RGB")
    result.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    return result


def _low_bytes(png: PngFile) -> Image.Image:
    """The lower halves of the samples of a 16-bit RGB PNG, where Pillow keeps the upper ones."""
    png.file.seek(0)
    image: Any = Image.open(png.file, formats=("PNG",))
    tile = image.tile[0]
    image.tile = [tile._replace(args="RGB;16L") if hasattr(tile, "_replace") else (*tile[:3], "RGB;16L")]
    image.load()
    result: Image.Image = image
    return result


def _scaled_grey(image: Image.Image, bits: int, *, inverted: bool = False) -> Image.Image:
    """Grey of 9 to 16 bits -> mode L; the largest value of these bits becomes 255, or 0 where 0 is white."""
    top = (1 << bits) - 1
    values = np.asarray(image).astype(np.uint32)
    grey = ((np.minimum(values, top) * 255 + top // 2) // top).astype(np.uint8)
    result = Image.fromarray(255 - grey if inverted else grey)
    result.info = dict(image.info)
    return result


def _without_alpha(image: Image.Image) -> Image.Image:
    return image.convert("L" if image.mode == "LA" else "RGB")


def _is_zero(channel: Image.Image) -> bool:
    return channel.getextrema() == (0, 0)


def turn_upright(image: Image.Image) -> Image.Image:
    """A Pillow image turned as its EXIF data says, if it has any."""
    image.load()  # a TIFF that was opened but not yet read is turned by Pillow itself while it loads
    return _turned(image, _orientation(image))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    if orientation not in _TRANSPOSE:
        return image
    turned = image.transpose(_TRANSPOSE[orientation])
    turned.info = dict(image.info)
    return turned


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; damaged EXIF data counts as upright, as in browsers."""
    try:
        value: Any = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, OverflowError):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
