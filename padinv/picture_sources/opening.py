"""From what a person names to the source that reads it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from padinv.picture_sources.folder import FolderSource
from padinv.picture_sources.lmdb_database import LmdbSource
from padinv.picture_sources.named_files import NamedFiles
from padinv.picture_sources.parquet import ParquetSource
from padinv.picture_sources.remote import fetch, is_url
from padinv.picture_sources.source import PictureSource, printable
from padinv.picture_sources.tar_shards import TarSource, is_tar
from padinv.picture_sources.zip_archive import ZipSource
from padinv.runtime.batch.folder_walk import is_image_name
from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular

KINDS = "a folder of pictures, a ZIP or tar archive, tar shards, an LMDB database, or parquet files"
TABLES = (".parquet", ".arrow")
MAX_SHARDS = 100_000


def open_named(paths: Sequence[Path | str]) -> PictureSource:
    """What several paths name: one of them is opened by `open_pictures`, unless it is a picture itself.

    Raises:
        InputError, MissingPackageError: see `open_pictures`.
    """
    if len(paths) == 1 and not (is_image_name(str(paths[0])) and not is_url(str(paths[0]))):
        return open_pictures(paths[0])
    return NamedFiles(paths)


def open_pictures(place: Path | str) -> PictureSource:
    """Open a folder, ZIP archive, tar shards, LMDB database, parquet or Arrow files, or a URL of an archive.

    Shards are named by a folder that holds them, or by a pattern: `shards/train-{000000..000099}.tar`, `shards/*.tar`.

    Raises:
        InputError: missing, unreadable, or without a picture.
        MissingPackageError: the kind needs a package that is not installed.

    Example:
        source = open_pictures("church_outdoor_train_lmdb")
        pixels = source.read(0, 256)  # uint8 [256, 256, 3]
    """
    text = str(place)
    if is_url(text):
        return _open_files(text, [fetch(url) for url in expand_braces(text)])
    path = Path(place)
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        return _open_files(path, [path])
    names = expand_braces(text)
    if len(names) > 1 or glob.has_magic(text):
        found = names if len(names) > 1 else sorted(glob.glob(text, recursive=True))
        if not found:
            raise InputError(f"{printable(text)} matches no file")
        missing = [name for name in found if not Path(name).is_file()]
        if missing:
            raise InputError(
                f"{printable(missing[0])} does not exist ({len(missing)} of {len(found)} shards are missing)"
            )
        return _open_files(text, [Path(name) for name in found])
    if os.path.exists(text):
        raise InputError(f"{printable(text)} is not a regular file (a pipe, a device or a socket); name {KINDS}")
    raise InputError(f"{printable(text)} does not exist; name {KINDS}")


def expand_braces(text: str) -> list[str]:
    """'a-{00..02}.tar' -> a-00.tar, a-01.tar, a-02.tar, and 'a-{x,y}.tar' likewise; several braces are combined.

    Raises:
        InputError: a range with more than 100,000 shards.
    """
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", text)
    if match is None:
        return [text]
    if match[3] is not None:
        parts = match[3].split(",")
    else:
        first, last = int(match[1]), int(match[2])
        if last - first >= MAX_SHARDS:
            raise InputError(f"{printable(text)} names more than {MAX_SHARDS:,} shards")
        parts = [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]
    head, tail = text[: match.start()], text[match.end() :]
    return [head + part + rest for part in parts for rest in expand_braces(tail)]


def _open_folder(path: Path) -> PictureSource:
    if (path / "data.mdb").is_file():  # as LSUN's archives unpack
        return LmdbSource(path)
    tables, shards, pictures = _listing(path)
    if pictures == 0 and shards and not tables:
        return TarSource(path, shards)
    if pictures == 0 and tables and not shards:
        return ParquetSource(path, tables)
    if tables or shards:
        other = shards or tables
        raise InputError(
            f"{path} holds archives ({printable(other[0].name)}, ...) beside other data, so it is not clear what to "
            f"read; name the files, as in '{printable(str(path))}/*{other[0].suffix}'"
        )
    return FolderSource(path)


def _listing(path: Path) -> tuple[list[Path], list[Path], int]:
    """(parquet or Arrow files, tar files, whether there are pictures) of a folder; tables also of its `data`."""
    tables: list[Path] = []
    shards: list[Path] = []
    for entry in _entries(path):
        if is_image_name(entry.name):
            return [], [], 1
        if entry.suffix in TABLES and not entry.name.startswith("cache-"):
            tables.append(entry)
        elif entry.suffix == ".tar":
            shards.append(entry)
    if not tables and not shards and (path / "data").is_dir():
        tables = [entry for entry in _entries(path / "data") if entry.suffix in TABLES]
    return sorted(tables), sorted(shards), 0


def _entries(path: Path) -> Iterator[Path]:
    try:
        yield from (entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _open_files(name: Path | str, files: list[Path]) -> PictureSource:
    first = files[0]
    try:
        with open_regular(first) as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"{first} cannot be read: {error.strerror or error}") from error
    if head[:4] == b"PAR1" or head[:6] == b"ARROW1" or first.suffix in TABLES:
        return ParquetSource(name, files)
    if first.suffix == ".mdb":
        return LmdbSource(first)
    if is_tar(first) or first.name.endswith((".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2")):
        return TarSource(name, files)
    if len(files) > 1:
        raise InputError(
            f"{printable(str(name))} names several files that are neither tar nor parquet; name one of them"
        )
    return ZipSource(first)
