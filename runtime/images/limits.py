"""What a file promises, read from its header before anything is decoded, and what is refused by it.

A few bytes can promise a picture of gigabytes (a 34-byte WebP does), and some codecs reserve the memory as soon as a
file is opened. So the sizes of those are read here first.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from padinv.runtime.errors import InputError

MAX_FILE_BYTES = 1 << 30
MAX_PIXELS = 120_000_000  # the largest cameras give 102 megapixels
# These codecs work on several copies of the whole image, 12 to 16 bytes for each pixel.
_MAX_PIXELS_OF = {"WEBP": 64_000_000, "AVIF": 64_000_000, "HEIF": 64_000_000}

# A photograph has at least one byte for 20 pixels. What promises far more than its bytes can hold is refused, except
# small images, which do no harm.
_HARMLESS_PIXELS, _PIXELS_PER_BYTE = 16_000_000, 1000

# A progressive JPEG goes over the whole image once for each of its scans: ten or so as cameras and programs write them,
# hundreds in a file that is made to be slow. The limit is about ten seconds of work.
_MAX_SCANNED_PIXELS = 3_000_000_000
_MAX_SEGMENTS = 20_000
# While the scans of a JPEG are collected, all coefficients are in memory, two bytes each, beside the pixels.
_MAX_JPEG_MEMORY = 1 << 30
MAX_JPEG_BYTES = 256 << 20

# Run lengths in a BMP are decoded by Pillow in Python.
_MAX_RLE_PIXELS, _MAX_RLE_BYTES = 16_000_000, 4 << 20


def check_size(size: tuple[int, int], name: object, *, kind: str = "", limit: int = MAX_PIXELS) -> None:
    """Refuse an image whose header promises too many pixels, before any of it is decoded.

    Args:
        size: (w, h). name: stands in the message. kind: the format. limit: the most pixels, of any format.

    Raises:
        InputError
    """
    limit = min(limit, _MAX_PIXELS_OF.get(kind, limit))
    if size[0] * size[1] > limit:
        raise InputError(
            f"{name} has {size[0]} x {size[1]} pixels, more than the limit of {limit // 1_000_000} million, "
            "so it was not read"
        )
    if min(size) < 1:
        raise InputError(f"{name} has no pixels, so it was skipped")


def check_promise(size: tuple[int, int], file_bytes: int, name: object) -> None:
    """Refuse an image that promises far more pixels than its bytes can hold.

    Raises:
        InputError
    """
    if size[0] * size[1] > _HARMLESS_PIXELS + _PIXELS_PER_BYTE * file_bytes:
        raise InputError(
            f"{name} promises {size[0]} x {size[1]} pixels in {file_bytes:,} bytes, which is not a photograph, "
            "so it was not read"
        )


def header_size(kind: str, head: bytes) -> tuple[int, int] | None:
    """(w, h) by the first bytes of a WebP, AVIF or HEIC file; None where they do not say it."""
    return webp_size(head) if kind == "WEBP" else iso_size(head)


def webp_size(head: bytes) -> tuple[int, int] | None:
    """(w, h) of the canvas of a WebP file, by its first 30 bytes."""
    if len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def iso_size(head: bytes) -> tuple[int, int] | None:
    """(w, h) of the largest image that an AVIF or HEIC file declares in its properties ('ispe' boxes)."""
    sizes = [struct.unpack_from(">II", head, at.end() + 4) for at in re.finditer(b"ispe", head[:-12])]
    return max(sizes, key=lambda size: size[0] * size[1]) if sizes else None


def check_bmp(file: BinaryIO, file_bytes: int, name: object, *, limit: int = MAX_PIXELS) -> None:
    """Refuse a BMP that promises too many pixels, or a large one that is compressed by run lengths.

    Raises:
        InputError
    """
    file.seek(14)
    header = file.read(20)
    if len(header) < 20 or int.from_bytes(header[:4], "little") < 40:
        return
    width, height = struct.unpack_from("<ii", header, 4)
    check_size((width, abs(height)), name, limit=limit)
    compressed = int.from_bytes(header[16:20], "little") in (1, 2)
    if compressed and (abs(width * height) > _MAX_RLE_PIXELS or file_bytes > _MAX_RLE_BYTES):
        raise InputError(f"{name} is a large BMP with run-length compression, so it was not read; save it as PNG")


@dataclass(frozen=True)
class JpegLayout:
    """What the markers of a JPEG say.

    Attributes:
        data: the file. size: (w, h).
        complete: whether every scan that the image needs has begun.
        restarts: whether it can be decoded from restart markers on.
        end: position after the end marker; None where there is none.
    """

    data: bytes = field(repr=False)
    size: tuple[int, int]
    complete: bool
    restarts: bool
    end: int | None


_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


def jpeg_layout(data: bytes, name: object) -> JpegLayout:
    """Walk over the markers of a JPEG, and refuse one that would take long to decode.

    Raises:
        InputError: too many segments or scans, or no image.
    """
    size: tuple[int, int] | None = None
    components: tuple[int, ...] = ()
    progressive, coefficients = False, 0
    done: dict[int, set[int]] = {}  # component -> its coefficients that were sent down to the last bit
    scans, at, end, restarts = 0, 2, None, False
    for _ in range(_MAX_SEGMENTS):
        found = _NEXT_MARKER.search(data, at)
        if found is None:
            break
        marker = data[found.start() + 1]
        at = found.end()
        if marker == 0xD9:
            end = at
            break
        if marker in (0x01, 0xD8):
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + length]
        at += max(length, 2)
        restarts = restarts or marker == 0xDD
        if marker in _FRAMES and size is None and len(body) >= 6:
            size = (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"))
            components = tuple(body[6::3][: body[5]])
            progressive = marker in _PROGRESSIVE
            coefficients = _coefficients(size, body[7::3][: len(components)])
        if marker == 0xDA and body:
            scans += 1
            _note_scan(body, done, progressive)
            pixels = size[0] * size[1] if size is not None else 0
            if scans > 1 and 4 * pixels + 2 * coefficients > _MAX_JPEG_MEMORY:
                raise InputError(
                    f"{name} needs too much memory as a progressive JPEG, so it was not read; save it again"
                )
            if scans * pixels > _MAX_SCANNED_PIXELS:
                raise InputError(f"{name} goes over its pixels in too many passes, so it was not read; save it again")
    else:
        raise InputError(f"{name} has more than {_MAX_SEGMENTS:,} JPEG segments, so it was not read; save it again")
    if size is None:
        raise InputError(f"{name} is damaged and was skipped (it has no JPEG frame)", code="damaged")
    complete = all(len(done.get(component, ())) == 64 for component in components)
    return JpegLayout(data, size, complete, restarts, end)


def _coefficients(size: tuple[int, int], sampling: bytes) -> int:
    """How many coefficients the components of a JPEG have, by their sampling factors in a frame header."""
    factors = [(byte >> 4 or 1, byte & 15 or 1) for byte in sampling]
    most = max((h for h, _ in factors), default=1) * max((v for _, v in factors), default=1)
    return sum(size[0] * size[1] * h * v // most for h, v in factors)


def _note_scan(body: bytes, done: dict[int, set[int]], progressive: bool) -> None:
    """Remember which coefficients of which components a scan header (SOS) brings to their last bit."""
    count = body[0]
    if len(body) < 1 + 2 * count + 3:
        return
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    for component in body[1 : 1 + 2 * count : 2]:
        if not progressive:
            done[component] = set(range(64))
        elif bits & 15 == 0:
            done.setdefault(component, set()).update(range(first, min(last, 63) + 1))
