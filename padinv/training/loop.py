"""The training loop of encoders and generators: step, log, evaluate, save, stop.

Everything is counted in training images. What happens at which image depends on the configuration alone, except saving
by the clock, stopping, and the time limit, none of which changes what is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

from padinv.training.metric_log import MetricLog
from padinv.training.reporter import Reporter
from padinv.training.signals import StopRequest

Agree = Callable[..., tuple[bool, ...]]


@dataclass(frozen=True)
class Outcome:
    """How a training ended: 'finished', 'interrupted' or 'time limit', after how many images over all runs.

    Attributes:
        skipped: pictures that could not be read and were left out.
    """

    ending: str
    images: int
    skipped: int = 0


@dataclass(frozen=True)
class Cadence:
    """When the loop does what beside steps.

    Attributes:
        log_images, eval_images: training images between two log records, and between two evaluations.
        save_minutes: between two checkpoints.
        time_limit: minutes after which the training saves and stops; None: none.
    """

    log_images: int = 800
    eval_images: int = 20_000
    save_minutes: float = 10.0
    time_limit: float | None = None


class Job(Protocol):
    """What is trained, as the loop sees it."""

    @property
    def images_seen(self) -> int:
        """Training images so far, over all processes and all parts of the run."""

    @property
    def images_per_step(self) -> int:
        """Images that a step adds."""

    def step(self) -> dict[str, float]:
        """Do one step; its loss terms by name."""

    def evaluate(self) -> dict[str, float]:
        """Draw samples, measure; figures by name."""

    def save(self, *, last: bool) -> None:
        """Write the result and the checkpoint; at the `last` call it must lie on the disk when this returns."""


def crossed(seen: int, step: int, every: int) -> bool:
    """Whether the step that ended at `seen` passed a multiple of `every`."""
    return seen // every > (seen - step) // every


def run_loop(
    job: Job,
    total: int,
    *,
    cadence: Cadence,
    reporter: Reporter,
    stop: StopRequest,
    log: MetricLog | None,
    agree: Agree = lambda *asked: asked,
) -> str:
    """Train from `job.images_seen` to `total` images, a stop signal or the time limit; the state is saved in each case.

    Args:
        log: of the main process; None in the others.
        agree: tells for each question whether any process says yes; all processes get the same answers.

    Returns:
        'finished', 'interrupted' or 'time limit'.
    """
    began = saved = time.monotonic()
    reporter.start(job.images_seen, total)
    try:
        while True:
            values = job.step()
            seen, added = job.images_seen, job.images_per_step
            done = seen >= total
            reporter.advance(seen, values)
            if log is not None:
                log.add(values)
                if done or crossed(seen, added, cadence.log_images):
                    log.write_losses(seen)
            if done or crossed(seen, added, cadence.eval_images):
                with nullcontext() if log is None else log.paused():
                    figures = job.evaluate()
                if log is not None:
                    log.write_figures(seen, figures)
                    log.write_page()
            now = time.monotonic()
            over = cadence.time_limit is not None and now - began > cadence.time_limit * 60
            asked, late, due = agree(stop.asked, over, now - saved > cadence.save_minutes * 60)
            if done or asked or late:
                ending = "finished" if done else "interrupted" if asked else "time limit"
                break
            if due:
                job.save(last=False)
                saved = time.monotonic()
    finally:
        reporter.finish()
    job.save(last=True)
    if log is not None and ending != "finished":  # a finished run ends with an evaluation, which wrote the page
        log.write_page()
    return ending
