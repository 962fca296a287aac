"""What a picture file says about how it was made, for `padinv info`."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from padinv.runtime.batch.ownership import origin_of
from padinv.runtime.errors import InputError
from padinv.runtime.files import read_regular
from padinv.runtime.images import MAX_FILE_BYTES, sniff
from padinv.runtime.provenance.record import provenance_of, source_type_of
from padinv.runtime.provenance.signing import read_manifest


def describe_picture(path: Path) -> dict[str, Any]:
    """Facts about a picture, without decoding it.

    Returns:
        `provenance`: what padinv recorded, or None. `digital_source_type`: the IPTC's URI, whoever wrote it, or None.
        `unchanged`: whether the file is byte for byte as a command of padinv wrote it; None where no command did.
        `c2pa`: see `read_manifest`.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    try:
        data = read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    found = provenance_of(data)
    return {
        "kind": "picture",
        "path": str(path),
        "format": sniff(data[:64]),
        "size": _size(data),
        "bytes": len(data),
        "provenance": None if found is None else found.to_dict(),
        "digital_source_type": source_type_of(data),
        "unchanged": None if b"padinv-origin:" not in data else origin_of(data) is not None,
        "c2pa": read_manifest(data),
    }


def _size(data: bytes) -> list[int] | None:
    """[w, h] by the header; None where that is damaged."""
    from PIL import Image

    try:
        with Image.open(BytesIO(data)) as image:
            return list(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
