"""Which page of a TIFF is the picture, and whether its pixels are stored in a way that is read right.

Pillow's mode says less than a TIFF's tags: 16-bit pixels with white as zero, planes, 12 bits, signed samples and extra
channels come out as something else without an error. So the tags are read first; what is not known to come out right is
refused in a sentence.
"""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

from padinv.runtime.errors import InputError

_MAX_PAGES = 64
_HARMLESS_BLOCK = 1 << 24  # pixels of a tile or strip, which are decoded at once
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _CMYK, _YCBCR = range(7)
_COLOURS = {
    8: "CIELab colours",
    9: "ICCLab colours",
    10: "ITULab colours",
    32803: "a camera's raw pixels",
    34892: "a camera's raw pixels",
    32844: "LogL brightness",
    32845: "LogLuv colours",
}
_FORMATS = {2: "signed whole numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}
_JPEG = (6, 7)


@dataclass(frozen=True)
class TiffPage:
    """The page that is the picture.

    Attributes:
        index: of the page.
        size: (w, h) as stored.
        bits: of a sample.
        inverted: whether 0 is white.
        alpha: whether an extra channel is meant as transparency.
    """

    index: int
    size: tuple[int, int]
    bits: int
    inverted: bool
    alpha: bool


def find_page(file: BinaryIO, name: object) -> TiffPage:
    """The first page of a TIFF that is neither a thumbnail nor a mask.

    Raises:
        InputError: damaged, or its pixels are stored in a way that is not read.
    """
    from PIL import TiffImagePlugin

    _silence_libtiff()
    # Pillow knows 16-bit grey whose 0 is white in little-endian files only. It leaves the values as they are stored.
    TiffImagePlugin.OPEN_INFO.setdefault((TiffImagePlugin.MM, 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
    file.seek(0)
    header = file.read(8)
    if header[2:4] in (b"+\0", b"\0+"):
        header += file.read(8)
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(header)
        offset = directory.next
        first: tuple[int, Any] | None = None
        for index in range(_MAX_PAGES):
            if offset == 0:
                break
            file.seek(offset)
            directory.load(file)
            if not _is_lesser(directory):
                return _checked(directory, index, name)
            first = first or (index, dict(directory))
            if 330 in directory:  # the full picture is in a sub-directory, as in a camera's raw file
                raise InputError(
                    f"{name} holds its picture behind a thumbnail (is it a camera's raw file?), so it was skipped; "
                    "convert it to JPEG or PNG"
                )
            offset = directory.next
    except InputError:
        raise
    except Exception as error:  # Pillow raises about a dozen unrelated types for damaged directories
        raise InputError(
            f"{name} is damaged and was skipped (its TIFF directory cannot be read)", code="damaged"
        ) from error
    if first is None:
        raise InputError(f"{name} is damaged and was skipped (it has no TIFF directory)", code="damaged")
    return _checked(first[1], first[0], name)


@cache
def _silence_libtiff() -> None:
    """Keep Pillow's libtiff from writing lines of its own to the terminal; what it finds is raised, too."""
    from PIL import Image

    with contextlib.suppress(OSError, AttributeError, TypeError):  # linked in some way that hides its functions
        library = ctypes.CDLL(getattr(Image, "core").__file__)  # noqa: B009
        for function in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)


def _is_lesser(tags: Any) -> bool:
    """Whether a page is a reduced copy or a mask of another one."""
    return bool(int(tags.get(254, 0)) & 5) or tags.get(255) == 2


def _tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)


def _checked(tags: Any, index: int, name: object) -> TiffPage:
    photometric = int(tags.get(262, _BLACK_IS_ZERO))
    samples = int(tags.get(277, 1))
    bits = _tuple(tags.get(258, 1))
    extra = _tuple(tags[338]) if 338 in tags else ()
    reason = _problem(tags, photometric, samples, bits, extra)
    size = (int(tags[256]), int(tags[257]))
    block = int(tags.get(322, size[0])) * int(tags.get(323, min(int(tags.get(278, size[1])), size[1])))
    if block > max(_HARMLESS_BLOCK, 4 * size[0] * size[1]):
        raise InputError(f"{name} is damaged and was skipped (its TIFF tiles are far larger than the picture)")
    if reason is not None:
        raise InputError(f"{name} stores {reason}, which is not supported, so it was skipped; convert it to 8-bit RGB")
    return TiffPage(
        index=index,
        size=size,
        bits=bits[0],
        inverted=photometric == _WHITE_IS_ZERO,
        alpha=bool(extra) and extra[0] != 0,
    )


def _problem(tags: Any, photometric: int, samples: int, bits: tuple[int, ...], extra: tuple[int, ...]) -> str | None:
    """What about the pixels is not known to come out right; None where they do."""
    if photometric in _COLOURS:
        return _COLOURS[photometric]
    formats = set(_tuple(tags.get(339, 1)))
    if unusual := formats & set(_FORMATS):
        return _FORMATS[min(unusual)]
    if len(set(bits)) != 1:
        return f"samples of different sizes ({', '.join(map(str, bits[:8]))} bits)"
    depths = {
        _WHITE_IS_ZERO: (1, 2, 4, 8, 16),
        _BLACK_IS_ZERO: (1, 2, 4, 8, 12, 16),
        _RGB: (8, 16),
        _PALETTE: (1, 2, 4, 8),
        _CMYK: (8, 16),
        _YCBCR: (8,),
    }
    if photometric not in depths:
        return f"colours of the kind {photometric}"
    colours = {_RGB: 3, _CMYK: 4, _YCBCR: 3}.get(photometric, 1)
    if bits[0] not in depths[photometric]:
        return f"{bits[0]}-bit {'grey' if colours == 1 else 'colour'} samples"
    if samples < colours or (extra and samples - colours != len(extra)):
        return f"{samples} samples per pixel where {colours + len(extra)} are expected"
    if tags.get(284, 1) == 2 and samples > 1 and bits[0] != 8:
        return f"{bits[0]}-bit samples in separate planes"
    if samples > 1 and colours == 1 and (bits[0] != 8 or photometric == _WHITE_IS_ZERO):
        return f"{bits[0]}-bit grey with extra channels"
    if any(extra[1:]):
        return "several extra channels with transparency"
    if photometric == _CMYK and tags.get(332, 1) != 1:
        return "inks other than CMYK"
    if photometric == _YCBCR and tags.get(259) not in _JPEG:
        if _tuple(tags.get(530, (2, 2))) != (1, 1):
            return "YCbCr colours at reduced resolution without JPEG compression"
        reference = [float(value) for value in _tuple(tags.get(532, (0, 255, 128, 255, 128, 255)))]
        if reference != [0, 255, 128, 255, 128, 255]:
            return "YCbCr colours of a reduced range"
    return None
