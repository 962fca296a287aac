"""PNG files as Pillow should see them: what is needed for the pixels, without the rest.

Pillow refuses a whole picture for a comment with a wrong checksum, or for text or a colour profile of more than a
megabyte. None of that changes the pixels, so it is left out of what Pillow gets to see.
"""

from __future__ import annotations

import io
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from typing import BinaryIO

from padinv.runtime.errors import InputError

_SIGNATURE = 8
_MAX_CHUNKS = 200_000  # a 100-megapixel picture in blocks of 8 KiB has about 40,000
_MAX_ANCILLARY = 1 << 20
_MAX_PROFILE = 16 << 20
_XMP = b"XML:com.adobe.xmp\0\0"  # an international text chunk that is not compressed; it may hold the orientation


@dataclass(frozen=True)
class PngFile:
    """A PNG without what Pillow stumbles over.

    Attributes:
        file: what Pillow reads. size: (w, h).
        depth: bits of a sample. colour: PNG's colour type. transparent: the data of the chunk tRNS.
        profile: the ICC profile, unpacked.
    """

    file: BinaryIO
    size: tuple[int, int]
    depth: int
    colour: int
    transparent: bytes | None
    profile: bytes | None


def open_png(file: BinaryIO, name: object) -> PngFile:
    """Look through the chunks of a PNG.

    Raises:
        InputError: it does not begin with a header, or has too many chunks.
    """
    spans = [(0, _SIGNATURE)]
    depth = colour = 0
    size = (0, 0)
    transparent = profile = None
    at = _SIGNATURE
    for count in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if count == 0:
            header = file.read(13)
            if kind != b"IHDR" or len(header) < 13:
                raise InputError(f"{name} is damaged and was skipped (its PNG header is missing)", code="damaged")
            size = (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big"))
            depth, colour = header[8], header[9]
        if len(head) < 8:
            break
        body = b""
        critical = not kind[:1].islower()
        if not critical and length <= _MAX_PROFILE:
            file.seek(at + 8)
            body = _sound(file.read(length + 4), kind) or b""
        if kind == b"tRNS":
            transparent = body or None
        if kind == b"iCCP":
            profile = profile or _unpacked(body)
        if critical or (body and length <= _MAX_ANCILLARY and _matters(kind, body)):
            spans.append((at, length + 12))
        at += length + 12
        if kind == b"IEND":
            break
    else:
        raise InputError(f"{name} has more than {_MAX_CHUNKS:,} PNG chunks, so it was not read; save it again")
    return PngFile(io.BufferedReader(_Spans(file, spans), 1 << 16), size, depth, colour, transparent, profile)


def _matters(kind: bytes, body: bytes) -> bool:
    """Whether an ancillary chunk says something about the pixels."""
    return kind in (b"tRNS", b"eXIf") or (kind == b"iTXt" and body.startswith(_XMP))


def _sound(body: bytes, kind: bytes) -> bytes | None:
    """A chunk's data without its checksum, if that is right."""
    return body[:-4] if zlib.crc32(kind + body[:-4]) == int.from_bytes(body[-4:], "big") else None


def _unpacked(body: bytes) -> bytes | None:
    """The ICC profile in the data of a chunk iCCP."""
    _, _, packed = body.partition(b"\0")
    try:
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(packed[1:], _MAX_PROFILE)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


class _Spans(io.RawIOBase):
    """Parts of a file, one after the other."""

    def __init__(self, file: BinaryIO, spans: list[tuple[int, int]]) -> None:
        self._file = file
        self._starts = [start for start, _ in spans]
        self._at = [0]
        for _, length in spans:
            self._at.append(self._at[-1] + length)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._at[-1]}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        span = bisect_right(self._at, self._position) - 1
        if span >= len(self._starts):
            return 0
        inside = self._position - self._at[span]
        self._file.seek(self._starts[span] + inside)
        data = self._file.read(min(len(buffer), self._at[span + 1] - self._position))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
