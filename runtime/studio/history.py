"""What was done to a photograph, step by step, with undo and redo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from padinv.runtime.errors import UsageError

State = TypeVar("State")
MAX_STEPS = 200  # older ones are forgotten


@dataclass(frozen=True)
class Step(Generic[State]):
    """A state, and what led to it."""

    label: str
    state: State


class History(Generic[State]):
    """Steps up to the present one, and those that were undone.

    Example:
        >>> history = History("plain")
        >>> history.add("smile", "smiling"); history.undo(); history.now
        'plain'
    """

    def __init__(self, start: State, label: str = "opened") -> None:
        self.steps: list[Step[State]] = [Step(label, start)]
        self.position = 0

    @property
    def now(self) -> State:
        """The present state."""
        return self.steps[self.position].state

    def add(self, label: str, state: State) -> None:
        """Go on to a new state; what was undone is forgotten. A state equal to the present one adds nothing."""
        if state == self.now:
            return
        del self.steps[self.position + 1 :]
        self.steps.append(Step(label, state))
        del self.steps[: max(0, len(self.steps) - MAX_STEPS)]
        self.position = len(self.steps) - 1

    def undo(self) -> None:
        """One step back; at the first one nothing happens."""
        self.position = max(0, self.position - 1)

    def redo(self) -> None:
        """One step forward again; at the last one nothing happens."""
        self.position = min(len(self.steps) - 1, self.position + 1)

    def go_to(self, position: int) -> None:
        """To any step.

        Raises:
            UsageError: there is no such step.
        """
        if not 0 <= position < len(self.steps):
            raise UsageError(f"the history has the steps 0 to {len(self.steps) - 1}, not {position}")
        self.position = position
