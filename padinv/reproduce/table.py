"""A table of ways to invert: its rows, as Markdown for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from padinv.evaluation.bootstrap import Comparison, compare, interval_text, summarise
from padinv.evaluation.metrics import Metric
from padinv.evaluation.results import SECONDS, Measured
from padinv.reproduce.plot import Bar, Panel, bar_of
from padinv.reproduce.result import SCHEMA, Result

KID_LABEL = "KID x 1000 (lower is better)"


@dataclass
class Row:
    """One way to invert.

    Attributes:
        label: what people read.
        names: the photographs that were measured.
        columns: metric -> [N]; of several seeds, the mean over them for each photograph.
        seconds: an image takes; None: not known.
        seeds: seed -> metric -> mean over the photographs.
        details: more facts, JSON-ready.
        kid: see `padinv.reproduce.kid.kid_of`; None: not measured.
    """

    label: str
    names: list[str]
    columns: dict[str, np.ndarray] = field(repr=False)
    seconds: float | None = None
    seeds: dict[int, dict[str, float]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    kid: dict[str, float] | None = None

    @classmethod
    def of(cls, label: str, measured: Measured, **details: Any) -> Row:
        """A row of one measurement."""
        return cls(label, measured.names, measured.scores(), measured.seconds_per_image, details=details)

    @classmethod
    def of_seeds(cls, label: str, measured: dict[int, Measured], **details: Any) -> Row:
        """A row of several trainings, measured on the same photographs."""
        first, *others = measured.values()
        columns = {
            name: np.mean([column, *(other.columns[name] for other in others)], axis=0)
            for name, column in first.columns.items()
        }
        seconds = float(columns.pop(SECONDS).mean())
        seeds = {
            seed: {name: float(column.mean()) for name, column in one.scores().items()}
            for seed, one in measured.items()
        }
        return cls(label, first.names, columns, seconds, seeds, details)


@dataclass
class Table(Result):
    """A table of the paper, made again.

    Attributes:
        name: 'table1', 'table2'.
        title: its heading.
        reference: label of the row that the ratio of the errors refers to.
        metrics: the columns.
        conditions: what every row depends on, JSON-ready.
        missing: metric -> why it was not measured.
        skipped: sentences on photographs and rows that could not be used.
        notes: sentences below the table.
        plotted: names of the metrics in the plot.
    """

    name: str
    title: str
    rows: list[Row]
    reference: str
    metrics: Sequence[Metric]
    conditions: dict[str, Any]
    missing: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plotted: Sequence[str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, every mean with its bootstrap interval."""
        return {
            "schema": SCHEMA,
            "table": self.name,
            "title": self.title,
            "rows": [self._row(row) for row in self.rows],
            "reference": self.reference,
            "conditions": self.conditions,
            "missing": self.missing,
            "skipped": self.skipped,
            "notes": self.notes,
        }

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """See `Result`."""
        seeds = any(len(row.seeds) > 1 for row in self.rows)
        kid = any(row.kid is not None for row in self.rows)
        several = len({len(row.names) for row in self.rows}) > 1
        head = ["", *(["images"] if several else []), *(f"{m.label} ({m.better} is better)" for m in self.metrics)]
        head += [*([KID_LABEL] if kid else []), f"MSE / that of {self.reference}", "seconds per image"]
        head += ["MSE of the seeds"] if seeds else []
        lines = []
        for row in map(self._row, self.rows):
            cells = [row["label"], *([f"{row['pictures']:,}"] if several else [])]
            cells += [interval_text(row["metrics"][m.name]) if m.name in row["metrics"] else "-" for m in self.metrics]
            if kid:
                cells.append("-" if row["kid"] is None else interval_text(row["kid"]))
            cells.append("-" if row["mse_ratio"] is None else interval_text(row["mse_ratio"]))
            cells.append("-" if row["seconds_per_image"] is None else f"{row['seconds_per_image']:.3g}")
            if seeds:
                errors = sorted(figures["mse"] for figures in row["seeds"].values())
                cells.append(f"{errors[0]:.4g} to {errors[-1]:.4g}" if errors else "-")
            lines.append(cells)
        return head, lines

    def sentences(self) -> list[str]:
        """See `Result`."""
        return [*self.notes, *(f"Not measured: {name}: {reason}." for name, reason in self.missing.items())]

    def panels(self) -> list[Panel]:
        """See `Result`: a panel for each metric, and one for the time."""
        rows = [self._row(row) for row in self.rows]
        panels = []
        for metric in self.metrics:
            if self.plotted is not None and metric.name not in self.plotted:
                continue
            bars = []
            for row in rows:
                dots = [figures[metric.name] for figures in row["seeds"].values()] if len(row["seeds"]) > 1 else []
                bars += (
                    [bar_of(row["label"], row["metrics"][metric.name], dots)] if metric.name in row["metrics"] else []
                )
            panels.append(Panel(f"{metric.label}, {metric.better} is better", bars, log=metric.better == "lower"))
        bars = [bar_of(row["label"], row["kid"]) for row in rows if row["kid"] is not None]
        panels += [Panel(KID_LABEL, bars)] if bars else []
        if self.plotted is None:
            timed = [(row["label"], row["seconds_per_image"]) for row in rows if row["seconds_per_image"] is not None]
            panels.append(Panel("Seconds per image", [Bar(label, t, t, t) for label, t in timed], log=True))
        return panels

    def _row(self, row: Row) -> dict[str, Any]:
        ratio = self._ratio(row)
        intervals = summarise(row.columns, self.resamples)
        return {
            "label": row.label,
            "pictures": len(row.names),
            "metrics": {name: entry.to_dict() for name, entry in intervals.items()},
            "kid": row.kid,
            "mse_ratio": None if ratio is None else ratio.ratio.to_dict(),
            "seconds_per_image": row.seconds,
            "seeds": {str(seed): figures for seed, figures in row.seeds.items()},
            **row.details,
        }

    def _ratio(self, row: Row) -> Comparison | None:
        """The row's MSE over the reference's, photograph by photograph; None without a reference to compare with."""
        reference = next((one for one in self.rows if one.label == self.reference), None)
        if reference is None or reference is row:
            return None
        place = {name: k for k, name in enumerate(reference.names)}
        common = [(k, place[name]) for k, name in enumerate(row.names) if name in place]
        if not common:
            return None
        mine, theirs = (list(side) for side in zip(*common, strict=True))
        pair = {"mse": row.columns["mse"][mine]}, {"mse": reference.columns["mse"][theirs]}
        return compare(*pair, self.resamples).get("mse")
