"""Checks of fetched files: both hashes of their bytes, and that they are what their names say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from padinv.runtime.errors import BundleError, HubError
from padinv.runtime.files import open_regular, parse_json, read_regular
from padinv.runtime.hub.client import Listing, RemoteFile
from padinv.runtime.hub.rules import MAX_TEXT
from padinv.runtime.onnx_safety import require_safe_graph
from padinv.runtime.safetensors_file import DamagedFileError, SafetensorsFile

_BLOCK = 1 << 20


def is_intact(path: Path, remote: RemoteFile, sha256: str | None = None) -> bool:
    """Whether a file has the bytes that the hub announces, and (where it is known) the manifest's SHA-256."""
    long, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % remote.size, usedforsecurity=False)
    size = 0
    with open_regular(path) as file:
        while block := file.read(_BLOCK):
            long.update(block)
            git.update(block)
            size += len(block)
    return (
        size == remote.size
        and remote.sha256 in (None, long.hexdigest())
        and (remote.sha256 is not None or remote.git_sha1 == git.hexdigest())
        and sha256 in (None, long.hexdigest())
    )


def check_against_hub(files: Mapping[str, dict[str, Any]], listing: Listing, what: str) -> None:
    """Refuse a manifest that does not agree with the hub, before anything large is fetched.

    Raises:
        HubError: a file is missing, or has another size or hash than the manifest says.
    """
    for name, entry in files.items():
        remote = listing.files.get(name)
        if remote is None:
            raise HubError(f"{what} is incomplete: it lists {name}, which the repository does not hold")
        if remote.size != entry["bytes"] or remote.sha256 not in (None, entry["sha256"]):
            raise HubError(
                f"{what} was refused: {name} on the hub is not the file that its manifest lists (another size or "
                "SHA-256), so nothing was kept; ask its author to push it again"
            )


def check_content(path: Path, what: str) -> None:
    """Refuse a file that is not what its name says. Nothing in it is run.

    Raises:
        HubError: a graph with unsafe operators, or a file that is not ONNX, safetensors or JSON as its name says.
    """
    try:
        if path.suffix == ".onnx":
            require_safe_graph(path.read_bytes(), path.name)
        elif path.suffix == ".safetensors":
            with open_regular(path) as file:
                SafetensorsFile(file)
        elif path.suffix == ".json":
            parse_json(read_regular(path, MAX_TEXT))
    except (BundleError, DamagedFileError, ValueError) as error:
        reason = f"{path.name} {error}" if isinstance(error, DamagedFileError) else str(error)
        raise HubError(f"{what} was refused, and nothing was kept: {reason}") from error
