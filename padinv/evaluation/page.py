"""The page of an evaluation: means and intervals, histograms, groups, and the worst, median and best images."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from padinv.evaluation.bootstrap import interval_text, summarise
from padinv.evaluation.metrics import Metric
from padinv.evaluation.models import Subject
from padinv.evaluation.protocol import protocol_named
from padinv.evaluation.results import Measured
from padinv.picture_sources import PictureSource
from padinv.runtime.errors import InputError
from padinv.runtime.files import read_regular
from padinv.runtime.images import to_float, to_uint8
from padinv.runtime.reports.charts import Histogram, histogram
from padinv.runtime.reports.html import data_uri, render, write_page

EACH = 6  # images at each end, and around the median
MAX_GROUPS = 40  # of one grouping on the page, the largest
MAX_GROUPS_BYTES = 64 << 20
Grouping = Mapping[str, str]  # picture -> group


@dataclass(frozen=True)
class Evaluation:
    """What a page shows.

    Attributes:
        results: of one model, or of two on the same pictures.
        subjects: the models, for the images that are shown.
        document: see `padinv.evaluation.results.report_on`.
        metrics: that were measured.
        groupings: name -> picture -> group; see `groupings_of`.
    """

    results: Sequence[Measured]
    subjects: Sequence[Subject]
    source: PictureSource
    document: Mapping[str, Any]
    metrics: Sequence[Metric]
    groupings: Mapping[str, Grouping]

    @property
    def chosen_by(self) -> Metric:
        """The metric that worst, median and best are about: LPIPS where it was measured, else MSE."""
        return next((metric for metric in self.metrics if metric.name.startswith("lpips")), self.metrics[0])


def write_evaluation_page(evaluation: Evaluation, overwrite: bool = False) -> Path | None:
    """Write the page beside the results; None where another file stands in its place.

    Raises:
        OutputError: not writable.
    """
    document, first = evaluation.document, evaluation.results[0]
    path = Path(document["file"]).with_suffix(".html") if "file" in document else first.json.with_suffix(".html")
    return path if write_page(path, evaluation_page(evaluation), overwrite) else None


def evaluation_page(evaluation: Evaluation) -> str:
    """The page: self-contained HTML."""
    names = [one.name for one in evaluation.results]
    first = evaluation.results[0]
    conditions = first.conditions
    missing = [f"Not measured: {name}: {reason}" for name, reason in first.missing.items()]
    return render(
        "evaluation.html",
        title=f"{' and '.join(names)} · padinv eval",
        style="",
        heading=" and ".join(names),
        lines=[
            f"{len(first.names):,} images of {conditions['data']['name']}, {conditions['size']} px, "
            f"{conditions['protocol']} protocol.",
            *missing,
        ],
        means=_means(evaluation),
        histograms=_histograms(evaluation),
        groups=[_group_table(evaluation, name, grouping) for name, grouping in evaluation.groupings.items()],
        pictures=_pictures(evaluation),
        skipped=sorted({sentence for one in evaluation.results for sentence in one.skipped}),
        footer=f"padinv {conditions['padinv']} · {', '.join(sorted({one.backend for one in evaluation.subjects}))}",
    )


def groupings_of(names: Sequence[str], table: Path | None = None) -> dict[str, dict[str, str]]:
    """How pictures are grouped: by their folder if there are several, and by the columns of a table.

    Args:
        names: of the pictures, with /.
        table: CSV with a header; its first column names the pictures, each other one is a grouping.

    Raises:
        InputError: a table that cannot be read, or that names none of the pictures.
    """
    found: dict[str, dict[str, str]] = {}
    folders = {name: PurePosixPath(name).parts[0] for name in names if len(PurePosixPath(name).parts) > 1}
    if len(set(folders.values())) > 1:
        found["folder"] = folders
    if table is not None:
        found |= _read_groupings(table, set(names))
    return found


def _read_groupings(table: Path, names: set[str]) -> dict[str, dict[str, str]]:
    try:
        text = read_regular(table, MAX_GROUPS_BYTES).decode("utf-8-sig")
        head, *rows = list(csv.reader(text.splitlines(), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(f"{table} is not a CSV table of groups ({error}), so nothing was measured") from error
    ends = {PurePosixPath(name).name: name for name in names}
    found: dict[str, dict[str, str]] = {column: {} for column in head[1:] if column}
    for row in rows:
        name = row[0] if row and row[0] in names else ends.get(PurePosixPath(row[0]).name if row else "")
        if name is not None:
            for column, group in zip(head[1:], row[1:], strict=False):
                if column and group:
                    found[column][name] = group
    if not any(found.values()):
        raise InputError(f"{table} names none of the pictures in its first column, so nothing was measured")
    return found


def _means(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table on top."""
    models, comparison = evaluation.document["models"], evaluation.document.get("comparison", {})
    head = ["", *(model["name"] for model in models), *(["difference", "ratio"] if comparison else [])]
    rows = []
    for metric in evaluation.metrics:
        cells = [interval_text(model["metrics"][metric.name]) for model in models]
        if comparison:
            entry = comparison.get(metric.name)
            cells += (
                [interval_text(entry["difference"], sign=True), interval_text(entry["ratio"])] if entry else ["–", "–"]
            )
        rows.append([f"{metric.label} ({metric.better} is better)", *cells])
    times = [f"{1000 * model['seconds_per_image']:.1f} ms" for model in models]
    return head, [*rows, ["time per image", *times, *(["", ""] if comparison else [])]]


