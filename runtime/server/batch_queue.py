"""Requests that come one by one go through the model together.

While one run of the model is under way, further requests wait in a queue; the next run takes as many of them as fit. A
lone request is never delayed, and under load the batches grow by themselves.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from padinv.runtime.errors import PadInvError, UsageError

Work = Callable[[Sequence[Any]], Sequence[Any]]


class ClosedError(PadInvError):
    """The queue takes nothing any more, because the service is stopping."""


class BatchQueue:
    """Runs work of several kinds in batches, in one thread.

    Args:
        work: kind -> a function from a list of inputs to the list of their results, in the same order.
        max_batch: inputs of one run.
        on_run: called with the kind and the size of every run.

    Example:
        >>> queue = BatchQueue({"double": lambda items: [2 * one for one in items]}, max_batch=4)
        >>> queue.submit("double", 21).result()
        42
        >>> queue.close()
    """

    def __init__(
        self, work: Mapping[str, Work], max_batch: int, *, on_run: Callable[[str, int], None] | None = None
    ) -> None:
        if max_batch < 1:
            raise UsageError(f"a batch holds at least 1 request, not {max_batch}")
        self._work = dict(work)
        self._max_batch = max_batch
        self._on_run = on_run or (lambda kind, size: None)
        self._waiting: deque[tuple[str, Any, Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="padinv-batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many inputs wait."""
        return len(self._waiting)

    def submit(self, kind: str, item: Any) -> Future[Any]:
        """Queue one input; the future gives its result, or raises what its run raised.

        Raises:
            UsageError: another `kind`. ClosedError: after `close`.
        """
        if kind not in self._work:
            raise UsageError(f"the queue does {', '.join(self._work)}, not {kind!r}")
        future: Future[Any] = Future()
        with self._changed:
            if self._closed:
                raise ClosedError("the service is stopping, so nothing was done; ask again when it is back")
            self._waiting.append((kind, item, future))
            self._changed.notify()
        return future

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more, finish what was taken, and stop. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                kind, batch = self._take()
            self._run(kind, batch)

    def _take(self) -> tuple[str, list[tuple[Any, Future[Any]]]]:
        """The oldest input, and those of its kind that wait behind it; the others keep their order."""
        kind = self._waiting[0][0]
        batch: list[tuple[Any, Future[Any]]] = []
        others: deque[tuple[str, Any, Future[Any]]] = deque()
        while self._waiting:
            entry = self._waiting.popleft()
            if entry[0] != kind or len(batch) >= self._max_batch:
                others.append(entry)
            elif entry[2].set_running_or_notify_cancel():  # a cancelled request costs no run
                batch.append((entry[1], entry[2]))
        self._waiting = others
        return kind, batch

    def _run(self, kind: str, batch: list[tuple[Any, Future[Any]]]) -> None:
        if not batch:
            return
        try:
            results = self._work[kind]([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} inputs of {kind} gave {len(results)} results")
        except BaseException as error:  # the thread must outlive any request, and each of these requests must hear why
            self._fail(kind, batch, error)
            return
        self._on_run(kind, len(batch))
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _fail(self, kind: str, batch: list[tuple[Any, Future[Any]]], error: BaseException) -> None:
        if len(batch) == 1:
            batch[0][1].set_exception(error)
            return
        for one in batch:  # one bad input must not take the others with it
            self._run(kind, [one])
