"""The command line that gives the same picture as the studio shows, bit for bit."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from padinv.runtime.editing.saved_edit import SavedEdit
from padinv.runtime.provenance.command_text import Command as Recorded
from padinv.runtime.studio.photo import Photo

OUT = "padinv-out/studio"


@dataclass(frozen=True)
class Command:
    """A command, what it needs, and what it writes.

    Attributes:
        text: to be copied into a shell.
        files: files that must lie in the current folder, besides the photograph: 'edit' and 'landmarks' by name.
        result: path of the picture that it writes.
        recorded: what the picture says about it.
    """

    text: str
    files: dict[str, str]
    result: str
    recorded: Recorded


def edit_name(photo: Photo) -> str:
    """File name of the saved edit of a photograph."""
    return f"{photo.name}.edit.safetensors"


def landmarks_name(photo: Photo) -> str:
    """File name of the landmarks that describe a moved square."""
    return f"{photo.name}.landmarks.csv"


def command(
    photo: Photo, edit: SavedEdit, *, gallery: frozenset[str], model: str | None = None, paste_back: bool = True
) -> Command:
    """The command for a photograph as it is edited now.

    Args:
        gallery: names of the directions that the model ships; an edit of these alone needs no file.
        model: as given to `padinv studio`; None: the built-in one.
        paste_back: also write the whole photograph.
    """
    files: dict[str, str] = {}
    if edit.changes_nothing:
        start = ["invert"]
    elif edit.borrowed is None and set(edit.strengths) <= gallery:
        start = ["edit", ",".join(f"{name}={value:g}" for name, value in edit.strengths.items())]
        if any(float(f"{value:g}") != value for value in edit.strengths.values()):
            start[-1] = ",".join(f"{name}={value!r}" for name, value in edit.strengths.items())
    else:
        files["edit"] = edit_name(photo)
        start = ["edit", _as_path(edit_name(photo))]
    options: list[tuple[str, ...]] = []
    if photo.landmarks is not None:
        files["landmarks"] = landmarks_name(photo)
        options += [("--landmarks", landmarks_name(photo)), ("--align", "always")]
    elif photo.placing.face > 1:
        options.append(("--face", str(photo.placing.face)))
    if model is not None:
        options.append(("--model", model))
    if paste_back:
        options.append(("--paste-back",))
    words = ["padinv", *start, _as_path(photo.path or photo.name), *(word for one in options for word in one)]
    suffix = ".photo.png" if paste_back else ".png"
    recorded = Recorded(start[0], tuple(start[1:]), tuple(options))
    return Command(shlex.join([*words, "--out", OUT]), files, f"{OUT}/{photo.name}{suffix}", recorded)


def _as_path(name: str) -> str:
    """A name that no shell command takes for an option."""
    return f"./{name}" if name.startswith("-") else name
