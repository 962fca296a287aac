"""The progress of long work, with rate and time left, on standard error: a bar, or a line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from padinv.cli.common_options import settings
from padinv.cli.console import shown

LINE_SECONDS = 10.0  # between two lines of progress where standard error is not a terminal


class Bar(Protocol):
    """What the caller of `progress_bar` holds."""

    def advance(self, count: int = 1) -> None: ...

    def describe(self, what: str) -> None:
        """Name the current work."""

    def annotate(self, text: str) -> None:
        """Show a few words behind the progress, until the next call."""

    def say(self, text: str) -> None:
        """One line on standard error that does not tear the bar."""


class _Plain:
    """A line now and then, for pipes and log files."""

    def __init__(self, what: str = "", total: int = 0, unit: str = "images", done: int = 0) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._first = self._done = done
        self._note = ""
        self._started = self._said = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said < LINE_SECONDS or not self._done < self._total:
            return
        self._said = now
        rate = max(self._done - self._first, 1e-9) / max(now - self._started, 1e-9)
        minutes, seconds = divmod(round((self._total - self._done) / rate), 60)
        self.say(
            f"{self._what}: {self._done:,} of {self._total:,} {self._unit}, {rate:.1f} per second, "
            f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left{f'; {self._note}' if self._note else ''}"
        )

    def describe(self, what: str) -> None:
        self._what = what

    def annotate(self, text: str) -> None:
        self._note = text

    def say(self, text: str) -> None:
        from padinv.cli.console import say

        say(text)


class _Silent(_Plain):
    """Under --quiet: what `say` gets is said, and no progress."""

    def advance(self, count: int = 1) -> None:
        pass


class _Rich:
    def __init__(self, progress: object, task: object) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)  # type: ignore[attr-defined]

    def describe(self, what: str) -> None:
        self._progress.update(self._task, description=what)  # type: ignore[attr-defined]

    def annotate(self, text: str) -> None:
        self._progress.update(self._task, note=text)  # type: ignore[attr-defined]

    def say(self, text: str) -> None:
        self._progress.console.print(f"padinv: {shown(text)}", markup=False, highlight=False, soft_wrap=True)  # type: ignore[attr-defined]


@contextmanager
def progress_bar(what: str, total: int, unit: str = "images", *, done: int = 0) -> Iterator[Bar]:
    """A bar over `total` units on a terminal; elsewhere a line every `LINE_SECONDS`; under --quiet nothing.

    Args:
        done: units that an earlier run has done; they do not count in the rate.
    """
    if settings.quiet:
        yield _Silent()
        return
    if total < 2 or not sys.stderr.isatty():
        yield _Plain(what, total, unit, done)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: object) -> Text:
            speed = getattr(task, "finished_speed", None) or getattr(task, "speed", None)
            return Text(f"{speed:.1f} {unit}/s" if speed else f"– {unit}/s", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Rich(progress, progress.add_task(what, total=total, completed=done, note=""))
