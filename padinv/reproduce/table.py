"""A table: its rows, as Markdown for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padinv.evaluation.bootstrap import Comparison, compare, interval_text, summarise
from padinv.evaluation.metrics import Metric
from padinv.evaluation.results import SECONDS, Measured
from padinv.runtime.files import write_json, write_text

SCHEMA = 1


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
    """

    label: str
    names: list[str]
    columns: dict[str, np.ndarray] = field(repr=False)
    seconds: float | None = None
    seeds: dict[int, dict[str, float]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

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
class Table:
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

    def markdown(self) -> str:
        """The table, with what a reader must know below it."""
        seeds = any(len(row.seeds) > 1 for row in self.rows)
        head = ["", *(f"{metric.label} ({metric.better} is better)" for metric in self.metrics)]
        head += [f"MSE / that of {self.reference}", "seconds per image", *(["MSE of the seeds"] if seeds else [])]
        lines = [f"# {self.title}", "", markdown_line(head), markdown_line(["---"] * len(head))]
        for row in (self._row(row) for row in self.rows):
            cells = [row["label"]]
            cells += [interval_text(row["metrics"][m.name]) if m.name in row["metrics"] else "-" for m in self.metrics]
            cells.append("-" if row["mse_ratio"] is None else interval_text(row["mse_ratio"]))
            cells.append("-" if row["seconds_per_image"] is None else f"{row['seconds_per_image']:.3g}")
            if seeds:
                errors = sorted(figures["mse"] for figures in row["seeds"].values())
                cells.append(f"{errors[0]:.4g} to {errors[-1]:.4g}" if errors else "-")
            lines.append(markdown_line(cells))
        notes = [*self.notes, *(f"Not measured: {name}: {reason}." for name, reason in self.missing.items())]
        return "\n".join([*lines, "", *(f"- {note}" for note in (*notes, *self.skipped)), ""])

    def write(self, out: Path) -> tuple[Path, Path]:
        """Write `NAME.md` and `NAME.json`, each atomically.

        Raises:
            OutputError: they cannot be written.
        """
        text, data = out / f"{self.name}.md", out / f"{self.name}.json"
        write_text(text, self.markdown())
        write_json(data, self.to_dict())
        return text, data

    def _row(self, row: Row) -> dict[str, Any]:
        ratio = self._ratio(row)
        intervals = summarise(row.columns, self._resamples)
        return {
            "label": row.label,
            "pictures": len(row.names),
            "metrics": {name: entry.to_dict() for name, entry in intervals.items()},
            "mse_ratio": None if ratio is None else ratio.ratio.to_dict(),
            "seconds_per_image": row.seconds,
            "seeds": {str(seed): figures for seed, figures in row.seeds.items()},
            **row.details,
        }

    @property
    def _resamples(self) -> int:
        return int(self.conditions["bootstrap"]["resamples"])

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
        return compare(*pair, self._resamples).get("mse")


def markdown_line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
