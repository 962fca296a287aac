"""Means over records, one record at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Means:
    """The mean of each key over the records that hold a number there.

    Args:
        keys: of the records.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._sums = dict.fromkeys(keys, (0.0, 0))

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record."""
        for key, (total, count) in self._sums.items():
            if isinstance(value := record.get(key), (int, float)):
                self._sums[key] = (total + value, count + 1)

    def values(self) -> dict[str, float | None]:
        """Key -> mean, or None where no record has it."""
        return {key: total / count if count else None for key, (total, count) in self._sums.items()}
