"""Where a bundle was pulled from, kept beside its files so that copies know it, too."""

from __future__ import annotations

from pathlib import Path

from padinv.runtime.errors import UsageError
from padinv.runtime.files import parse_json, read_regular, write_json
from padinv.runtime.hub.address import is_commit, parse_address

ORIGIN = ".padinv-hub.json"  # hidden, so that manifests do not list it
_MAX_BYTES = 1 << 16


def write_origin(folder: Path, address: str) -> None:
    """Keep the address, hf:USER/NAME@COMMIT, beside a bundle's files."""
    write_json(folder / ORIGIN, {"address": address})


def read_origin(folder: Path) -> str:
    """The address that a bundle was pulled from, hf:USER/NAME@COMMIT; '' where it was made here, or unknown."""
    try:
        note = parse_json(read_regular(folder / ORIGIN, _MAX_BYTES))
        address = parse_address(note["address"])
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return ""
    return str(address) if is_commit(address.revision) else ""
