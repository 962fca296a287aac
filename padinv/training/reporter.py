"""What a training says while it runs; the command line decides how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Reporter(Protocol):
    """Receives progress. Lengths are counted in training images."""

    def message(self, text: str) -> None:
        """One line worth reading."""

    def start(self, done: int, total: int, what: str = "training") -> None:
        """The steps of training, measuring, ... begin; `done` of `total` images lie behind."""

    def advance(self, done: int, terms: Mapping[str, float]) -> None:
        """A step ended, with these loss terms."""

    def finish(self) -> None:
        """No more steps."""


class Silent:
    """A reporter that says nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def start(self, done: int, total: int, what: str = "training") -> None:
        """Nothing."""

    def advance(self, done: int, terms: Mapping[str, float]) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
