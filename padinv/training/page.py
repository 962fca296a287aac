"""`report.html` of a run folder: curves, and sample grids over time. Written at each evaluation and at the end."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from padinv.runtime.errors import OutputError
from padinv.runtime.files import parse_json
from padinv.runtime.reports.charts import CurveChart, curve_chart
from padinv.runtime.reports.html import data_uri, render, write_page
from padinv.training.run_folder import RunFolder

PAGE = "report.html"
GRIDS = 6  # sample grids on the page, evenly spread over the run, the first and the last included
GRID_SIDE = 1100  # px; a wider grid is reduced
_IMAGES = re.compile(r"(\d+)\.png\Z")
_LABELS = {"mse": "MSE", "lpips": "LPIPS", "images_per_s": "images per second"}
_SKIPPED = {"kind", "images"}
_log = logging.getLogger("padinv")
Series = dict[str, list[tuple[float, float]]]


def write_training_page(folder: RunFolder) -> Path | None:
    """Write the page of a run; None where another file stands in its place, or it cannot be written.

    A training continues without its page, so failures are warnings of the logger "padinv".
    """
    path = folder.path / PAGE
    try:
        return path if write_page(path, training_page(folder)) else None
    except OutputError as error:
        _log.warning("%s; the training itself is not affected", error)
        return None


def training_page(folder: RunFolder) -> str:
    """The page of a run, from its files alone: self-contained HTML."""
    losses, figures = _series(folder.metrics_file)
    speed, _ = _series(folder.speed_file)
    total, settings = _configuration(folder)
    seen = max((x for series in (losses, figures, speed) for points in series.values() for x, _ in points), default=0)
    sections = [
        ("Validation", _charts(figures)),
        ("Loss terms", _charts(losses)),
        ("Speed", _charts({"images_per_s": speed.get("images_per_s", [])})),
    ]
    return render(
        "training.html",
        title=f"{folder.path.name} · padinv train",
        style="",
        heading=folder.path.name,
        lines=[f"{seen:,.0f} of {total:,} training images" if total else f"{seen:,.0f} training images"],
        figures=_best(figures),
        sections=sections,
        grids=[(f"{images:,} images", data_uri(_read(path))) for images, path in _grids(folder.samples)],
        settings=settings,
        footer="Numbers on the horizontal axes are training images.",
    )


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a log; a torn line is passed over."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("images"), (int, float)):
            yield record


def _series(file: Path) -> tuple[Series, Series]:
    """Name -> (training images, value), of losses and of validation figures."""
    found: dict[bool, Series] = {False: defaultdict(list), True: defaultdict(list)}
    for record in _records(file):
        series = found[record.get("kind") == "val"]
        for name, value in record.items():
            if name not in _SKIPPED and isinstance(value, (int, float)) and not isinstance(value, bool):
                series[name].append((float(record["images"]), float(value)))
    return found[False], found[True]


def _charts(series: Mapping[str, Sequence[tuple[float, float]]]) -> list[CurveChart]:
    """One chart for each name; the earlier passes of an iterative encoder share that of the last one."""
    together: dict[str, dict[str, Sequence[tuple[float, float]]]] = defaultdict(dict)
    for name, points in series.items():
        stem, sign, number = name.partition("_pass")
        together[stem][f"pass {number}" if sign else "last pass"] = points
    drawn = (
        curve_chart(_LABELS.get(stem, stem), curves if len(curves) > 1 else {stem: next(iter(curves.values()))})
        for stem, curves in together.items()
    )
    return [chart for chart in drawn if chart is not None]


def _best(figures: Mapping[str, Sequence[tuple[float, float]]]) -> list[tuple[str, str]]:
    """(value, label) of the last and the best of each validation figure; lower is better for all of them."""
    shown = []
    for name, points in figures.items():
        if name not in ("mse", "lpips"):
            continue
        images, best = min(points, key=lambda point: point[1])
        label = _LABELS[name]
        shown += [
            (f"{points[-1][1]:.4f}", f"{label}, last"),
            (f"{best:.4f}", f"{label}, best, at {images:,.0f} images"),
        ]
    return shown


def _grids(folder: Path) -> list[tuple[int, Path]]:
    """(training images, file) of the sample grids that the page shows."""
    found = sorted((int(match[1]), path) for path in folder.glob("*.png") if (match := _IMAGES.search(path.name)))
    if len(found) <= GRIDS:
        return found
    places = np.linspace(0, len(found) - 1, GRIDS).round().astype(int)
    return [found[place] for place in places]


def _read(path: Path) -> np.ndarray:
    """A grid, reduced to the page's width; an empty picture where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.thumbnail((GRID_SIDE, 4 * GRID_SIDE), Image.Resampling.BOX)
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError):
        return np.full((1, 1, 3), 255, np.uint8)


def _configuration(folder: RunFolder) -> tuple[int, list[tuple[str, str]]]:
    """How many images the run is to see, 0 where that is unknown; and its settings as text."""
    try:
        document = parse_json(folder.config_file.read_text("utf-8"))
        identity = document["identity"]
        total = identity.get("images")
        return (total if isinstance(total, int) else 0), [(str(name), str(value)) for name, value in identity.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, []
