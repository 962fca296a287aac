"""Scoring the reconstructions that another project has written into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from padinv.evaluation.metrics import Metrics
from padinv.picture_sources import PictureSource, open_pictures
from padinv.reproduce.table import Row
from padinv.runtime.errors import InputError
from padinv.runtime.images import to_float


def score_outputs(
    label: str, folder: Path, source: PictureSource, metrics: Metrics, *, size: int, count: int, batch: int = 16
) -> tuple[Row, list[str]]:
    """A row of reconstructions that lie in a folder or archive, named like the photographs (suffixes may differ).

    They are read like the photographs, so larger ones are reduced to `size`; 8-bit files are compared as they are.

    Args:
        count: how many photographs the table has, the first by name.

    Returns:
        the row, and a sentence for what could not be used.

    Raises:
        InputError: the folder cannot be read, two outputs belong to one photograph, or none to any.
    """
    outputs = open_pictures(folder)
    places = _by_stem(outputs, folder)
    pairs = [(k, places[stem]) for k in range(count) if (stem := _stem(source.name(k))) in places]
    if not pairs:
        example = _stem(source.name(0))
        raise InputError(
            f"no output in {folder} belongs to a photograph in {source.path}, so {label} was not scored; name the "
            f"outputs like the photographs, such as {example}.png"
        )
    skipped: list[str] = []
    if missing := count - len(pairs):
        skipped.append(
            f"{label}: {folder} has no output for {missing} of {count} photographs, which are left out there"
        )
    names: list[str] = []
    parts: dict[str, list[np.ndarray]] = {metric.name: [] for metric in metrics.found}
    for group, x, y in _read(pairs, source, outputs, size=size, batch=batch, skipped=skipped):
        names += group
        for metric in metrics.found:
            parts[metric.name].append(metric.score(x, y))
    if not names:
        raise InputError(f"no output in {folder} can be read, so {label} was not scored: {skipped[-1]}")
    columns = {name: np.concatenate(part) for name, part in parts.items()}
    return Row(label, names, columns, details={"outputs": str(folder)}), skipped


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _by_stem(outputs: PictureSource, folder: Path) -> dict[str, int]:
    places: dict[str, int] = {}
    for k in range(len(outputs)):
        stem = _stem(outputs.name(k))
        if stem in places:
            both = f"{outputs.name(places[stem])} and {outputs.name(k)}"
            raise InputError(f"{folder} holds {both}, so it is not clear which to score; keep one of them")
        places[stem] = k
    return places


def _read(
    pairs: list[tuple[int, int]],
    source: PictureSource,
    outputs: PictureSource,
    *,
    size: int,
    batch: int,
    skipped: list[str],
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """(names, photographs, outputs), float32 [N, 3, S, S] in [-1, 1]; what cannot be read is told in `skipped`."""
    for start in range(0, len(pairs), batch):
        names, left, right = [], [], []
        for k, place in pairs[start : start + batch]:
            try:
                one, other = source.read(k, size), outputs.read(place, size)
            except InputError as error:
                skipped.append(str(error))
                continue
            names.append(source.name(k))
            left.append(one)
            right.append(other)
        if names:
            yield names, to_float(np.stack(left)), to_float(np.stack(right))
