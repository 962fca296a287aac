"""Labelled images for fitting a direction: two folders, or a folder with a CSV file of labels or scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from padinv.runtime.batch.sources import Loaded, Reader, Source, find_sources
from padinv.runtime.editing.fit_direction import MAX_IMAGES
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.files import open_regular
from padinv.runtime.inversion import Inversion

MAX_CSV_BYTES = 64 << 20
MAX_CLASSES = 20  # of a control that is text
FILE_COLUMNS = ("file", "name", "image", "path", "filename")


@dataclass(kw_only=True)
class Labelled:
    """Images with labels.

    Attributes:
        sources: N images.
        labels: [N], numbers.
        controls: [N, K], numbers.
        problems: a sentence for each input that gave no image.
    """

    sources: list[Source]
    labels: np.ndarray
    controls: np.ndarray
    problems: list[str] = field(default_factory=list)

    def sample(self, seed: int, most: int = MAX_IMAGES) -> Labelled:
        """At most `most` of the images, chosen at random."""
        if len(self.sources) <= most:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self.sources), most, replace=False))
        return self._rows(chosen.tolist())

    def _rows(self, rows: Sequence[int]) -> Labelled:
        return Labelled(
            sources=[self.sources[i] for i in rows],
            labels=self.labels[list(rows)],
            controls=self.controls[list(rows)],
            problems=self.problems,
        )


def from_folders(positive: Sequence[str], negative: Sequence[str]) -> Labelled:
    """Images that show the attribute, and images that do not.

    Raises:
        InputError: no image on one side.
    """
    sides = {"--positive": find_sources(positive), "--negative": find_sources(negative)}
    for option, (found, problems) in sides.items():
        if not found:
            raise InputError(f"{'; '.join(problems) or f'{option} holds no picture'}; nothing was fitted")
    sources = [source for found, _ in sides.values() for source in found]
    labels = np.repeat([1.0, 0.0], [len(found) for found, _ in sides.values()])
    problems = [problem for _, several in sides.values() for problem in several]
    return Labelled(sources=sources, labels=labels, controls=np.zeros((len(sources), 0)), problems=problems)


def from_table(
    paths: Sequence[str], table: Path, column: str, *, positive: str | None = None, controls: Sequence[str] = ()
) -> Labelled:
    """Images and a CSV file with a header; its column `file` (or `name`, `image`, `path`) names them.

    Images without a row, and rows without a value, are left out.

    Args:
        column: labels or scores. Numbers are taken as they are.
        positive: the value of `column` that is one class; all others are the other class.
        controls: columns whose effect is taken out. Of a column of text, each value becomes a control.

    Raises:
        InputError: the CSV cannot be read, or names none of the images. UsageError: a column that does not exist, or
            classes without `positive`.
    """
    rows = read_table(table)
    columns = list(next(iter(rows.values()))) if rows else []
    for name in (column, *controls):
        if name not in columns:
            raise UsageError(f"{table} has no column {name!r}; it has {', '.join(columns)}")
    sources, problems = find_sources(paths)
    found = [(source, row) for source in sources if (row := _row_of(source, rows)) is not None]
    found = [(source, row) for source, row in found if all(row[name] for name in (column, *controls))]
    if not found:
        raise InputError(f"{table} names none of the {len(sources)} images that were found, so nothing was fitted")
    labels = _labels([row[column] for _, row in found], column, positive, table)
    blocks = [_control([row[name] for _, row in found], name) for name in controls]
    table_of_controls = np.concatenate(blocks, axis=1) if blocks else np.zeros((len(found), 0))
    return Labelled(sources=[s for s, _ in found], labels=labels, controls=table_of_controls, problems=problems)


def encode(
    reader: Reader, labelled: Labelled, batch_size: int, on_progress: Callable[[], None] = lambda: None
) -> tuple[Inversion, Labelled]:
    """The inversions of all images that can be read, and their labels; the others are named in `problems`.

    Raises:
        InputError: not one image could be read.
    """
    parts: list[Inversion] = []
    kept: list[int] = []
    problems = list(labelled.problems)

    def read(source: Source) -> Loaded | str:
        try:
            return reader.read(source)
        except (InputError, MismatchError) as error:
            return str(error)

    with ThreadPoolExecutor(4, thread_name_prefix="padinv-fit") as pool:
        for start in range(0, len(labelled.sources), batch_size):
            loaded = list(pool.map(read, labelled.sources[start : start + batch_size]))
            good = [(start + i, one) for i, one in enumerate(loaded) if isinstance(one, Loaded)]
            problems += [one for one in loaded if isinstance(one, str)]
            if good:
                parts.append(reader.encode([one for _, one in good], batch_size))
                kept += [i for i, _ in good]
            for _ in loaded:
                on_progress()
    if not parts:
        raise InputError(f"none of the images could be read ({problems[0]}), so nothing was fitted")
    result = labelled._rows(kept)
    result.problems = problems
    return Inversion.concat(parts), result


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """A CSV file with a header -> the image's name -> column -> text.

    Raises:
        InputError: missing, too large, not text, or without a column that names files.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_CSV_BYTES + 1)
        if len(data) > MAX_CSV_BYTES:
            raise InputError(f"{path} is larger than {MAX_CSV_BYTES >> 20} MiB, so it was not read")
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        names = [name for name in reader.fieldnames or [] if name]
        key = next((name for name in FILE_COLUMNS if name in names), None)
        if key is None:
            raise InputError(f"{path} has no column that names files; call it {' or '.join(FILE_COLUMNS[:2])}")
        rows = {}
        for row in reader:
            values = {name: (row.get(name) or "").strip() for name in names}
            if values[key]:
                rows[values[key]] = values
        return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a CSV file in UTF-8"
        raise InputError(f"{path} cannot be read: {reason}") from error


def _row_of(source: Source, rows: Mapping[str, dict[str, str]]) -> dict[str, str] | None:
    """By relative name, then by the file's name; what `padinv invert` wrote is called like its photograph."""
    names = (source.name, PurePosixPath(source.name).name, source.path.name)
    return next((rows[name] for name in names if name in rows), None)


def _numbers(texts: Sequence[str]) -> np.ndarray | None:
    try:
        values = np.array([float(text) for text in texts])
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _labels(texts: Sequence[str], column: str, positive: str | None, table: Path) -> np.ndarray:
    if positive is not None:
        if positive not in texts:
            raise UsageError(f"no image has the value {positive!r} in the column {column!r} of {table}")
        return np.array([float(text == positive) for text in texts])
    values = _numbers(texts)
    if values is None:
        classes = sorted(set(texts))
        raise UsageError(
            f"the column {column!r} of {table} holds classes ({', '.join(classes[:6])}); say which one the direction "
            "leads to with --positive"
        )
    return values


def _control(texts: Sequence[str], column: str) -> np.ndarray:
    """[N, 1] for numbers; [N, classes - 1] of zeros and ones for text."""
    values = _numbers(texts)
    if values is not None:
        return values[:, None]
    classes = sorted(set(texts))
    if len(classes) > MAX_CLASSES:
        raise UsageError(f"the column {column!r} holds {len(classes)} different texts, too many for a control")
    return np.array([[float(text == name) for name in classes[1:]] for text in texts])
