"""One run of a benchmark: every contestant at every batch size and stage, alternately."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from padinv.runtime.benchmark.contestants import STAGES, Contestant
from padinv.runtime.benchmark.timing import Timing, alternate
from padinv.runtime.errors import BackendError, PadInvError, UsageError
from padinv.runtime.passes import encoder_feeds

GREY_LEVELS = 127.5  # [-1, 1] in levels of 255
Step = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One contestant at one stage and batch size.

    Attributes:
        seconds: a batch took, as medians and extremes.
        images_per_second: from the median.
        against_base: times as fast as the base contestant in the same run.
        gflop_per_second: that the model's own operations come to; None where they could not be counted.
        of_matrix_rate: that, divided by the machine's matrix product in the same precision. Above 1 where the graph
            does with fewer multiplications.
        plain: see `Contestant`.
    """

    contestant: str
    backend: str
    precision: str
    threads: int | None
    device: str | None
    stage: str
    batch: int
    seconds: Timing
    images_per_second: float
    against_base: float | None
    gflop_per_second: float | None
    of_matrix_rate: float | None
    plain: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@dataclass
class Measured:
    """Everything one run found.

    Attributes:
        base: name of the contestant that ratios refer to.
        rows: in the order of measuring.
        differences: contestant -> mean and largest difference of its reconstructions from the base's, in grey levels.
        problems: a sentence for each contestant that failed on the way.
    """

    base: str
    rows: list[Row] = field(default_factory=list)
    differences: dict[str, tuple[float, float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def fastest(self, precision: str | None = None) -> Row | None:
        """The row with most images per second end to end, in one precision or in any, of all that flags can choose:
        not torch, and not the plain graphs of a tuned bundle."""
        rows = [
            row
            for row in self.rows
            if row.stage == STAGES[-1]
            and row.backend != "torch"
            and not row.plain
            and precision in (None, row.precision)
        ]
        return max(rows, key=lambda row: row.images_per_second, default=None)


def measure(
    contestants: Sequence[Contestant],
    images: np.ndarray,
    batches: Sequence[int],
    gflop: dict[str, float | None],
    rates: dict[str, float],
    seconds: float,
    step: Step = lambda what: None,
) -> Measured:
    """Time all contestants.

    Args:
        contestants: the base is torch in float32 where it takes part, else the first.
        images: float32 [N, 3, S, S] in [-1, 1], repeated to fill a batch.
        batches: batch sizes.
        gflop: 'encoder' and 'generator' -> GFLOP for an image, or None.
        rates: of `matrix_rates`.
        seconds: for every stage and batch size, over all contestants.

    Raises:
        UsageError: there is nothing to measure.
    """
    if not contestants:
        raise UsageError("none of the wanted backends can run this model here, so nothing was measured")
    base = next((c for c in contestants if (c.backend, c.precision) == ("torch", "fp32")), contestants[0])
    result = Measured(base.name)
    alive = _compare(contestants, base, images, result)
    latents = base.encoder.run(encoder_feeds(base.encoder, images))
    work = {
        "encode": gflop.get("encoder"),
        "generate": gflop.get("generator"),
        "end to end": _sum(gflop.get("encoder"), gflop.get("generator")),
    }
    for batch in batches:
        x = np.resize(images, (batch, *images.shape[1:]))
        codes = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in latents.items()}
        for stage in STAGES:
            step(f"{stage}, batch {batch}")
            calls = {c.name: c.calls(x, codes)[stage] for c in alive}
            alive = _warm(alive, calls, batch, result)
            timings = alternate({c.name: calls[c.name] for c in alive}, seconds)
            reference = timings.get(base.name)
            for c in alive:
                result.rows.append(_row(c, stage, batch, timings[c.name], reference, work[stage], rates))
    return result


def _compare(
    contestants: Sequence[Contestant], base: Contestant, images: np.ndarray, result: Measured
) -> list[Contestant]:
    """Differences of the reconstructions from the base's; those that can run at all."""
    alive = []
    wanted = _reconstruct(base, images)
    for contestant in contestants:
        try:
            found = _reconstruct(contestant, images)
        except PadInvError as error:
            result.problems.append(f"{contestant.name} was left out: {error}")
            continue
        error_levels = np.abs(found - wanted) * GREY_LEVELS
        result.differences[contestant.name] = (float(error_levels.mean()), float(error_levels.max()))
        alive.append(contestant)
    return alive


def _reconstruct(contestant: Contestant, images: np.ndarray) -> np.ndarray:
    output = contestant.reconstruct(images)
    if not np.isfinite(output).all():
        raise BackendError("its images are not finite")
    result: np.ndarray = np.clip(output, -1, 1)
    return result


def _warm(
    alive: list[Contestant], calls: dict[str, Callable[[], object]], batch: int, result: Measured
) -> list[Contestant]:
    """Those that manage this batch size; the others are left out from here on."""
    able = []
    for contestant in alive:
        try:
            calls[contestant.name]()
        except PadInvError as error:
            result.problems.append(f"{contestant.name} was left out from batch {batch} on: {error}")
            continue
        able.append(contestant)
    return able


def _row(
    contestant: Contestant,
    stage: str,
    batch: int,
    timing: Timing,
    reference: Timing | None,
    gflop: float | None,
    rates: dict[str, float],
) -> Row:
    speed = batch / timing.median
    flops = None if gflop is None else gflop * speed
    rate = rates.get(f"{contestant.unit} {contestant.precision}")
    return Row(
        contestant.name,
        contestant.backend,
        contestant.precision,
        contestant.threads,
        contestant.device,
        stage,
        batch,
        timing,
        speed,
        None if reference is None else reference.median / timing.median,
        flops,
        None if flops is None or not rate else flops / rate,
        contestant.plain,
    )


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
