"""Checks that stand for themselves: one that fails is recorded with its sentence, and the next one runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from padinv.runtime.errors import PadInvError

Figures = dict[str, Any]
Step = Callable[[str], None]


class NotHereError(Exception):
    """A check cannot run on this machine; the message says why."""


class CheckError(Exception):
    """A check found something wrong; the message says what, and `figures` hold what was measured."""

    def __init__(self, message: str, figures: Figures | None = None) -> None:
        super().__init__(message)
        self.figures = figures or {}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        group: 'backends', 'torch', 'engines', 'training' or 'errors'.
        name: what was checked.
        status: 'passed', 'failed' or 'skipped'.
        detail: one line: what was measured, what went wrong, or why it was skipped.
        seconds: that it took.
        figures: everything measured, JSON-ready.
    """

    group: str
    name: str
    status: str
    detail: str
    seconds: float
    figures: Figures = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@dataclass
class Checks:
    """Runs checks and keeps what they found.

    Attributes:
        step: called with each check's name before it runs.
        done: the results so far.
    """

    step: Step = lambda what: None
    done: list[Check] = field(default_factory=list)

    def run(self, group: str, name: str, check: Callable[[], tuple[str, Figures]]) -> bool:
        """Run one check; whether it passed.

        Args:
            check: returns one line and figures; raises `CheckError`, `NotHereError`, or whatever goes wrong.
        """
        self.step(f"{group}: {name}")
        started = time.perf_counter()
        figures: Figures = {}
        try:
            detail, figures = check()
            status = "passed"
        except NotHereError as reason:
            status, detail = "skipped", str(reason)
        except Exception as error:  # whatever it is, it belongs into the report and must not end the others
            status, detail = "failed", sentence(error)
            figures = error.figures if isinstance(error, CheckError) else {}
        seconds = round(time.perf_counter() - started, 3)
        self.done.append(Check(group, name, status, detail, seconds, figures))
        return status == "passed"

    def count(self, status: str) -> int:
        """How many checks ended so."""
        return sum(check.status == status for check in self.done)


def sentence(error: BaseException) -> str:
    """An error as one line; those not raised on purpose are led by their type."""
    text = " ".join(str(error).split())[:400]
    return text if isinstance(error, (PadInvError, CheckError)) else f"{type(error).__name__}: {text}"


@contextmanager
def expect(kind: type[PadInvError], what: str) -> Iterator[None]:
    """The block must be refused with one sentence of this kind of error.

    Raises:
        CheckError: it was not refused, or otherwise.
    """
    try:
        yield
    except kind as error:
        if "\n" in str(error) or len(str(error)) > 600:
            raise CheckError(f"{what} was refused, but not in one sentence: {str(error)[:200]!r}") from error
        return
    except Exception as error:
        raise CheckError(f"{what} ended in {type(error).__name__} instead of {kind.__name__}: {error}") from error
    raise CheckError(f"{what} was not refused")
