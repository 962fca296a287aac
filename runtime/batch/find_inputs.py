"""From the paths a person names to the pictures to read and the names of their results."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from padinv.runtime.batch.result_names import distinct_names
from padinv.runtime.batch.results_log import RESULTS, RESULTS_MARK
from padinv.runtime.images import SUFFIXES

SHEET = "contact-sheet.png"
SHEET_MARK = b'padinv\0{"sheet": true}'  # the text chunk near the start of a contact sheet of ours


@dataclass(frozen=True)
class Found:
    """A file to read, and the relative name (with /) its results are called by, without their own suffix."""

    path: Path
    name: str


@dataclass
class Gathered:
    """What the named paths came to.

    Attributes:
        files: pictures to read, each once, with distinct names.
        problems: (path, why) of paths that are missing or cannot be listed.
        passed_over: files in folders without a picture's suffix; they are no problem.
    """

    files: list[Found] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    passed_over: int = 0


def gather(paths: Iterable[Path | str], out: Path | str | None = None, suffixes: frozenset[str] = SUFFIXES) -> Gathered:
    """Files, folders (recursive) and glob patterns -> the files to read.

    In folders, hidden files and folders, files without one of `suffixes`, the folder `out`, contact sheets, and folders
    that hold results of an earlier run are passed over; links are followed, each folder once. A file named outright is
    always taken. Result names mirror the folders; where two inputs would get the same name, both get as many of their
    parent folders in front as it takes to tell them apart.

    Args:
        paths: what the person typed.
        out: folder of the results, never read from.
    """
    result = Gathered()
    roots: list[tuple[Path, str]] = []  # path, name below its root
    skip = _identity(Path(out)) if out is not None else None
    for given in map(str, paths):
        path = Path(given)
        if os.path.lexists(path):
            _take(path, path.name or path.resolve().name, roots, result, skip, suffixes)
        elif glob.has_magic(given):
            _take_pattern(given, roots, result, skip, suffixes)
        else:
            result.problems.append((given, "does not exist"))
    once: dict[str, tuple[Path, str]] = {}
    for path, name in roots:
        once.setdefault(os.path.abspath(path), (path, name))
    files = list(once.values())
    result.files = [Found(path, name) for (path, _), name in zip(files, distinct_names(files), strict=True)]
    return result


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _take_pattern(
    pattern: str,
    roots: list[tuple[Path, str]],
    result: Gathered,
    skip: tuple[int, int] | None,
    suffixes: frozenset[str],
) -> None:
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        result.problems.append((pattern, "matches no file"))
    for match in matches:
        path = Path(match)
        relative = os.path.relpath(path, fixed)
        if path.is_dir():
            _walk(path, "" if relative == "." else relative, roots, result, skip, suffixes)
        elif path.suffix.lower() in suffixes or "." in Path(pattern).name.strip("*"):
            roots.append((path, relative))
        else:
            result.passed_over += 1


def _take(
    path: Path,
    name: str,
    roots: list[tuple[Path, str]],
    result: Gathered,
    skip: tuple[int, int] | None,
    suffixes: frozenset[str],
) -> None:
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        reason = "is a link that leads nowhere" if path.is_symlink() else f"cannot be read: {error.strerror or error}"
        result.problems.append((str(path), reason))
        return
    if is_folder:
        _walk(path, "", roots, result, skip, suffixes)
    else:
        roots.append((path, name))


def _walk(
    root: Path,
    prefix: str,
    roots: list[tuple[Path, str]],
    result: Gathered,
    skip: tuple[int, int] | None,
    suffixes: frozenset[str],
) -> None:
    """Files below `root`, folder by folder in name order. Linked folders come last, so a real path wins over a link."""
    seen: set[tuple[int, int] | None] = {skip} if skip else set()
    pending: list[tuple[Path, str]] = [(root, prefix)]
    linked: list[tuple[Path, str]] = []
    while pending or linked:
        folder, below = pending.pop(0) if pending else linked.pop(0)
        identity = _identity(folder)
        if identity is not None and identity in seen:
            continue
        seen.add(identity)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            result.problems.append((str(folder), f"cannot be listed: {error.strerror or error}"))
            continue
        if folder != root and _holds_results(folder):
            continue
        inner: list[tuple[Path, str]] = []
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (linked if entry.is_symlink() else inner).append((Path(entry.path), name))
            elif entry.name == SHEET and _is_sheet(Path(entry.path)):
                continue
            elif Path(entry.name).suffix.lower() in suffixes:
                roots.append((Path(entry.path), name))
            else:
                result.passed_over += 1
        pending = inner + pending


def _holds_results(folder: Path) -> bool:
    """Whether an earlier run wrote its results here: reconstructions are no input."""
    try:
        with open(folder / RESULTS, "rb") as file:
            return file.read(len(RESULTS_MARK)) == RESULTS_MARK
    except OSError:
        return False


def _is_sheet(path: Path) -> bool:
    """Whether a picture is a contact sheet of an earlier run: results on one page are no input."""
    try:
        with open(path, "rb") as file:
            return SHEET_MARK in file.read(4096)
    except OSError:
        return False
