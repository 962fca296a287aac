"""From the paths a person names to the pictures to read and the names of their results."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from padinv.runtime.batch.folder_walk import SHEET, FolderWalk, in_hidden_place, is_output_folder, unread_sentence
from padinv.runtime.batch.name_set import NameSet
from padinv.runtime.batch.result_names import distinct_names, is_plain
from padinv.runtime.images import SUFFIXES, UNREAD_SUFFIXES
from padinv.runtime.spilled import Spilled

__all__ = ["SHEET", "Found", "Gathered", "gather"]


class Found(NamedTuple):
    """A file to read.

    Attributes:
        place: its path as text: a million `Path`s take seconds to make.
        name: relative, with /; its results are called by it, without their own suffix.
    """

    place: str
    name: str

    @property
    def path(self) -> Path:
        """Of the file."""
        return Path(self.place)


@dataclass
class Gathered:
    """What the named paths came to.

    Attributes:
        files: pictures to read, each once, with distinct names.
        problems: (path, why) of paths that are missing or cannot be listed.
        unread: folder or pattern -> suffixes of images in formats that are not read here, with their numbers.
        passed_over: files in folders without a picture's suffix; they are no problem.
    """

    files: Sequence[Found] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    unread: dict[str, Counter[str]] = field(default_factory=dict)
    passed_over: int = 0

    def skipped(self) -> list[tuple[str, str]]:
        """(path, sentence) of everything that gives no result although somebody may expect one."""
        found = [(path, f"{path} {why}, so it was skipped") for path, why in self.problems]
        sentences = ((place, unread_sentence(place, counts)) for place, counts in self.unread.items())
        return found + [(place, sentence) for place, sentence in sentences if sentence]


def gather(paths: Iterable[Path | str], out: Path | str | None = None, suffixes: frozenset[str] = SUFFIXES) -> Gathered:
    """Files, folders (recursive) and glob patterns -> the files to read.

    Which files of a folder count is said by `FolderWalk`; the folder `out` is left out, too. A file named outright is
    always taken. Result names mirror the folders; where two inputs would get the same name, both get as many of their
    parent folders in front as it takes to tell them apart.

    Args:
        paths: what the person typed.
        out: folder of the results, never read from.
    """
    result = Gathered()
    roots = new_list()
    skip = None if out is None else Path(out)
    for given in map(str, paths):
        path = Path(given)
        if os.path.lexists(path):
            _take(path, path.name or path.resolve().name, roots, result, skip, suffixes)
        elif glob.has_magic(given):
            _take_pattern(given, roots, result, skip, suffixes)
        else:
            result.problems.append((given, "does not exist"))
    result.files = roots if _is_plain(roots) else _told_apart(roots)
    return result


def new_list(files: Iterable[Found] = ()) -> Spilled[Found]:
    """A list of files that may be a million long."""
    return Spilled(files, dump=_dump, load=_load)


def _dump(found: Found) -> bytes:
    return "\0".join(found).encode("utf-8", "surrogatepass")


def _load(data: bytes) -> Found:
    return Found(*data.decode("utf-8", "surrogatepass").split("\0"))


def _is_plain(files: Sequence[Found]) -> bool:
    """Whether no file came twice, and names below their roots can be result names, as in almost every run."""
    names, places, here = NameSet(), NameSet(), os.getcwd()
    for place, name in files:
        if not is_plain(name):
            return False
        names.add(name.casefold())
        places.add(os.path.normpath(os.path.join(here, place)))
    return names.distinct and places.distinct


def _told_apart(files: Iterable[Found]) -> Spilled[Found]:
    """Each file once, with a name of its own. All names are in memory."""
    once: dict[str, tuple[Path, str]] = {}
    for found in files:
        once.setdefault(os.path.abspath(found.place), (found.path, found.name))
    kept = list(once.values())
    return new_list(Found(str(path), name) for (path, _), name in zip(kept, distinct_names(kept), strict=True))


def _take_pattern(
    pattern: str, roots: Spilled[Found], result: Gathered, skip: Path | None, suffixes: frozenset[str]
) -> None:
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        result.problems.append((pattern, "matches no file"))
    output: dict[Path, bool] = {}
    for match in matches:
        path = Path(match)
        relative = os.path.relpath(path, fixed)
        if in_hidden_place(Path(relative).parts) or _in_output(path.parent, fixed, output):
            result.passed_over += 1
        elif path.is_dir():
            _walk(path, "" if relative == "." else relative, roots, result, skip, suffixes)
        elif path.suffix.lower() in suffixes or "." in Path(pattern).name.strip("*"):
            roots.append(Found(str(path), relative))
        elif path.suffix.lower() in UNREAD_SUFFIXES:
            result.unread.setdefault(pattern, Counter())[path.suffix.lower()] += 1
        else:
            result.passed_over += 1


def _in_output(folder: Path, fixed: Path, known: dict[Path, bool]) -> bool:
    """Whether a folder lies in what padinv wrote, below the fixed part of a pattern; answers are kept in `known`."""
    if folder == fixed or folder == folder.parent:
        return False
    if folder not in known:
        known[folder] = is_output_folder(folder) or _in_output(folder.parent, fixed, known)
    return known[folder]


def _take(
    path: Path,
    name: str,
    roots: Spilled[Found],
    result: Gathered,
    skip: Path | None,
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
        roots.append(Found(str(path), name))


def _walk(
    root: Path,
    prefix: str,
    roots: Spilled[Found],
    result: Gathered,
    skip: Path | None,
    suffixes: frozenset[str],
) -> None:
    walk = FolderWalk(root, suffixes, skip)
    above = os.path.join(root, "") if str(root) != "." else ""
    for name in walk:
        roots.append(Found(f"{above}{name}", f"{prefix}/{name}" if prefix else name))
    result.problems += walk.problems
    result.passed_over += walk.passed_over
    if walk.unread:
        result.unread.setdefault(str(root), Counter()).update(walk.unread)
