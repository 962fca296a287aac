"""What every call on a folder does around its events: count them, hand them to the caller, sum up."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.runtime.batch.engine import Done, Event, Note, Outcome, Skipped, Started
from padinv.runtime.errors import InputError
from padinv.runtime.folders.result import FolderResult

if TYPE_CHECKING:
    from padinv.runtime.folders.options import OnEvent

Paths = str | Path | Sequence[str | Path]
SHOWN = 200  # results whose pixels are kept for the sheet and the page
_log = logging.getLogger("padinv")


class Run:
    """One call at work.

    Attributes:
        out: folder of the results.
        outcome: what came of it so far, with the inputs that were lost before the work began.
        show: how many results keep their pixels for sheet and page, so that memory stays flat.
        on_disk: keep the outcome there from some length on; the payloads of its tasks are lost then.
    """

    def __init__(
        self,
        out: Path,
        on_event: OnEvent | None,
        problems: Iterable[tuple[str, str]] = (),
        *,
        show: int = 0,
        on_disk: bool = False,
    ) -> None:
        self.out, self.show = out, show
        lost = [lost_input(path, sentence) for path, sentence in problems]
        self.outcome = Outcome.on_disk(lost) if on_disk else Outcome(skipped=lost)
        self.started = time.perf_counter()
        self._tell = on_event or log_event

    def tell(self, event: Event) -> None:
        """Hand an event to the caller."""
        self._tell(event)

    def note(self, sentences: Iterable[str]) -> None:
        """Sentences the user should see."""
        for sentence in sentences:
            self._tell(Note(sentence))

    def follow(self, events: Generator[Event, None, None], started: Started, outcome: Outcome | None = None) -> None:
        """Count and hand on the events of the engine.

        Args:
            outcome: where they are counted; None: the call's own.
        """
        outcome = self.outcome if outcome is None else outcome
        done = 0
        self._tell(started)
        for one in outcome.skipped:
            self._tell(one)
        with closing(events):
            for event in events:
                done += isinstance(event, Done)
                if isinstance(event, Done) and done > self.show:
                    event.product.shown = None  # pixels
                outcome.add(event)
                self._tell(event)

    def result(self, pages: Mapping[str, Path] | None = None) -> FolderResult:
        """The call's result; pixels are dropped."""
        for event in self.outcome.done[: self.show]:
            event.product.shown = None
        return FolderResult(self.out, self.outcome, pages or {}, time.perf_counter() - self.started)


def log_event(event: Event) -> None:
    """Where nobody else listens: skipped inputs are warnings of the logger "padinv", notes are its information."""
    if isinstance(event, Skipped):
        _log.warning("%s", event.reason)
    elif isinstance(event, Note):
        _log.log(logging.WARNING if event.kind == "warning" else logging.INFO, "%s", event.text)
    elif isinstance(event, Done):
        for sentence in event.lost:
            _log.warning("%s", sentence)


def lost_input(path: str, sentence: str) -> Skipped:
    """An input that gave nothing before the work began."""
    return Skipped(path, sentence, code=InputError.code if not path or os.path.lexists(path) else "missing")


def listed(paths: Paths) -> list[str | Path]:
    """One path or several, as a list."""
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def require(found: Sequence[Any], problems: Sequence[str], paths: Paths) -> None:
    """Refuse to go on where nothing was found.

    Raises:
        InputError
    """
    if not found:
        where = next(iter(listed(paths)), "an empty list")
        raise InputError(f"{'; '.join(problems) or f'no pictures found in {where}'}; nothing was done")
