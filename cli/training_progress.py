"""How a training shows itself: a rich bar on a terminal, one line every so often in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from padinv.runtime import errors
from padinv.runtime.errors import ExitCode
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.training.loop import Outcome

SHOWN_TERMS = ("g", "rec", "pix", "per", "id", "adv", "reg", "smooth", "d")
LINE_SECONDS = 30.0


def ending_text(outcome: Outcome, result: str) -> str:
    """How a training ended, in one line; `result` says what came of a finished one."""
    images = f"{outcome.images:,} images"
    plural = "" if outcome.skipped == 1 else "s"
    skipped = f" ({outcome.skipped:,} picture{plural} skipped)" if outcome.skipped else ""
    return {
        "finished": f"done after {images}{skipped}; {result}",
        "interrupted": f"interrupted after {images}{skipped}, all kept; the same command resumes",
        "time limit": f"stopped by --time-limit after {images}{skipped}; the same command resumes",
    }[outcome.ending]


def exit_code(outcome: Outcome) -> int:
    """Interrupted for a training that was stopped, else the rule of every verb."""
    if outcome.ending != "finished":
        return ExitCode.INTERRUPTED
    return errors.exit_code(usable=1, failed=outcome.skipped)


def terms_text(terms: Mapping[str, float]) -> str:
    """The loss terms in one short line."""
    return " ".join(f"{name} {terms[name]:.4f}" for name in SHOWN_TERMS if name in terms)


def duration_text(seconds: float) -> str:
    """Seconds as 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class Smoothed:
    """Loss terms averaged over the last fifty steps or so."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def add(self, terms: Mapping[str, float]) -> None:
        for name, value in terms.items():
            self.values[name] = value + 0.98 * (self.values.get(name, value) - value)


class LineReporter:
    """One line every `LINE_SECONDS`, for logs and pipes."""

    def __init__(self) -> None:
        self.smoothed = Smoothed()
        self.done = self.total = self.first = 0
        self.began = self.last = time.monotonic()

    def message(self, text: str) -> None:
        with suppress(OSError):  # the terminal may be gone, and the training must still be saved
            sys.stderr.write(f"padinv: {printable(text)}\n")
            sys.stderr.flush()

    def start(self, done: int, total: int) -> None:
        self.done = self.first = done
        self.total = total
        self.smoothed = Smoothed()
        self.began = self.last = time.monotonic()

    def advance(self, done: int, terms: Mapping[str, float]) -> None:
        self.done = done
        self.smoothed.add(terms)
        now = time.monotonic()
        if now - self.last >= LINE_SECONDS:
            self.last = now
            rate = (done - self.first) / (now - self.began)
            left = duration_text((self.total - done) / rate) if rate > 0 else "?"
            parts = [f"{done:,} / {self.total:,} images", f"{rate:.1f} images/s", f"{left} left"]
            parts += [terms_text(self.smoothed.values)] if self.smoothed.values else []
            parts += [f"lr {terms['lr']:.2e}"] if "lr" in terms else []  # a measurement has neither
            self.message("  ".join(parts))

    def finish(self) -> None:
        pass


class BarReporter:
    """A progress bar with images per second, time left and the loss terms."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.smoothed = Smoothed()
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[terms]}", style="dim"),
            console=self.console,
        )
        self.task: Any = None
        self.first = 0
        self.began = time.monotonic()

    def message(self, text: str) -> None:
        with suppress(OSError):  # as above
            self.console.print(f"padinv: {printable(text)}", markup=False, highlight=False, soft_wrap=True)

    def start(self, done: int, total: int) -> None:
        self.first, self.began = done, time.monotonic()
        self.smoothed = Smoothed()
        self.task = self.progress.add_task("training", total=total, completed=done, rate="", terms="")
        self.progress.start()

    def advance(self, done: int, terms: Mapping[str, float]) -> None:
        self.smoothed.add(terms)
        rate = (done - self.first) / max(time.monotonic() - self.began, 1e-9)
        text = terms_text(self.smoothed.values)
        self.progress.update(self.task, completed=done, rate=f"{rate:.1f} images/s", terms=text)

    def finish(self) -> None:
        with suppress(OSError):
            self.progress.stop()


def reporter() -> LineReporter | BarReporter:
    """The bar where standard error is a terminal, lines elsewhere."""
    return BarReporter() if sys.stderr.isatty() else LineReporter()
