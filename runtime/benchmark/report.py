"""A benchmark's table, JSON, plot and page."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from padinv.runtime.benchmark.cold_start import ColdStart
from padinv.runtime.benchmark.contestants import STAGES
from padinv.runtime.benchmark.machine import Machine
from padinv.runtime.benchmark.measuring import Measured, Row
from padinv.runtime.files import write_json, write_text
from padinv.runtime.reports.html import render

# Colour-blind safe (Okabe and Ito), one per backend.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
_BAR, _GAP, _LEFT, _WIDTH = 18, 6, 230, 520


@dataclass(frozen=True)
class Report:
    """Everything that is written down about one run.

    Attributes:
        model: name of the bundle; model_hash: of its generator.
        gflop: 'encoder' and 'generator' -> GFLOP for one image, or None.
        rates: GFLOP/s of the machine's own matrix product.
        cold: contestant -> what it cost a fresh process.
        load: mean number of busy processes before and after the run, and whether the machine was quiet.
    """

    machine: Machine
    model: str
    model_hash: str
    resolution: int
    gflop: dict[str, float | None]
    rates: dict[str, float]
    measured: Measured
    load: tuple[float, float]
    day: str
    cold: dict[str, ColdStart] = field(default_factory=dict)

    @property
    def quiet(self) -> bool:
        """Whether other processes left the processor alone before the run began."""
        return self.load[0] < 0.3 * self.machine.cores

    @property
    def stem(self) -> str:
        """File name without its suffix, with the conditions: model, machine, threads, day, and whether it was busy."""
        threads = sorted({row.threads for row in self.measured.rows if row.threads})
        parts = ["bench", self.model, self.machine.slug, f"{'-'.join(map(str, threads)) or 'gpu'}t", self.day]
        parts += [] if self.quiet else ["busy"]
        return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(parts))[:150]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "machine": self.machine.to_dict(),
            "model": {"name": self.model, "hash": self.model_hash, "resolution": self.resolution},
            "day": self.day,
            "load": list(self.load),
            "quiet": self.quiet,
            "gflop": self.gflop,
            "matrix_gflop_per_second": self.rates,
            "base": self.measured.base,
            "differences_in_grey_levels": {
                name: {"mean": mean, "largest": largest} for name, (mean, largest) in self.measured.differences.items()
            },
            "cold_start": {name: asdict(value) for name, value in self.cold.items()},
            "problems": self.measured.problems,
            "rows": [row.to_dict() for row in self.measured.rows],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write JSON, Markdown, SVG and page into a folder; returns the files.

        Raises:
            OutputError: not writable.
        """
        files = [folder / f"{self.stem}{suffix}" for suffix in (".json", ".md", ".svg", ".html")]
        write_json(files[0], self.to_dict())
        write_text(files[1], self.markdown())
        write_text(files[2], self.svg())
        write_text(files[3], self.html())
        return files

    # -- text -------------------------------------------------------------------------------------------------------

    def conditions(self) -> list[str]:
        """What the figures were measured under, a line each."""
        gflop = ", ".join(f"{graph} {value:.1f}" for graph, value in self.gflop.items() if value is not None)
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in self.rates.items())
        quiet = "quiet" if self.quiet else "BUSY: compare only within this run"
        return [
            f"model: {self.model}, {self.resolution} px, {self.model_hash[:12]}; GFLOP per image: {gflop or 'unknown'}",
            *self.machine.lines()[:-1],
            f"load before and after: {self.load[0]:.2f}, {self.load[1]:.2f} ({quiet})",
            f"matrix product, GFLOP/s: {rates or 'not measured'}",
            f"base of the ratios: {self.measured.base}",
        ]

    def table(self, stage: str) -> tuple[list[str], list[list[str]]]:
        """Head and rows of one stage: images per second at each batch size; then, for the batch size where each
        contestant is fastest, how much faster that is than the base's own best, and its share of the matrix rate.
        """
        rows = [row for row in self.measured.rows if row.stage == stage]
        batches = sorted({row.batch for row in rows})
        head = ["", *(f"batch {n}" for n in batches), "times base", "of matrix rate"]
        base = max((row for row in rows if row.contestant == self.measured.base), key=_speed, default=None)
        body = []
        for name in dict.fromkeys(row.contestant for row in rows):
            mine = {row.batch: row for row in rows if row.contestant == name}
            best = max(mine.values(), key=_speed)
            cells = [_number(mine[n].images_per_second) if n in mine else "–" for n in batches]
            share = "–" if best.of_matrix_rate is None else f"{best.of_matrix_rate:.0%}"
            ratio = "–" if base is None else f"{best.images_per_second / base.images_per_second:.2f}"
            body.append([name, *cells, ratio, share])
        return head, body

    def other_table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows: accuracy, cold start and memory."""
        head = ["", "mean difference", "largest", "opens in", "first image", "peak memory"]
        body = []
        for name, (mean, largest) in self.measured.differences.items():
            cold = self.cold.get(name)
            start = ["–"] * 3
            if cold is not None:
                peak = "–" if cold.peak_mib is None else f"{cold.peak_mib:,.0f} MiB"
                start = [f"{cold.open:.2f} s", f"{cold.first:.2f} s", peak]
            body.append([name, f"{mean:.3f} levels", f"{largest:.2f} levels", *start])
        return head, body

    def markdown(self) -> str:
        """The report as Markdown."""
        lines = [f"# padinv bench: {self.model} on {self.machine.slug}, {self.day}", ""]
        lines += [*(f"- {line}" for line in self.conditions()), ""]
        for stage in STAGES:
            lines += [f"## Images per second, {stage}", "", *_markdown(*self.table(stage)), ""]
        lines += ["## Accuracy, cold start, memory", "", *_markdown(*self.other_table()), ""]
        lines += [f"- {problem}" for problem in self.measured.problems]
        return "\n".join([*lines, self.verdict(), ""])

    def verdict(self) -> str:
        """Which flags are fastest here, in one line."""
        best, exact = self.measured.fastest(), self.measured.fastest("fp32")
        if best is None:
            return "no backend of padinv took part, so there are no flags to recommend"
        line = f"fastest here: {flags(best)} ({_number(best.images_per_second)} images/s)"
        if exact is None or exact is best:
            return line
        return f"{line}; in float32: {flags(exact)} ({_number(exact.images_per_second)} images/s)"

    # -- pictures ---------------------------------------------------------------------------------------------------

    def svg(self) -> str:
        """Bars: images per second end to end, at the batch size where each contestant is fastest."""
        rows = [row for row in self.measured.rows if row.stage == STAGES[-1]]
        best: dict[str, Row] = {}
        for row in rows:
            if row.contestant not in best or row.images_per_second > best[row.contestant].images_per_second:
                best[row.contestant] = row
        shown = sorted(best.values(), key=lambda row: -row.images_per_second)
        top = max((row.images_per_second for row in shown), default=1.0)
        backends = list(dict.fromkeys(row.backend for row in self.measured.rows))
        bars = [
            {
                "name": row.contestant,
                "y": 34 + k * (_BAR + _GAP),
                "width": max(1.0, row.images_per_second / top * _WIDTH),
                "colour": _COLOURS[backends.index(row.backend) % len(_COLOURS)],
                "label": f"{_number(row.images_per_second)} (batch {row.batch})",
            }
            for k, row in enumerate(shown)
        ]
        return render(
            "benchmark.svg",
            model=self.model,
            machine=self.machine.slug,
            bars=bars,
            left=_LEFT,
            thickness=_BAR,
            width=_LEFT + _WIDTH + 130,
            height=40 + len(shown) * (_BAR + _GAP),
        )

    def html(self) -> str:
        """A self-contained page."""
        from markupsafe import Markup

        return render(
            "benchmark.html",
            title=f"padinv bench: {self.model}",
            style="",
            heading=f"padinv bench: {self.model}",
            plot=Markup(self.svg()),
            conditions=self.conditions(),
            tables=[
                *((f"Images per second, {stage}", *self.table(stage)) for stage in STAGES),
                ("Accuracy, cold start, memory", *self.other_table()),
            ],
            problems=self.measured.problems,
            verdict=self.verdict(),
        )


def flags(row: Row) -> str:
    """The options that a row stands for."""
    text = f"--backend {row.backend} --precision {row.precision} --batch {row.batch}"
    text += f" --threads {row.threads}" if row.threads else ""
    return text + (f" --device {row.device}" if row.device else "")


def _speed(row: Row) -> float:
    return row.images_per_second


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _markdown(head: list[str], body: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body)]
