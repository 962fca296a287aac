"""Distinct, safe names of results."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

MAX_NAME_BYTES = 200  # of one path component of a result; file systems allow 255, and suffixes are still to come


def distinct_names(files: Sequence[tuple[Path, str]]) -> list[str]:
    """A distinct result name for each (path, name below its root); equal ones are told apart by parent folders.

    Names are compared without regard to case, so that results can move to any file system.
    """
    names = [PurePosixPath(*Path(name).parts) for _, name in files]
    parents = [list(Path(os.path.abspath(path)).parts[1:]) for path, _ in files]
    places = [tuple(part.casefold() for part in parts) for parts in parents]
    used = [len(name.parts) for name in names]
    while True:
        groups: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            groups.setdefault(str(name).casefold(), []).append(i)
        # More parents cannot tell apart two files that differ only in case: those are marked below.
        helped = (group for group in groups.values() if len({places[i] for i in group}) > 1)
        clashing = [i for group in helped for i in group if used[i] < len(parents[i])]
        if not clashing:
            break
        for i in clashing:
            used[i] += 1
            names[i] = PurePosixPath(*parents[i][-used[i] :])
    taken: set[str] = set()
    result = []
    for i, name in enumerate(names):
        safe = "/".join(_short(part) for part in name.parts if part not in ("/", "..", "."))
        if safe.casefold() in taken:  # same path but for case, or shortened alike
            safe = _mark(safe, str(files[i][0]))
        taken.add(safe.casefold())
        result.append(safe)
    return result


def is_plain(name: str) -> bool:
    """Whether `distinct_names` leaves a name as it is, where no other one is equal to it but for case."""
    odd = any(part in f"/{name}/" for part in ("//", "/./", "/../")) or "\\" in name or ":" in name
    return not odd and len(os.fsencode(name)) <= MAX_NAME_BYTES


def _short(part: str, most: int = MAX_NAME_BYTES) -> str:
    """A path component that leaves room for result suffixes; a long one is cut and marked with a digest of itself."""
    data = os.fsencode(part)
    if len(data) <= most:
        return part
    suffix = Path(part).suffix[:16]
    return _mark(data[: most - 32].decode("utf-8", errors="ignore") + suffix, part)


def _mark(name: str, of: str) -> str:
    digest = hashlib.sha256(os.fsencode(of)).hexdigest()[:8]
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}~{digest}.{suffix}" if dot and "/" not in suffix else f"{name}~{digest}"


def joined_name(first: str, folder: PurePosixPath, second: str) -> str:
    """The name of a result of two images, FIRST--SECOND, beside `folder`; each half is cut if both are long."""
    most = MAX_NAME_BYTES // 2 - 1
    halves = [_short(part, most) if len(os.fsencode(first + second)) > 2 * most else part for part in (first, second)]
    return folder.with_name("--".join(halves)).as_posix()
