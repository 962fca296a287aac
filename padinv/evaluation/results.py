"""What a measurement leaves behind: a CSV with one row per image, a JSON with its conditions, and comparisons."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padinv.evaluation.bootstrap import Comparison, Interval, compare, summarise
from padinv.runtime.errors import MismatchError
from padinv.runtime.files import parse_json, sha256_bytes, write_json, write_text

FORMAT = 1
SECONDS = "seconds"  # a picture's share of its batch's time, encoding and generating


@dataclass
class Measured:
    """A model's figures.

    Attributes:
        conditions: everything they depend on.
        names: the pictures, in order.
        columns: metric (and 'seconds') -> [N].
        skipped: a sentence for every picture that could not be read.
        missing: metric -> why it was not measured.
        json: where the conditions were written; the figures are beside it as CSV.
        resumed: pictures that an earlier run had measured.
    """

    conditions: dict[str, Any]
    names: list[str]
    columns: dict[str, np.ndarray] = field(repr=False)
    skipped: list[str]
    missing: dict[str, str]
    json: Path
    resumed: int = 0

    @property
    def csv(self) -> Path:
        """The file with one row per image."""
        return self.json.with_suffix(".csv")

    @property
    def name(self) -> str:
        """The model's."""
        result: str = self.conditions["model"]["name"]
        return result

    @property
    def seconds_per_image(self) -> float:
        """Mean over the pictures."""
        return float(self.columns[SECONDS].mean())

    def scores(self) -> dict[str, np.ndarray]:
        """The columns that are metrics."""
        return {name: column for name, column in self.columns.items() if name != SECONDS}

    def summary(self, resamples: int = 10_000, seed: int = 0) -> dict[str, Interval]:
        """Mean of every metric with its bootstrap interval."""
        return summarise(self.scores(), resamples, seed)


def safe_name(text: str) -> str:
    """A name for use in file names: letters, digits, '.', '_' and '-', at most 60."""
    return "".join(c if (c.isalnum() and c.isascii()) or c in "._-" else "-" for c in text)[:60].strip(".-") or "model"


def identity_hash(conditions: Any) -> str:
    """Twelve hex digits that change with any of the conditions."""
    return sha256_bytes(json.dumps(conditions, sort_keys=True).encode())[:12]


def write(result: Measured) -> None:
    """Write CSV and JSON, each atomically, the JSON last.

    Raises:
        OutputError: they cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *result.columns])
    for k, name in enumerate(result.names):
        writer.writerow([name, *(repr(float(column[k])) for column in result.columns.values())])
    write_text(result.csv, text.getvalue())
    write_json(
        result.json,
        {
            "conditions": result.conditions,
            "means": {name: _finite(float(np.mean(column))) for name, column in result.columns.items()},
            "missing": result.missing,
            "skipped": result.skipped,
            "names": result.names,
        },
    )


def read_back(stem: Path, conditions: dict[str, Any], order: list[str]) -> Measured | None:
    """Finished results of the same conditions; None where there are none, or damaged ones.

    Args:
        stem: path of the files without suffix.
        order: the columns.
    """
    path = stem.with_name(f"{stem.name}.json")
    try:
        document = parse_json(path.read_text("utf-8"))
        with open(path.with_suffix(".csv"), encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        names, skipped, missing = document["names"], document["skipped"], document["missing"]
        if document["conditions"] != conditions or header != ["name", *order] or len(rows) != len(names):
            return None
        columns = {name: np.array([float(row[k]) for row in rows]) for k, name in enumerate(order, start=1)}
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    return Measured(conditions, names, columns, skipped, missing, path, len(names))


def paired(first: Measured, second: Measured, resamples: int = 10_000, seed: int = 0) -> dict[str, Comparison]:
    """Difference and ratio of every metric that both have, over the pictures that both have.

    Raises:
        MismatchError: the two were measured at different sizes, or share no picture.
    """
    if first.conditions["size"] != second.conditions["size"]:
        raise MismatchError(
            f"{first.name} works at {first.conditions['size']} px and {second.name} at {second.conditions['size']}, "
            "so their figures cannot be compared"
        )
    place = {name: k for k, name in enumerate(second.names)}
    rows = [(k, place[name]) for k, name in enumerate(first.names) if name in place]
    if not rows:
        raise MismatchError(f"{first.name} and {second.name} were not measured on one picture in common")
    a, b = (list(side) for side in zip(*rows, strict=True))
    return compare(
        {name: column[a] for name, column in first.scores().items()},
        {name: column[b] for name, column in second.scores().items()},
        resamples,
        seed,
    )


def report_on(
    first: Measured, second: Measured | None = None, resamples: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """Everything there is to say about one model, or about two on the same pictures. JSON-ready.

    Raises:
        MismatchError: see `paired`.
    """
    models = [_one(measured, resamples, seed) for measured in (first, second) if measured is not None]
    found: dict[str, Any] = {
        "bootstrap": {"resamples": resamples, "seed": seed, "confidence": 0.95},
        "models": models,
    }
    if second is not None:
        comparisons = paired(first, second, resamples, seed)
        found["comparison"] = {name: entry.to_dict() for name, entry in comparisons.items()}
    return found


def _one(measured: Measured, resamples: int, seed: int) -> dict[str, Any]:
    return {
        "name": measured.name,
        "conditions": measured.conditions,
        "pictures": len(measured.names),
        "metrics": {name: entry.to_dict() for name, entry in measured.summary(resamples, seed).items()},
        "seconds_per_image": measured.seconds_per_image,
        "missing": measured.missing,
        "skipped": measured.skipped,
        "csv": str(measured.csv),
        "json": str(measured.json),
    }


def write_comparison(first: Measured, second: Measured, document: dict[str, Any]) -> Path:
    """Write a report on two models beside the first one's files; returns the path."""
    key = identity_hash([first.conditions, second.conditions, document["bootstrap"]])
    name = f"eval-{safe_name(first.name)}-vs-{safe_name(second.name)}-{key}.json"
    path = first.json.with_name(name)
    write_json(path, document)
    return path


def _finite(value: float) -> float | None:
    """JSON has no infinity and no nan."""
    return value if math.isfinite(value) else None
