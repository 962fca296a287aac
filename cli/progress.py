"""The progress bar of long work: on a terminal only, with rate and time left, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """What the caller of `progress_bar` holds."""

    def advance(self, count: int = 1) -> None: ...

    def describe(self, what: str) -> None:
        """Name the work at hand."""

    def say(self, text: str) -> None:
        """One line on standard error that does not tear the bar."""


class _Plain:
    def advance(self, count: int = 1) -> None:
        pass

    def describe(self, what: str) -> None:
        pass

    def say(self, text: str) -> None:
        from padinv.cli.main import say

        say(text)


class _Rich:
    def __init__(self, progress: object, task: object) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)  # type: ignore[attr-defined]

    def describe(self, what: str) -> None:
        self._progress.update(self._task, description=what)  # type: ignore[attr-defined]

    def say(self, text: str) -> None:
        from padinv.cli.main import printable

        self._progress.console.print(f"padinv: {printable(text)}", markup=False, highlight=False, soft_wrap=True)  # type: ignore[attr-defined]


@contextmanager
def progress_bar(what: str, total: int, unit: str = "images") -> Iterator[Bar]:
    """A bar over `total` units; nothing but messages where standard error is no terminal or there is one unit."""
    if total < 2 or not sys.stderr.isatty():
        yield _Plain()
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
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Rich(progress, progress.add_task(what, total=total))
