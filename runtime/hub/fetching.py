"""Fetching listed files into a folder: continued where an earlier call stopped, and in place only when verified."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from padinv.runtime.errors import HubError
from padinv.runtime.hub.address import HubAddress
from padinv.runtime.hub.cache import require_space
from padinv.runtime.hub.client import Listing, RemoteFile, fetch
from padinv.runtime.hub.reporting import Advance, reporter
from padinv.runtime.hub.rules import MAX_TEXT
from padinv.runtime.hub.verify import check_content, is_intact

PART = ".part"


def fetch_small(address: HubAddress, listing: Listing, name: str, folder: Path) -> bytes:
    """Fetch a manifest or a card; its bytes, which were compared with the hub's hash.

    Raises:
        HubError: missing, too large, damaged on the way, or not reachable.
    """
    remote = listing.files.get(name)
    if remote is None:
        raise HubError(f"{address} holds no {name}")
    if remote.size > MAX_TEXT:
        raise HubError(f"{address} was refused: its {name} is larger than {MAX_TEXT >> 20} MiB")
    _fetch_verified(address, listing.commit, remote, folder / name, None, lambda count: None)
    return (folder / name).read_bytes()


def fetch_files(
    address: HubAddress, listing: Listing, files: Mapping[str, dict[str, Any]], folder: Path, what: str
) -> int:
    """Fetch what is missing of `files` into a folder; how many bytes that was.

    Args:
        files: relative name -> {'sha256', 'bytes'}, as the manifest says.
        what: of the sentence about the progress.

    Raises:
        HubError: damaged on the way, not what its name says, or not reachable. OutputError: too little space.
    """
    todo = {name: entry for name, entry in files.items() if not _is_there(folder / name, listing.files[name], entry)}
    missing = sum(listing.files[name].size - _part_bytes(folder / name) for name in todo)
    require_space(folder, missing)
    with reporter().transfer(what, missing) as advance:
        for name, entry in todo.items():
            remote = listing.files[name]
            _fetch_verified(address, listing.commit, remote, folder / name, entry["sha256"], advance)
            check_content(folder / name, str(address))
    return missing


def _is_there(path: Path, remote: RemoteFile, entry: Mapping[str, Any]) -> bool:
    return path.is_file() and not path.is_symlink() and is_intact(path, remote, entry["sha256"])


def _part_bytes(path: Path) -> int:
    part = _part(path)
    return part.stat().st_size if part.is_file() else 0


def _part(path: Path) -> Path:
    return path.with_name(path.name + PART)


def _fetch_verified(
    address: HubAddress, commit: str, remote: RemoteFile, path: Path, sha256: str | None, advance: Advance
) -> None:
    """Fetch one file; after an interruption, twice at most: what an earlier call left may be damaged."""
    part = _part(path)
    for continued in (part.is_file() and part.stat().st_size > 0, False):
        if part.is_symlink():
            part.unlink()
        fetch(address, commit, remote, part, advance)
        if is_intact(part, remote, sha256):
            os.replace(part, path)
            return
        part.unlink()
        if not continued:
            break
    raise HubError(
        f"{remote.name} of {address} was refused: what arrived does not have the hash that the hub and the manifest "
        "announce, so it was not kept; run the command again, and if that does not help, tell its author"
    )
