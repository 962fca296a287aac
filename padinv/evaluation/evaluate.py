"""Measuring one model on a set of pictures: in batches, stoppable and resumable, one record a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from padinv import __version__
from padinv.evaluation.metrics import Metric, Metrics
from padinv.evaluation.models import Subject
from padinv.evaluation.partial import Partial
from padinv.evaluation.protocol import EvalProtocol, protocol_named
from padinv.evaluation.results import FORMAT, SECONDS, Measured, identity_hash, read_back, safe_name, write
from padinv.picture_sources import PictureSource
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.images import to_float


def conditions_of(
    subject: Subject, source: PictureSource, metrics: Metrics, limit: int | None, batch: int, protocol: str
) -> dict[str, Any]:
    """What the figures depend on, JSON-ready; equal conditions give equal figures (but for the time)."""
    return {
        "format": FORMAT,
        "padinv": __version__,
        "model": {"name": subject.name, **subject.identity},
        "data": {"name": source.title, "pictures": source.fingerprint() + source.contents(), "limit": limit},
        "size": subject.spec.image_size,
        "batch": batch,
        "protocol": protocol,
        "metrics": {metric.name: metric.weights for metric in metrics.found},
    }


def measure(
    subject: Subject,
    source: PictureSource,
    metrics: Metrics,
    out: Path,
    batch: int = 16,
    limit: int | None = None,
    fresh: bool = False,
    advance: Callable[[int], None] = lambda count: None,
    *,
    protocol: str = "paper",
    warm_up: bool = True,
) -> Measured:
    """Reconstruct every picture and score it.

    Results are `eval-MODEL-on-DATA-BACKEND-KEY.csv` and `.json` in `out`, KEY standing for all conditions. Finished
    results of the same conditions are read back, not measured again; an interrupted measurement resumes.

    Args:
        limit: measure the first pictures only, by name.
        fresh: measure again what was measured before.
        advance: called with the number of pictures done since the last call.
        protocol: see `padinv.evaluation.protocol`; the subject must have been opened with the same one.
        warm_up: reconstruct the first batch twice, and count the second time only.

    Raises:
        InputError: not one picture can be read. OutputError: `out` cannot be written.
        MismatchError: the model gives numbers that are not finite.
    """
    rules = protocol_named(protocol)
    conditions = conditions_of(subject, source, metrics, limit, batch, protocol)
    key = identity_hash(conditions)
    parts = (subject.name, "on", PurePosixPath(source.title).stem, subject.backend)
    stem = f"eval-{'-'.join(map(safe_name, parts))}-{key}"
    order = [*(metric.name for metric in metrics.found), SECONDS]
    indices = range(len(source) if limit is None else min(limit, len(source)))
    if not fresh and (done := read_back(out / stem, conditions, order)) is not None:
        advance(len(indices))
        return done

    partial = Partial(out / f".padinv-eval-{key}.jsonl", set(order), fresh)
    try:
        resumed = len(partial.records)
        todo = [k for k in indices if source.name(k) not in partial.records]
        advance(len(indices) - len(todo))
        skipped: list[str] = []
        warm = not warm_up
        for names, x in _batches(source, todo, subject.spec.image_size, batch, skipped, advance, rules.resize):
            if not warm:  # first runs allocate and choose kernels; they are not what a picture takes
                subject.reconstruct(x)
                warm = True
            partial.add(_score(subject, metrics.found, names, x, rules))
            advance(len(names))
        kept = [source.name(k) for k in indices if source.name(k) in partial.records]
        if not kept:
            raise InputError(f"none of the pictures in {source.path} can be read, so nothing was measured")
    finally:
        partial.close()
    columns = {name: np.array([partial.records[n][name] for n in kept]) for name in order}
    result = Measured(conditions, kept, columns, skipped, metrics.missing, out / f"{stem}.json", resumed)
    write(result)
    partial.remove()
    return result


def _batches(
    source: PictureSource,
    todo: list[int],
    size: int,
    batch: int,
    skipped: list[str],
    advance: Callable[[int], None],
    resize: str,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """(names, float32 [N, 3, S, S] in [-1, 1]); sentences on pictures that cannot be read go to `skipped`."""
    names: list[str] = []
    pixels: list[np.ndarray] = []
    for index in todo:
        try:
            pixels.append(source.read(index, size, resize))
        except InputError as error:
            skipped.append(str(error))
            advance(1)
            continue
        names.append(source.name(index))
        if len(names) == batch:
            yield names, to_float(np.stack(pixels))
            names, pixels = [], []
    if names:
        yield names, to_float(np.stack(pixels))


def _score(
    subject: Subject, found: list[Metric], names: list[str], x: np.ndarray, rules: EvalProtocol
) -> dict[str, dict[str, float]]:
    y, seconds = subject.reconstruct(x)
    if not np.isfinite(y).all():
        raise MismatchError(f"{subject.name} gives pictures that are not finite; its weights are broken")
    y = rules.final(y)  # before any rounding to 8 bits
    columns = {metric.name: metric.score(x, y) for metric in found}
    columns[SECONDS] = np.full(len(names), seconds / len(names))
    return {name: {key: float(column[k]) for key, column in columns.items()} for k, name in enumerate(names)}
