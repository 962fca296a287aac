"""Where long transfers say how far they are. The library says nothing; the commands show a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


class Reporter:
    """Says nothing. `padinv.cli` replaces it."""

    def say(self, text: str) -> None:
        """One sentence."""

    @contextmanager
    def transfer(self, what: str, total: int) -> Iterator[Advance]:
        """Show the transfer of `total` bytes; what is yielded is called with bytes that arrived."""
        yield lambda count: None


_current = [Reporter()]


def reporter() -> Reporter:
    """The reporter at hand."""
    return _current[0]


def set_reporter(new: Reporter) -> None:
    """Let another reporter say how far transfers are."""
    _current[0] = new
