"""Which files of a folder or archive count as pictures: the same rules for every container."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from padinv.runtime.batch.find_inputs import RESULTS, RESULTS_MARK, SHEET, SHEET_MARK
from padinv.runtime.images import SUFFIXES

RUN_FILES = ("config.json", "generator.safetensors")  # beside `samples` they mark the folder of a training

# Folders that programs fill by themselves: macOS, Synology's thumbnails, the trash of Windows and of Linux desktops.
PROGRAM_FOLDERS = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "system volume information", "#recycle", "lost+found"}
)


def is_picture_name(name: str) -> bool:
    """Whether a file's suffix is a picture's."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def in_hidden_place(parts: Sequence[str]) -> bool:
    """Whether a path inside a source is hidden, or lies in a folder that a program made for itself."""
    return any(is_hidden(part) for part in parts)


def is_hidden(part: str) -> bool:
    """Whether a single file or folder name is hidden, or a program's own."""
    return (part.startswith(".") and part not in (".", "..")) or part.lower() in PROGRAM_FOLDERS


def is_output_folder(folder: Path) -> bool:
    """Whether padinv wrote a folder: results of a job, or the sample grids of a training."""
    if _begins_with(folder / RESULTS, RESULTS_MARK, len(RESULTS_MARK)):
        return True
    return folder.name == "samples" and all((folder.parent / name).is_file() for name in RUN_FILES)


def is_contact_sheet(entry: os.DirEntry[str]) -> bool:
    """Whether a file is a contact sheet of padinv: results on one page are no photograph."""
    return entry.name == SHEET and _begins_with(Path(entry.path), SHEET_MARK, 4096)


def _begins_with(path: Path, mark: bytes, within: int) -> bool:
    try:
        with open(path, "rb") as file:
            return mark in file.read(within)
    except OSError:
        return False
