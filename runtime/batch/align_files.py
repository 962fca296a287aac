"""Aligning files: one crop a face, and a table that says where each was cut out."""

from __future__ import annotations

import csv
import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import Aligner, cut
from padinv.runtime.batch.find_inputs import Found
from padinv.runtime.batch.sources import Source
from padinv.runtime.errors import InputError, OutputError
from padinv.runtime.files import digest, open_regular, write_text
from padinv.runtime.images import prepare, read_image
from padinv.runtime.images.png_metadata import png_note, save_png

TABLE = "transforms.csv"
COLUMNS = ("file", "source", "face", "a", "b", "c", "d", "e", "f")
_THUMBNAIL = 256
_SHOWN = 200  # pictures whose pixels are kept


@dataclass
class Crop:
    """One aligned face.

    Attributes:
        name: relative name with /. face: 1 is the largest.
        transform: [[a, b, c], [d, e, f]], source pixels (x, y, 1) -> fractions of the crop.
        written: False where an earlier run had written it.
        pixels: uint8 RGB [size, size, 3]; None where many others are shown already.
    """

    name: str
    path: Path
    face: int
    transform: list[list[float]]
    written: bool
    pixels: np.ndarray | None = None


@dataclass
class Aligned:
    """What came of one picture."""

    source: Path
    crops: list[Crop] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    thumbnail: np.ndarray | None = None


def align_files(
    aligner: Aligner, files: Sequence[Found], out: Path, size: int, everyone: bool = True, overwrite: bool = False
) -> Iterator[Aligned]:
    """Write NAME.png, NAME-2.png, ... for the faces of every picture, and `transforms.csv` at the end.

    Args:
        size: side of the crops. everyone: all faces, else the largest.

    Raises:
        OutputError: not writable.
    """
    rows: list[list[Any]] = []
    table = out / TABLE
    settings = {**aligner.conditions, "size": size, "everyone": everyone}
    earlier: dict[str, list[list[Any]]] = {}
    for row in [] if overwrite else _read_table(table):
        earlier.setdefault(row[1], []).append(row)
    if os.path.lexists(table) and not overwrite and not _is_ours(table):
        raise OutputError(f"{table} exists and is not padinv's, so nothing was done; choose another --out")
    with ThreadPoolExecutor(min(2, len(files) or 1), thread_name_prefix="padinv-align") as pool:
        waiting: deque[Future[Aligned]] = deque()

        def finished() -> Aligned:
            aligned = waiting.popleft().result()
            rows.extend(
                [
                    crop.path.relative_to(out).as_posix(),
                    str(aligned.source),
                    crop.face,
                    *crop.transform[0],
                    *crop.transform[1],
                ]
                for crop in aligned.crops
            )
            return aligned

        try:
            for i, found in enumerate(files):
                known = _known(found, earlier.get(str(found.path), []), out, settings)
                if known is None:
                    waiting.append(pool.submit(_align, aligner, found, out, settings, overwrite, i < _SHOWN))
                else:
                    waiting.append(pool.submit(_shown, known, i < _SHOWN))
                if len(waiting) >= 8:
                    yield finished()
            while waiting:
                yield finished()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:  # also when interrupted: a second run knows by it what is there
            if rows:
                write_table(table, rows)


def write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the transforms of crops; lines of earlier runs for other crops stay."""
    mine = {str(row[0]) for row in rows}
    earlier = [row for row in _read_table(path) if row[0] not in mine]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    everything: list[list[Any]] = [*earlier, *(list(row) for row in rows)]
    everything.sort(key=lambda row: str(row[0]))
    writer.writerows(everything)
    write_text(path, text.getvalue())


def _read_table(path: Path) -> list[list[Any]]:
    try:
        with open_regular(path) as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [row for row in rows[1:] if len(row) == len(COLUMNS)]


def _is_ours(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.readline(1000).strip() == ",".join(COLUMNS).encode()
    except OSError:
        return False


def _note(source: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What a crop says about itself: of which picture, as it was then, and how it was made."""
    return {"align": digest({"of": Source(source, "").identity(), **settings})}


def _known(found: Found, rows: list[list[Any]], out: Path, settings: dict[str, Any]) -> Aligned | None:
    """The crops that an earlier run made of this picture in the same way, if all of them are still there."""
    note = _note(found.path, settings)
    crops = []
    for name, _, face, *numbers in rows:
        if png_note(out / name) != note:
            return None
        try:
            values = [float(number) for number in numbers]
            crops.append(
                Crop(name.removesuffix(".png"), out / name, int(face), [values[:3], values[3:]], written=False)
            )
        except ValueError:
            return None
    return Aligned(found.path, crops) if crops else None


def _shown(aligned: Aligned, show: bool) -> Aligned:
    """Earlier crops with their pixels, for sheet and page."""
    if show:
        try:
            aligned.thumbnail = _thumbnail(read_image(aligned.source)[0])
            for crop in aligned.crops:
                crop.pixels = np.asarray(read_image(crop.path)[0], np.uint8)
        except InputError:
            aligned.thumbnail = None
    return aligned


def _thumbnail(image: Image.Image) -> np.ndarray:
    return prepare(image, min(_THUMBNAIL, max(image.size)), "pad").pixels


def _align(aligner: Aligner, found: Found, out: Path, settings: dict[str, Any], overwrite: bool, show: bool) -> Aligned:
    result = Aligned(found.path)
    everyone = settings["everyone"]
    try:
        image, full = read_image(found.path)
        transforms = aligner.placements(image, full, str(found.path), wanted=None if everyone else 1)
        if isinstance(transforms, str):
            raise InputError(f"{transforms}, so it was skipped")
        if not transforms:
            raise InputError(f"no face was found in {found.path}, so it was skipped; give landmarks with --landmarks")
    except InputError as error:
        result.problems.append(str(error))
        return result
    result.thumbnail = _thumbnail(image) if show else None
    note = _note(found.path, settings)
    for i, transform in enumerate(transforms if everyone else transforms[:1]):
        name = found.name if i == 0 else f"{found.name}-{i + 1}"
        path = out / f"{name}.png"
        try:
            prepared = cut(image, transform, settings["size"], size=full, name=str(found.path))
        except InputError as error:
            result.problems.append(str(error))
            continue
        rounded: list[list[float]] = [[float(f"{value:.9g}") for value in row] for row in transform.tolist()]
        crop = Crop(name, path, i + 1, rounded, True, prepared.pixels if show else None)
        if os.path.lexists(path) and not overwrite:
            if png_note(path) != note:
                result.problems.append(f"{path} exists and is another picture, so it was left alone; try --overwrite")
                continue
            crop.written = False
        else:
            save_png(path, prepared.pixels, note)
        result.crops.append(crop)
    return result
