"""The step of `padinv align`: a picture in; one crop per face out, and a table that says where each was cut out."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import Aligner, cut
from padinv.runtime.batch import engine
from padinv.runtime.batch.find_inputs import Found
from padinv.runtime.batch.ownership import image_bytes
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Source
from padinv.runtime.errors import InputError, OutputError
from padinv.runtime.files import open_regular, write_text
from padinv.runtime.images import prepare, read_image

VERB = "align"
TABLE = "transforms.csv"
COLUMNS = ("file", "source", "face", "a", "b", "c", "d", "e", "f")
BATCH = 4  # pictures that are written while the next ones are read
_THUMBNAIL = 256


@dataclass
class Crop:
    """One aligned face.

    Attributes:
        face: 1 is the largest.
        transform: [[a, b, c], [d, e, f]], source pixels (x, y, 1) -> fractions of the crop.
        pixels: uint8 RGB [size, size, 3].
    """

    face: int
    transform: list[list[float]]
    pixels: np.ndarray


@dataclass
class Aligned:
    """The faces of one picture, and the picture at a small size."""

    crops: list[Crop] = field(default_factory=list)
    thumbnail: np.ndarray | None = None
    problems: list[str] = field(default_factory=list)


def align_files(
    aligner: Aligner,
    files: Sequence[Found],
    log: ResultsLog,
    *,
    size: int,
    everyone: bool = True,
    overwrite: bool = False,
) -> Generator[engine.Event, None, None]:
    """Write NAME.png, NAME-2.png, ... for the faces of every picture, and `transforms.csv` at the end.

    Args:
        size: side of the crops. everyone: all faces, else the largest.

    Raises:
        OutputError: not writable.
    """
    table = log.out / TABLE
    if os.path.lexists(table) and not overwrite and not _is_ours(table):
        raise OutputError(f"{table} exists and is not padinv's, so nothing was done; choose another --out")
    step = AlignStep(aligner, size, everyone)
    tasks = [step.task(found) for found in files]
    try:
        yield from engine.run(step, tasks, log, batch_size=BATCH, overwrite=overwrite)
    finally:  # also when interrupted
        rows = [row for record in log.of_verb(VERB) for row in table_rows(record)]
        if rows:
            write_table(table, rows)


def table_rows(record: dict[str, Any]) -> list[list[Any]]:
    """The lines of `transforms.csv` for one picture's record."""
    return [
        [crop["file"], record["source"], crop["face"], *crop["transform"][0], *crop["transform"][1]]
        for crop in record["crops"]
    ]


def show_again(kept: engine.Kept, out: Path) -> Aligned | None:
    """Crops of an earlier run with their pixels, for sheet and page; None where one cannot be read."""
    try:
        thumbnail = _thumbnail(read_image(kept.record["source"])[0])
        crops = [
            Crop(crop["face"], crop["transform"], np.asarray(read_image(out / crop["file"])[0], np.uint8))
            for crop in kept.record["crops"]
        ]
    except InputError:
        return None
    return Aligned(crops, thumbnail)


class AlignStep:
    """Finds and cuts out faces, in the reading threads; see `engine.Step`. `Product.shown` is an `Aligned`."""

    def __init__(self, aligner: Aligner, size: int, everyone: bool) -> None:
        self.aligner, self.size, self.everyone = aligner, size, everyone

    def task(self, found: Found) -> engine.Task:
        """The task of one picture; how many faces it has is known when it is read."""
        conditions = {
            **self.aligner.conditions,
            "size": self.size,
            "everyone": self.everyone,
            "of": Source(found.path, "").identity(),
        }
        return engine.Task(VERB, found.name, str(found.path), conditions, conditions, {}, found)

    def read(self, task: engine.Task) -> Aligned:
        """The faces of a picture."""
        path = task.payload.path
        image, full = read_image(path)
        transforms = self.aligner.placements(image, full, str(path), wanted=None if self.everyone else 1)
        if isinstance(transforms, str):
            raise InputError(f"{transforms}, so it was skipped")
        if not transforms:
            raise InputError(f"no face was found in {path}, so it was skipped; give landmarks with --landmarks")
        result = Aligned(thumbnail=_thumbnail(image))
        for i, transform in enumerate(transforms if self.everyone else transforms[:1]):
            try:
                pixels = cut(image, transform, self.size, size=full, name=str(path)).pixels
            except InputError as error:
                result.problems.append(str(error))
                continue
            rounded: list[list[float]] = [[float(f"{value:.9g}") for value in row] for row in transform.tolist()]
            result.crops.append(Crop(i + 1, rounded, pixels))
        if not result.crops:
            raise InputError(result.problems[0])
        return result

    def process(self, batch: Sequence[tuple[engine.Task, Aligned]]) -> list[engine.Product]:
        """Nothing is left to compute."""
        return [self._product(task, aligned) for task, aligned in batch]

    def _product(self, task: engine.Task, aligned: Aligned) -> engine.Product:
        files: dict[str, tuple[str, engine.Encode]] = {}
        crops = []
        for crop in aligned.crops:
            name = f"{task.name}.png" if crop.face == 1 else f"{task.name}-{crop.face}.png"
            files[f"face {crop.face}"] = (name, partial(image_bytes, crop.pixels, "png"))
            crops.append({"file": name, "face": crop.face, "transform": crop.transform})
        return engine.Product(files, {"source": task.path, "crops": crops}, aligned.problems, aligned)


def _thumbnail(image: Image.Image) -> np.ndarray:
    return prepare(image, min(_THUMBNAIL, max(image.size)), "pad").pixels


def write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the transforms of crops, if anything in the table changes; lines for other crops stay."""
    mine = {str(row[0]) for row in rows}
    earlier = [row for row in _read_table(path) if row[0] not in mine]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    everything: list[list[Any]] = [*earlier, *(list(row) for row in rows)]
    everything.sort(key=lambda row: str(row[0]))
    writer.writerows(everything)
    if path.is_file() and path.read_bytes() == text.getvalue().encode():
        return
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
