"""Remote archives: fetched through fsspec, file by file, into a folder of this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from padinv.picture_sources.source import printable
from padinv.runtime.errors import InputError, MissingPackageError, PadInvError
from padinv.runtime.files import atomic_path

BLOCK = 1 << 22


def is_url(text: str) -> bool:
    """Whether a place is named by a URL such as https://..., s3://... or hf://..."""
    head, sign, _ = text.partition("://")
    return bool(sign) and head.replace("+", "").replace(":", "").isalnum() and len(head) > 1


def cache_folder() -> Path:
    """Where fetched archives are kept: $PADINV_CACHE, else the user's cache folder."""
    if given := os.environ.get("PADINV_CACHE"):
        return Path(given) / "remote"
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or str(Path.home() / ".cache")
    return Path(base) / "padinv" / "remote"


def fetch(url: str, folder: Path | None = None) -> Path:
    """A local copy of a remote file; fetched once, again when its size changes.

    Raises:
        InputError: it cannot be reached or read, or the package for this kind of address is not installed.
        MissingPackageError: fsspec is not installed.
        OutputError: the copy cannot be written.
    """
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackageError("fsspec", "data", f"reading {printable(url)}") from error
    try:
        system, place = fsspec.core.url_to_fs(url)
        size = system.size(place)
        name = place.rstrip("/").rpartition("/")[2] or "data"
        mark = hashlib.sha256(url.encode()).hexdigest()[:12]
        target = (folder or cache_folder()) / f"{mark}-{name[-80:]}"
        if target.exists() and (size is None or target.stat().st_size == size):
            return target
        with system.open(place, "rb") as remote:
            _copy(remote, target)
    except PadInvError:
        raise
    except Exception as error:  # each kind of address has a library with errors of its own
        raise InputError(f"{printable(url)} cannot be read: {' '.join(str(error).split())[:200]}") from error
    return target


def _copy(remote: Any, target: Path) -> None:
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        while block := remote.read(BLOCK):
            file.write(block)
