"""Archives whose bytes depend on their pictures alone: no times, owners or machine in them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from padinv.runtime.files import atomic_path

MANIFEST = "dataset.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_zip(path: Path, members: Iterable[tuple[str, bytes]], manifest: Mapping[str, Any] | None = None) -> None:
    """Write a ZIP archive of stored members, as NVIDIA's tools make it, with `dataset.json` at its end.

    Raises:
        OutputError: it cannot be written; nothing is left of it.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
        if manifest is not None:
            archive.writestr(zipfile.ZipInfo(MANIFEST, _EPOCH), json.dumps(dict(manifest), indent=2))


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar archive.

    Raises:
        OutputError: it cannot be written; nothing is left of it.
    """
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def read_manifest(path: Path) -> dict[str, Any] | None:
    """`dataset.json` of an archive or folder that `padinv dataset` made; None for anything else."""
    try:
        if path.is_dir():
            text = (path / MANIFEST).read_text("utf-8")
        else:
            with zipfile.ZipFile(path) as archive:
                text = archive.read(MANIFEST).decode()
        document = json.loads(text)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return document if isinstance(document, dict) and isinstance(document.get("padinv"), dict) else None
