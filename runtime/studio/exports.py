"""What can be downloaded of a photograph."""

from __future__ import annotations

import json
import tempfile
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from padinv.runtime.editing.saved_edit import SavedEdit
from padinv.runtime.errors import UsageError
from padinv.runtime.images.png_metadata import png_bytes
from padinv.runtime.provenance.command_text import Command as Recorded
from padinv.runtime.reports.animation import animation_bytes
from padinv.runtime.server.uploads import encode_png, safe_name
from padinv.runtime.studio.commands import Command, edit_name, landmarks_name
from padinv.runtime.studio.edit_state import Interpolation
from padinv.runtime.studio.photo import Photo
from padinv.runtime.studio.placing import landmarks_csv
from padinv.runtime.studio.session import NamedDirection
from padinv.runtime.studio.workbench import Workbench

PNG, SAFETENSORS, WEBP, CSV = "image/png", "application/octet-stream", "image/webp", "text/csv; charset=utf-8"


@dataclass(frozen=True)
class Download:
    """A file for the user."""

    name: str
    kind: str
    data: bytes


def export(bench: Workbench, photo: Photo, edit: SavedEdit, how: Command, what: str) -> Download:
    """One file of a photograph's present state.

    Args:
        what: 'picture' (the square), 'photo' (the whole photograph), 'inversion' (the edited codes), 'edit' (a saved
            edit, for `padinv edit`), or 'landmarks' (of a moved square).

    Raises:
        UsageError: another `what`, or landmarks of a square that was not moved.
    """
    makers: dict[str, Callable[[], Download]] = {
        "picture": lambda: _picture(bench, photo, edit, how),
        "photo": lambda: _photo(bench, photo, edit, how),
        "inversion": lambda: Download(
            f"{photo.name}.safetensors", SAFETENSORS, bench.edited(photo, edit).to_bytes("float32")
        ),
        "edit": lambda: Download(edit_name(photo), SAFETENSORS, _saved(edit.save, "edit.safetensors")),
        "landmarks": lambda: _landmarks(photo),
    }
    if what not in makers:
        raise UsageError(f"the exports are {', '.join(makers)}, not {what[:40]!r}")
    return makers[what]()


def animation(bench: Workbench, start: Photo, end: Photo, way: Interpolation, milliseconds: int = 120) -> Download:
    """An endless WebP from one photograph to another and back."""
    frames = bench.frames(start, end, way)
    how = Recorded("interpolate", options=(("--space", way.space), ("--steps", str(way.steps))))
    names = (start.name, end.name)
    data = bench.finished(animation_bytes(frames, milliseconds), how, names)
    return Download(f"{start.name}--{end.name}.webp", WEBP, data)


def direction_file(named: NamedDirection) -> Download:
    """A direction as a file that `padinv edit` takes."""
    return Download(f"{safe_name(named.name)}.safetensors", SAFETENSORS, _saved(named.direction.save, "d.safetensors"))


def _picture(bench: Workbench, photo: Photo, edit: SavedEdit, how: Command) -> Download:
    pixels = bench.picture(photo, edit)
    return Download(f"{photo.name}.png", PNG, bench.finished(png_bytes(pixels, {}), how.recorded, (photo.name,)))


def _photo(bench: Workbench, photo: Photo, edit: SavedEdit, how: Command) -> Download:
    pixels = bench.pasted(photo, bench.picture(photo, edit))
    data = bench.finished(png_bytes(pixels, {}, bench.profile(photo)), how.recorded, (photo.name,))
    return Download(f"{photo.name}.photo.png", PNG, data)


def _landmarks(photo: Photo) -> Download:
    if photo.landmarks is None:
        raise UsageError("the square was not moved, so there are no landmarks to save")
    return Download(landmarks_name(photo), CSV, landmarks_csv(photo.name, photo.landmarks).encode())


def _saved(save: Callable[[Path], None], name: str) -> bytes:
    """The bytes of a file that can only be written to a path."""
    with tempfile.TemporaryDirectory(prefix="padinv-") as folder:
        path = Path(folder) / name
        save(path)
        return path.read_bytes()


def strip_png(frames: np.ndarray) -> bytes:
    """Frames [N, R, R, 3] side by side without gaps, for the scrubber."""
    return encode_png(np.concatenate(list(frames), axis=1))


def data_url(pixels: np.ndarray) -> str:
    """A small picture inside an answer."""
    return f"data:{PNG};base64,{b64encode(encode_png(pixels)).decode()}"


def attachment(name: str) -> str:
    """A Content-Disposition header for any file name: ASCII for old browsers, and UTF-8."""
    from urllib.parse import quote

    plain = "".join(c if (c.isascii() and c.isalnum()) or c in "._- " else "_" for c in name)
    return f"attachment; filename={json.dumps(plain)}; filename*=UTF-8''{quote(name, safe='')}"
