"""The queue that runs requests together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.server.batch_queue import BatchQueue, ClosedError


class _Model:
    """Doubles numbers; its first run waits until the test has queued the rest."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started = threading.Event()
        self.runs: list[tuple[str, int]] = []

    def double(self, batch: Sequence[int]) -> list[int]:
        self.started.set()
        assert self.go.wait(10)
        if any(item < 0 for item in batch):
            raise InputError("negative")
        return [2 * item for item in batch]


@pytest.fixture
def model() -> _Model:
    return _Model()


@pytest.fixture
def queue(model: _Model) -> Iterator[BatchQueue]:
    made = BatchQueue(
        {"double": model.double, "halve": lambda batch: [item / 2 for item in batch]},
        max_batch=4,
        on_run=lambda kind, size: model.runs.append((kind, size)),
    )
    yield made
    model.go.set()
    made.close()


def test_what_waits_while_the_model_runs_goes_through_together(queue: BatchQueue, model: _Model) -> None:
    first = queue.submit("double", 0)
    assert model.started.wait(10)
    futures = [queue.submit("double", i) for i in range(1, 7)]
    model.go.set()
    assert first.result(10) == 0
    assert [future.result(10) for future in futures] == [2, 4, 6, 8, 10, 12]
    queue.close()
    assert model.runs == [("double", 1), ("double", 4), ("double", 2)]


def test_kinds_do_not_mix_and_the_oldest_goes_first(queue: BatchQueue, model: _Model) -> None:
    queue.submit("double", 0)
    assert model.started.wait(10)
    futures = [queue.submit(kind, i) for i, kind in enumerate(("double", "halve", "double", "halve"))]
    model.go.set()
    assert [future.result(10) for future in futures] == [0, 0.5, 4, 1.5]
    queue.close()
    assert model.runs == [("double", 1), ("double", 2), ("halve", 2)]


def test_one_bad_input_fails_alone(queue: BatchQueue, model: _Model) -> None:
    queue.submit("double", 0)
    assert model.started.wait(10)
    futures = [queue.submit("double", i) for i in (1, -1, 3)]
    model.go.set()
    assert futures[0].result(10) == 2
    with pytest.raises(InputError, match="negative"):
        futures[1].result(10)
    assert futures[2].result(10) == 6


def test_a_cancelled_request_costs_no_run(queue: BatchQueue, model: _Model) -> None:
    queue.submit("double", 0)
    assert model.started.wait(10)
    gone, kept = queue.submit("double", 1), queue.submit("double", 2)
    assert gone.cancel()
    model.go.set()
    assert kept.result(10) == 4
    queue.close()
    assert model.runs == [("double", 1), ("double", 1)]


def test_closing_finishes_what_was_accepted_and_takes_nothing_more(queue: BatchQueue, model: _Model) -> None:
    futures = [queue.submit("double", i) for i in range(9)]
    model.go.set()
    queue.close()
    assert [future.result(0) for future in futures] == [2 * i for i in range(9)]
    with pytest.raises(ClosedError, match="stopping"):
        queue.submit("double", 1)


def test_wrong_use_is_named(queue: BatchQueue) -> None:
    with pytest.raises(UsageError, match="not 'triple'"):
        queue.submit("triple", 1)
    with pytest.raises(UsageError, match="at least 1"):
        BatchQueue({}, 0)
