"""Edges: the error in an image's outer pixels against that in its centre, before and after each remedy.

The paper names the image's border as a weakness of padding space. Remedies are training options: noise on the
predicted rings, a discriminator of border patches, and smoothness along the ring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from padinv.checkpoints.generator_encoder import Pair, read_run
from padinv.evaluation.bootstrap import compare, interval_text, summarise
from padinv.evaluation.metrics import Metric
from padinv.evaluation.models import NetworkSubject
from padinv.evaluation.protocol import protocol_named
from padinv.evaluation.results import Measured
from padinv.reproduce.encoders import Variant, default_encoder, open_encoder, train_or_reuse
from padinv.reproduce.measuring import Measuring
from padinv.reproduce.options import TableOptions
from padinv.reproduce.plot import Panel, bar_of
from padinv.reproduce.result import SCHEMA, Result
from padinv.runtime.errors import InputError
from padinv.training.encoder.trainer import DivergenceError
from padinv.training.reporter import Reporter, Silent

# Name in the run folder -> (label, settings of the training).
REMEDIES: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("no remedy", {}),
    "ring-noise": ("noise on the rings, 0.1", {"ring_noise": 0.1}),
    "border-adv": ("adversarial term on border patches, 0.03", {"adv": 0.03, "adv_view": "border"}),
    "smooth": ("smooth rings, 0.1", {"smooth": 0.1}),
}
BORDER, CENTRE = "mse_border", "mse_centre"
_SHARES = {"border": 32, "centre": 4}


def distance_to_border(side: int) -> np.ndarray:
    """How many pixels lie between each pixel and the nearest edge: int [side, side], 0 for the outermost."""
    steps = np.minimum(np.arange(side), np.arange(side)[::-1])
    result: np.ndarray = np.minimum(steps[:, None], steps[None, :])
    return result


def region_metrics(side: int) -> list[Metric]:
    """Squared error in the border (the outer 1/32 of the side) and in the centre (the middle half of the side)."""
    distance = distance_to_border(side)
    border, centre = distance < max(1, side // _SHARES["border"]), distance >= side // _SHARES["centre"]

    def over(region: np.ndarray) -> Any:
        def score(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            result: np.ndarray = np.square(x.astype(np.float64) - y)[:, :, region].mean(axis=(1, 2))
            return result

        return score

    return [
        Metric(BORDER, "MSE of the border", "lower", over(border)),
        Metric(CENTRE, "MSE of the centre", "lower", over(centre)),
    ]


@dataclass
class EdgesTable(Result):
    """The finished table.

    Attributes:
        rows: label -> measurement.
        reference: label of the row that the border's error is compared with.
        width: pixels of the border.
        metrics: names and labels of further metrics that are shown.
    """

    rows: dict[str, Measured]
    reference: str
    width: int
    conditions: dict[str, Any]
    skipped: list[str]
    name: str = "edges"
    title: str = "Edges: the border against the centre, with each remedy"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, every figure with its bootstrap interval over photographs."""
        rows = [{"label": label, **self._row(label, one)} for label, one in self.rows.items()]
        head = {"schema": SCHEMA, "table": self.name, "title": self.title, "rows": rows, "reference": self.reference}
        return {**head, "border_pixels": self.width, "conditions": self.conditions, "skipped": self.skipped}

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """See `Result`."""
        head = [
            "",
            "MSE of the border",
            "MSE of the centre",
            "border / centre",
            f"border / that of {self.reference}",
            "MSE",
        ]
        lines = []
        for row in self.to_dict()["rows"]:
            figures = row["metrics"]
            change = "-" if row["border_ratio"] is None else interval_text(row["border_ratio"])
            shown = [figures[BORDER], figures[CENTRE], row["border_to_centre"]]
            lines.append([row["label"], *map(interval_text, shown), change, interval_text(figures["mse"])])
        return head, lines

    def sentences(self) -> list[str]:
        """See `Result`."""
        budget, init = self.conditions["budget"], self.conditions["init"]
        start = "from new weights" if init is None else f"from the given encoder ({init})"
        return [
            f"Every other row is a training {start}, {budget:,} images long, with one remedy or none."
            if budget
            else "No encoder was trained, so that no remedy is compared.",
            f"Border: the outer {self.width} pixels. Centre: the middle half of the side. MSE on [-1, 1].",
            "Intervals: 95 % bootstrap over photographs; one seed, so that they do not hold the spread of trainings.",
        ]

    def panels(self) -> list[Panel]:
        """See `Result`."""
        rows = self.to_dict()["rows"]
        return [
            Panel("MSE of the border, lower is better", [bar_of(row["label"], row["metrics"][BORDER]) for row in rows]),
            Panel("MSE of the centre, lower is better", [bar_of(row["label"], row["metrics"][CENTRE]) for row in rows]),
            Panel("Border / centre, lower is better", [bar_of(row["label"], row["border_to_centre"]) for row in rows]),
        ]

    def _row(self, label: str, measured: Measured) -> dict[str, Any]:
        columns = measured.scores()
        reference = self.rows.get(self.reference)
        within = compare({"r": columns[BORDER]}, {"r": columns[CENTRE]}, self.resamples)["r"].ratio
        ratio = None
        if reference is not None and label != self.reference:
            both = {BORDER: columns[BORDER]}, {BORDER: reference.scores()[BORDER]}
            ratio = compare(*both, self.resamples)[BORDER].ratio.to_dict()
        return {
            "pictures": len(measured.names),
            "metrics": {name: entry.to_dict() for name, entry in summarise(columns, self.resamples).items()},
            "border_to_centre": within.to_dict(),
            "border_ratio": ratio,
        }


def edges(options: TableOptions, reporter: Reporter | None = None) -> EdgesTable:
    """Train an encoder with each remedy and without, and measure border and centre.

    Raises:
        InputError: no training reached its end.
        KeyboardInterrupt: a stop signal; everything finished so far is kept.
        PadInvError: see `Training` and `measure`.
    """
    reporter = reporter or Silent()
    given = None if options.init is None else open_encoder(options.init, options.generator)
    measuring = Measuring(options, reporter)
    side = measuring.spec.image_size
    measuring.metrics.found += region_metrics(side)
    rows: dict[str, Measured] = {}
    skipped: set[str] = set()

    def measure(label: str, pair: Pair) -> None:
        subject = NetworkSubject(pair, str(pair.name), measuring.device, protocol_named("paper"))
        rows[label] = measuring(subject)
        skipped.update(rows[label].skipped)

    if given is not None:
        measure("the given encoder", given)
    else:
        variant = Variant("none", options.config.reg, options.seeds[0])
        measure("W+ only, no padding", read_run(train_or_reuse(variant, options, reporter)))
    for tag, (label, settings) in (REMEDIES if options.train else {}).items():
        try:
            measure(label, default_encoder(options, reporter, settings, tag=tag))
        except DivergenceError as error:
            skipped.add(f"{label}: {error}")
    if not rows:
        raise InputError(f"no training reached its end: {'; '.join(sorted(skipped)[:3])}")
    more = {"seed": options.seeds[0]}
    width = max(1, side // _SHARES["border"])
    return EdgesTable(rows, REMEDIES[""][0], width, {**measuring.conditions(), **more}, sorted(skipped))