def _histograms(evaluation: Evaluation) -> list[tuple[str, list[Histogram]]]:
    sections = []
    for measured, model in zip(evaluation.results, evaluation.document["models"], strict=True):
        drawn = []
        for metric in evaluation.metrics:
            entry = model["metrics"][metric.name]
            low, high = entry["low"], entry["high"]
            interval = None if low is None or high is None else (low, high)
            chart = histogram(metric.label, measured.columns[metric.name], interval)
            drawn += [chart] if chart is not None else []
        sections.append((f"How the images of {measured.name} are spread", drawn))
    return sections


def _group_table(evaluation: Evaluation, name: str, grouping: Grouping) -> tuple[str, list[str], list[list[str]]]:
    """Title, head and rows: mean and interval of each metric in each group, the largest groups first."""
    head = [name, "images"]
    head += [f"{metric.label}, {one.name}" for metric in evaluation.metrics for one in evaluation.results]
    members: dict[str, list[str]] = defaultdict(list)
    for picture, group in grouping.items():
        members[group].append(picture)
    bootstrap = evaluation.document["bootstrap"]
    rows = []
    for group, pictures in sorted(members.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:MAX_GROUPS]:
        inside, cells = set(pictures), {}
        for k, measured in enumerate(evaluation.results):
            places = [place for place, picture in enumerate(measured.names) if picture in inside]
            if places:
                columns = {metric.name: measured.columns[metric.name][places] for metric in evaluation.metrics}
                for metric, interval in summarise(columns, bootstrap["resamples"], bootstrap["seed"]).items():
                    cells[metric, k] = interval_text(interval.to_dict())
        shown = [
            cells.get((metric.name, k), "–") for metric in evaluation.metrics for k in range(len(evaluation.results))
        ]
        rows.append([group, f"{len(pictures):,}", *shown])
    left_out = len(members) - len(rows)
    title = f"By {name}" + (f", the {len(rows)} largest of {len(members)} groups" if left_out else "")
    return title, head, rows


def _pictures(evaluation: Evaluation) -> list[tuple[str, list[dict[str, Any]]]]:
    """(title, images) of the worst, the median and the best by the metric that chooses them."""
    metric, first = evaluation.chosen_by, evaluation.results[0]
    values = first.columns[metric.name]
    order = np.argsort(values, kind="stable")
    order = order[::-1] if metric.better == "lower" else order  # the worst first
    count = min(EACH, len(order))
    middle = max(0, len(order) // 2 - count // 2)
    chosen = [("Worst", order[:count]), ("Median", order[middle : middle + count]), ("Best", order[::-1][:count])]
    return [
        (f"{title} by {metric.label}" + (f" of {first.name}" if len(evaluation.results) > 1 else ""), shown)
        for title, places in chosen
        if (shown := _shown(evaluation, [first.names[place] for place in places]))
    ]


def _shown(evaluation: Evaluation, names: Sequence[str]) -> list[dict[str, Any]]:
    """Originals and reconstructions of some pictures, made again; one that is gone is left out."""
    rules = protocol_named(evaluation.results[0].conditions["protocol"])
    source, size = evaluation.source, evaluation.subjects[0].spec.image_size
    index = {source.name(k): k for k in range(len(source))} if names else {}
    originals: dict[str, np.ndarray] = {}
    for name in names:
        try:
            originals[name] = source.read(index[name], size, rules.resize)
        except (InputError, KeyError):
            continue
    if not originals:
        return []
    x = to_float(np.stack(list(originals.values())))
    made = [to_uint8(rules.final(subject.reconstruct(x)[0])) for subject in evaluation.subjects]
    shown = []
    for k, (name, original) in enumerate(originals.items()):
        images = [("original", data_uri(original))]
        images += [(one.name, data_uri(made[m][k])) for m, one in enumerate(evaluation.results)]
        place = evaluation.results[0].names.index(name)
        values = [
            (metric.label, f"{evaluation.results[0].columns[metric.name][place]:.4g}") for metric in evaluation.metrics
        ]
        shown.append({"name": name, "images": images, "values": values})
    return shown
