"""Where PNG, JPEG and WebP files keep XMP and C2PA manifests. Pixels are never decoded, and never change.

Files from outside are read here, too: a damaged file ends the walk and never raises.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from padinv.runtime.images.formats import sniff
from padinv.runtime.images.limits import webp_size

MAX_XMP_BYTES = 1 << 20
_PNG_XMP = b"XML:com.adobe.xmp\0"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_ROOM = 65533 - len(_JPEG_XMP)  # of one segment
_APP0, _APP1, _APP11, _SCAN = 0xE0, 0xE1, 0xEB, 0xDA
_MAX_PARTS = 100_000
_VP8X_XMP = 0x04  # the flag that announces XMP


class Part(NamedTuple):
    """A chunk of a PNG or WebP file or a segment of a JPEG file.

    Attributes:
        kind: a chunk's name, or the two bytes of a marker.
        start, end: where it lies, with its frame. body: where its content begins. stop: where its content ends.
    """

    kind: bytes
    start: int
    body: int
    stop: int
    end: int


def parts(data: bytes) -> Iterator[Part]:
    """The parts of a PNG, JPEG (up to its first scan) or WebP file, until the first that is damaged."""
    walk = {"PNG": _png_parts, "JPEG": _jpeg_parts, "WEBP": _webp_parts}.get(sniff(data[:64]) or "")
    if walk is not None:
        for count, part in enumerate(walk(data)):
            if part.end > len(data) or count >= _MAX_PARTS:
                return
            yield part


def _png_parts(data: bytes) -> Iterator[Part]:
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield Part(data[at + 4 : at + 8], at, at + 8, at + 8 + length, at + 12 + length)
        at += 12 + length


def _jpeg_parts(data: bytes) -> Iterator[Part]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # a filling byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2 or data[at + 1] == _SCAN:
            return
        yield Part(data[at : at + 2], at, at + 4, at + 2 + length, at + 2 + length)
        at += 2 + length


def _webp_parts(data: bytes) -> Iterator[Part]:
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        yield Part(data[at : at + 4], at, at + 8, at + 8 + length, at + 8 + length + length % 2)
        at += 8 + length + length % 2


def with_xmp(data: bytes, xmp: bytes) -> bytes:
    """A PNG, JPEG or WebP file with an XMP packet; any other file as it is.

    The file must hold no XMP yet, as is true of all that this package encodes.

    Raises:
        ValueError: the packet is too long for a JPEG file.
    """
    kind = sniff(data[:64])
    if kind == "PNG":
        # Before the pixels, where readers that stop at the first of them find it, and after our own text chunk.
        before = next(part.start for part in parts(data) if part.kind == b"IDAT")
        return data[:before] + _png_chunk(b"iTXt", _PNG_XMP + bytes(4) + xmp) + data[before:]
    if kind == "JPEG":
        if len(xmp) > _JPEG_ROOM:
            raise ValueError(f"an XMP packet of {len(xmp)} bytes does not fit into a JPEG file")
        leading = (0xFF00 | _APP0, 0xFF00 | _APP1)
        after = 2
        for part in parts(data):
            if int.from_bytes(part.kind, "big") not in leading:
                break
            after = part.end
        body = _JPEG_XMP + xmp
        segment = bytes((0xFF, _APP1)) + struct.pack(">H", 2 + len(body)) + body
        return data[:after] + segment + data[after:]
    return _webp_with_xmp(data, xmp) if kind == "WEBP" else data


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _webp_with_xmp(data: bytes, xmp: bytes) -> bytes:
    found = bytearray(data[12:])
    if data[12:16] == b"VP8X":
        found[8] |= _VP8X_XMP
    else:
        size = webp_size(data[:30])
        assert size is not None  # the file was just encoded
        extent = b"".join((side - 1).to_bytes(3, "little") for side in size)
        found[:0] = b"VP8X" + struct.pack("<I", 10) + bytes((_VP8X_XMP, 0, 0, 0)) + extent
    found += b"XMP " + struct.pack("<I", len(xmp)) + xmp + bytes(len(xmp) % 2)
    return _riff(found)


def _riff(chunks: bytes | bytearray) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def xmp_of(data: bytes) -> bytes | None:
    """The XMP packet of a PNG, JPEG or WebP file; None where there is none, or one of more than a mebibyte."""
    for part in parts(data):
        body = data[part.body : min(part.stop, part.body + MAX_XMP_BYTES + 64)]
        found = None
        if part.kind == b"iTXt" and body.startswith(_PNG_XMP):
            found = _international_text(body[len(_PNG_XMP) :])
        elif part.kind == bytes((0xFF, _APP1)) and body.startswith(_JPEG_XMP):
            found = body[len(_JPEG_XMP) :]
        elif part.kind == b"XMP ":
            found = body
        if found is not None and len(found) <= MAX_XMP_BYTES:
            return found
    return None


def _international_text(rest: bytes) -> bytes | None:
    """What follows the keyword of an iTXt chunk: flags, a language, a translated keyword, and the text."""
    packed, fields = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
    if len(fields) < 3:
        return None
    if not packed:
        return fields[2]
    try:
        return zlib.decompressobj().decompress(fields[2], MAX_XMP_BYTES + 1)
    except zlib.error:
        return None


def is_c2pa(data: bytes, part: Part) -> bool:
    """Whether a part holds a C2PA manifest, or a piece of one."""
    if part.kind == bytes((0xFF, _APP11)):
        return data[part.body : part.body + 2] == b"JP"
    return part.kind in (b"caBX", b"C2PA")


def has_c2pa(data: bytes) -> bool:
    """Whether a PNG, JPEG or WebP file holds a C2PA manifest."""
    return any(is_c2pa(data, part) for part in parts(data))


def without_c2pa(data: bytes) -> bytes:
    """The file as it was before it was signed."""
    found = [part for part in parts(data) if is_c2pa(data, part)]
    if not found:
        return data
    kept, at = bytearray(), 0
    for part in found:
        kept += data[at : part.start]
        at = part.end
    kept += data[at:]
    return _riff(kept[12:]) if found[0].kind == b"C2PA" else bytes(kept)
