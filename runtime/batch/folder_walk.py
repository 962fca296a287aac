"""Which files below a folder are images: one set of rules for inverting, training and evaluation, and for archives."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from padinv.runtime.batch.results_log import RESULTS, RESULTS_MARK, SHARDS
from padinv.runtime.files import open_regular
from padinv.runtime.images import SUFFIXES, UNREAD_SUFFIXES

SHEET = "contact-sheet.png"
SHEET_MARK = b'padinv\0{"sheet": true}'  # the text chunk near the start of a contact sheet of ours
RUN_FILES = ("config.json", "generator.safetensors")  # beside `samples` they mark the folder of a training

# Folders that programs fill by themselves: macOS, Synology's thumbnails, the trash of Windows and of Linux desktops.
# (.ipynb_checkpoints, .Trash-1000 and the like are hidden.)
PROGRAM_FOLDERS = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "system volume information", "#recycle", "lost+found"}
)
_HEIC = frozenset({".heic", ".heif", ".hif"})


@dataclass
class FolderWalk:
    """The images below a folder, and what was passed over on the way.

    Hidden files and folders, folders that programs fill by themselves, results of padinv, sample grids of a training
    and contact sheets are left out. Links are followed, each folder once, so a loop ends; linked folders come last, so
    that a real path wins over a link. One folder that cannot be listed does not end the walk.

    Args:
        root: the folder; it is taken even where its own name would be left out.
        suffixes: of the files that are taken, in lower case.
        skip: a folder that is not entered, such as that of the results.
        ordered: sort the entries of each folder. Without it, a folder of millions is never held in memory.

    Attributes:
        problems: (path, why) of what cannot be listed or followed.
        unread: suffix -> how many images have a format that is not read here.
        passed_over: how many other files were left out; they are no problem.
    """

    root: Path
    suffixes: frozenset[str] = SUFFIXES
    skip: Path | None = None
    ordered: bool = True
    problems: list[tuple[str, str]] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)
    passed_over: int = 0

    def __iter__(self) -> Iterator[str]:
        """Names of the images relative to the root, with /."""
        skipped = None if self.skip is None else _identity(self.skip)
        seen = set() if skipped is None else {skipped}
        pending: list[str] = [""]
        linked: list[str] = []
        while pending or linked:
            below = pending.pop(0) if pending else linked.pop(0)
            folder = self.root / below
            try:
                identity = _identity(folder)
                if identity is not None and identity in seen:
                    continue
                if identity is not None:
                    seen.add(identity)
                if below and is_output_folder(folder):
                    continue
                inner: list[str] = []
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda one: one.name) if self.ordered else entries:
                        name = f"{below}/{entry.name}" if below else entry.name
                        kind = self._kind(entry)
                        if kind == "folder":
                            (linked if entry.is_symlink() else inner).append(name)
                        elif kind == "image":
                            yield name
                pending = inner + pending
            except OSError as error:
                self.problems.append((str(folder), f"cannot be listed: {error.strerror or error}"))

    def _kind(self, entry: os.DirEntry[str]) -> str | None:
        """'folder' or 'image'; None for what is left out, which is counted here."""
        if is_hidden(entry.name):
            return None
        suffix = os.path.splitext(entry.name)[1].lower()
        try:
            if entry.is_dir():
                return "folder"
            leads_nowhere = entry.is_symlink() and not os.path.exists(entry.path)
        except OSError:  # a link to itself
            leads_nowhere = True
        if suffix in self.suffixes:
            if leads_nowhere:
                self.problems.append((entry.path, "is a link that leads nowhere"))
                return None
            return None if entry.name == SHEET and is_contact_sheet(Path(entry.path)) else "image"
        if suffix in UNREAD_SUFFIXES:
            self.unread[suffix] += 1
        else:
            self.passed_over += 1
        return None


def unread_sentence(place: object, unread: Counter[str]) -> str | None:
    """One sentence about images in formats that are not read here; None where there are none."""
    if not unread:
        return None
    count = sum(unread.values())
    kinds = ", ".join(
        f"{number} {suffix}" for suffix, number in sorted(unread.items(), key=lambda one: (-one[1], one[0]))
    )
    advice = "convert them to JPEG or PNG"
    if _HEIC & set(unread):
        advice += ", or for HEIC: pip install 'padinv[heif]'"
    images, they = ("image", "it was") if count == 1 else ("images", "they were")
    return f"{place} holds {count} {images} of a format that is not read here ({kinds}), so {they} skipped; {advice}"


def is_image_name(name: str, suffixes: frozenset[str] = SUFFIXES) -> bool:
    """Whether a file's suffix is that of an image."""
    return posixpath.splitext(name)[1].lower() in suffixes


def is_hidden(part: str) -> bool:
    """Whether a single file or folder name is hidden, or a program's own."""
    return (part.startswith(".") and part not in (".", "..")) or part.lower() in PROGRAM_FOLDERS


def in_hidden_place(parts: Sequence[str]) -> bool:
    """Whether a path inside a folder or archive is hidden, or lies in a folder that a program made for itself."""
    return any(is_hidden(part) for part in parts)


def is_output_folder(folder: Path) -> bool:
    """Whether padinv wrote a folder: results of a job, or the sample grids of a training."""
    logs = (folder / RESULTS, *folder.glob(SHARDS))
    if any(_begins_with(log, RESULTS_MARK, len(RESULTS_MARK)) for log in logs):
        return True
    return folder.name == "samples" and all((folder.parent / name).is_file() for name in RUN_FILES)


def is_contact_sheet(path: Path) -> bool:
    """Whether a file is a contact sheet of padinv: results on one page are no input."""
    return path.name == SHEET and _begins_with(path, SHEET_MARK, 4096)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _begins_with(path: Path, mark: bytes, within: int) -> bool:
    try:
        with open_regular(path) as file:
            return mark in file.read(within)
    except OSError:
        return False
