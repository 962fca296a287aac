"""Writing checkpoints while the training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor


def snapshot(value: Any) -> Any:
    """A copy of a nested state on the CPU, which later steps do not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        copy = type(value)((key, snapshot(part)) for key, part in value.items())
        if hasattr(value, "_metadata"):  # of a module's state
            copy._metadata = value._metadata  # type: ignore[attr-defined]
        return copy
    if isinstance(value, (list, tuple)):
        return type(value)(snapshot(part) for part in value)
    return value


class BackgroundWriter:
    """One piece of work at a time in a thread. What it raises is raised again by the next `submit` or `wait`.

    Args:
        enabled: False: work is done at once, in the caller's thread, and needs no snapshot.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Wait for the last piece of work, then begin this one."""
        self.wait()
        if not self.enabled:
            work()
            return
        self._thread = threading.Thread(target=self._run, args=(work,), name="padinv-checkpoint")
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Wait until everything is written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
