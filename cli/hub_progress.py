"""How transfers from and to a hub are shown: a sentence, then a bar in megabytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from padinv.cli.common_options import settings
from padinv.cli.console import say
from padinv.cli.progress import progress_bar
from padinv.runtime.hub.reporting import Advance, Reporter, set_reporter

_MEGABYTE = 1_000_000


class _Bar(Reporter):
    def say(self, text: str) -> None:
        if not settings.quiet:
            say(text)

    @contextmanager
    def transfer(self, what: str, total: int) -> Iterator[Advance]:
        if total:
            self.say(f"{what}: {megabytes(total)}")
        done = shown = 0
        with progress_bar(what, total // _MEGABYTE, "MB") as bar:

            def advance(count: int) -> None:
                nonlocal done, shown
                done += count
                if done // _MEGABYTE > shown:
                    bar.advance(done // _MEGABYTE - shown)
                    shown = done // _MEGABYTE

            yield advance


def show_transfers() -> None:
    """Let the library's transfers be shown on standard error."""
    set_reporter(_Bar())


def megabytes(count: int) -> str:
    """'24.1 MB', or bytes below a hundred thousand."""
    return f"{count / _MEGABYTE:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
