"""The proof inside a result that padinv made it, of what, and that nobody changed it since.

A results log alone cannot prove ownership: a run may be killed after it wrote a file and before it recorded it. So
every result carries its origin, as a short text in a PNG chunk, in EXIF data or in the metadata of a safetensors file:

    padinv-origin:OWNER:RESULT:SEAL

OWNER and RESULT are 32 hexadecimal digits, see `Origin`. SEAL is the SHA-256 of the whole file with a seal of zeros, so
that a result which was changed by hand, but kept its text, is not mistaken for an untouched one.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from padinv.runtime.files import digest, open_regular, sha256_bytes
from padinv.runtime.provenance.containers import without_c2pa

if TYPE_CHECKING:
    import numpy as np

EXIF_TAG = 0x010E  # ImageDescription
MAX_BYTES = 1 << 30
_BLANK = "0" * 64
_PATTERN = re.compile(rb"padinv-origin:([0-9a-f]{32}):([0-9a-f]{32}):([0-9a-f]{64})")
_BLOCK = 1 << 20
_LONGEST = 256  # bytes; the pattern is shorter
_PNG = b"\x89PNG\r\n\x1a\n"


class Origin(NamedTuple):
    """What a result was made of.

    Attributes:
        owner: what must agree for a later run to replace it without --overwrite: verb, model, sources.
        result: everything that decides it; where it agrees, there is nothing to do.
    """

    owner: str
    result: str

    @classmethod
    def of(cls, owner: Any, result: Any) -> Origin:
        """From two JSON-ready values."""
        return cls(origin_part(owner), origin_part(result))

    def text(self) -> str:
        """What goes into a file before it is sealed."""
        return f"padinv-origin:{self.owner}:{self.result}:{_BLANK}"


def origin_part(value: Any) -> str:
    """A JSON-ready value as 32 hexadecimal digits."""
    return digest(value)[:32]


def seal(data: bytes) -> bytes:
    """A file that holds `Origin.text()`, with its seal filled in; any other file as it is."""
    return _with_seal(data, sha256_bytes(data)) if _PATTERN.search(data) else data


def seal_file(path: Path | str) -> None:
    """`seal` a file on disk in place, without holding it in memory. PNG files, which have checksums, are not for it."""
    with open(path, "rb+") as file:
        whole, place, tail = hashlib.sha256(), None, b""
        while block := file.read(_BLOCK):
            whole.update(block)
            window = tail + block
            if place is None and (match := _PATTERN.search(window)):
                place = file.tell() - len(window) + match.start(3)
            tail = window[-_LONGEST:]
        if place is not None:
            file.seek(place)
            file.write(whole.hexdigest().encode())


def origin_of(data: bytes) -> Origin | None:
    """The origin of a sealed file; None for a file without one, or one that was changed after it was sealed.

    A C2PA manifest does not count: a file is signed after it is sealed.
    """
    data = without_c2pa(data)
    match = _PATTERN.search(data)
    if match is None or sha256_bytes(_with_seal(data, _BLANK)) != match[3].decode():
        return None
    return Origin(match[1].decode(), match[2].decode())


def read_origin(path: Path | str) -> Origin | None:
    """`origin_of` a file on disk; None where it cannot be read."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    return origin_of(data) if len(data) <= MAX_BYTES else None


def _with_seal(data: bytes, text: str) -> bytes:
    match = _PATTERN.search(data)
    assert match is not None
    out = bytearray(data)
    out[match.start(3) : match.end(3)] = text.encode()
    if data.startswith(_PNG):  # a chunk ends with a checksum of itself
        start = data.rfind(b"tEXt", 0, match.start())
        (length,) = struct.unpack(">I", data[start - 4 : start]) if start >= 4 else (0,)
        end = start + 4 + length
        if start >= 4 and end + 4 <= len(out):
            out[end : end + 4] = struct.pack(">I", zlib.crc32(out[start:end]))
    return bytes(out)


def exif(origin: Origin | None) -> bytes:
    """EXIF data that carries an origin, for Pillow's `exif=`."""
    from PIL import Image

    data = Image.Exif()
    if origin is not None:
        data[EXIF_TAG] = origin.text()
    return data.tobytes()


def image_bytes(pixels: np.ndarray, kind: str, origin: Origin | None, **settings: Any) -> bytes:
    """uint8 RGB [H, W, 3] as a 'png', 'jpg' or 'webp' file that carries its origin.

    Args:
        settings: of Pillow's writer, e.g. quality.
    """
    from padinv.runtime.images import array_to_image
    from padinv.runtime.images.png_metadata import png_bytes

    if kind == "png":
        return png_bytes(pixels, {"origin": origin.text()} if origin else {}, **settings)
    out = BytesIO()
    array_to_image(pixels).save(out, {"jpg": "JPEG", "webp": "WEBP"}[kind], exif=exif(origin), **settings)
    return out.getvalue()
