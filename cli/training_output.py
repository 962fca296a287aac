"""What a training says while it runs, and at its end: progress with the loss terms, one summary, one exit code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.cli.common_options import settings
from padinv.cli.console import say
from padinv.cli.json_output import print_json, skipped_input
from padinv.cli.progress import Bar, progress_bar
from padinv.runtime import errors
from padinv.runtime.errors import ExitCode

if TYPE_CHECKING:
    from padinv.training.loop import Outcome

SHOWN_TERMS = ("g", "rec", "pix", "per", "id", "adv", "reg", "smooth", "d")


class TrainingProgress:
    """Shows a training, or a long measurement, as every command shows its progress; see `padinv.training.reporter`.

    A terminal that is gone must not end a training, so what cannot be written is left out.
    """

    def __init__(self) -> None:
        self._parts = ExitStack()
        self._bar: Bar | None = None
        self._done = 0
        self._terms = SmoothedTerms()

    def message(self, text: str) -> None:
        with suppress(OSError):
            say(text) if self._bar is None else self._bar.say(text)

    def start(self, done: int, total: int, what: str = "training") -> None:
        self.finish()
        self._done, self._terms = done, SmoothedTerms()
        self._bar = self._parts.enter_context(progress_bar(what, total, done=done))

    def advance(self, done: int, terms: Mapping[str, float]) -> None:
        assert self._bar is not None  # `start` comes first
        self._terms.add(terms)
        with suppress(OSError):
            self._bar.annotate(self._terms.text())
            self._bar.advance(done - self._done)
        self._done = done

    def finish(self) -> None:
        self._bar = None
        with suppress(OSError):
            self._parts.close()


class SmoothedTerms:
    """Loss terms averaged over the last fifty steps or so, and the last learning rate."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._rate: float | None = None

    def add(self, terms: Mapping[str, float]) -> None:
        for name, value in terms.items():
            self._values[name] = value + 0.98 * (self._values.get(name, value) - value)
        self._rate = terms.get("lr", self._rate)

    def text(self) -> str:
        """The terms in one short line; '' before the first."""
        parts = [f"{name} {self._values[name]:.4f}" for name in SHOWN_TERMS if name in self._values]
        return " ".join([*parts, *([] if self._rate is None else [f"lr {self._rate:.2e}"])])


def exit_code(outcome: Outcome) -> ExitCode:
    """Interrupted for a training that was stopped, else the rule of every verb."""
    if outcome.ending != "finished":
        return ExitCode.INTERRUPTED
    return errors.exit_code(usable=1, failed=outcome.skipped)


def sum_up_training(
    outcome: Outcome, made: Path, *, next_step: str, configuration: Mapping[str, Any], as_json: bool
) -> None:
    """Say how a training ended, what it made, and what to do next; with `as_json`, also as an object.

    Args:
        made: the network file that a finished training has written in its run folder.
        next_step: the command to go on with.
    """
    finished = outcome.ending == "finished"
    board = f"tensorboard --logdir {made.parent / 'tensorboard'}"
    if as_json:
        facts = {"ending": outcome.ending, "images": outcome.images, "skipped_images": outcome.skipped}
        results = [{"file": str(made)}] if finished else []
        more = {**facts, "out": str(made.parent), "configuration": dict(configuration)}
        lost = [skipped_input(f"{outcome.skipped:,} images could not be read and were left out")]
        print_json(results, more, code=exit_code(outcome), skipped=lost if outcome.skipped else ())
    lines = [_ending(outcome, made), *([f"next: {next_step}"] if finished else []), f"curves: {board}"]
    for line in lines[:1] if settings.quiet else lines:
        with suppress(OSError):
            say(line)


def _ending(outcome: Outcome, made: Path) -> str:
    images = f"{outcome.images:,} images"
    plural = "" if outcome.skipped == 1 else "s"
    skipped = f" ({outcome.skipped:,} picture{plural} skipped)" if outcome.skipped else ""
    return {
        "finished": f"done after {images}{skipped}; the {made.stem} is {made}",
        "interrupted": f"interrupted after {images}{skipped}, all kept; the same command resumes",
        "time limit": f"stopped by --time-limit after {images}{skipped}; the same command resumes",
    }[outcome.ending]
