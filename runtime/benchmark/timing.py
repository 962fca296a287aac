"""Timing contestants alternately, so that a change of the machine's load meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MIN_ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over all rounds.

    Attributes:
        median, fastest, slowest: in seconds.
        rounds: how many calls were timed.
    """

    median: float
    fastest: float
    slowest: float
    rounds: int


def alternate(calls: Mapping[str, Callable[[], object]], seconds: float, most_rounds: int = 50) -> dict[str, Timing]:
    """Time several calls alternately: one of each, then the next round.

    Every call is made once before the clock starts. A call must have finished its work when it returns.

    Args:
        seconds: time to spend on all rounds together; at least `MIN_ROUNDS` rounds are made.

    Returns:
        name -> its timing.
    """
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < MIN_ROUNDS or (rounds < most_rounds and time.perf_counter() < end):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
        rounds += 1
    return {name: Timing(statistics.median(all_), min(all_), max(all_), rounds) for name, all_ in taken.items()}
