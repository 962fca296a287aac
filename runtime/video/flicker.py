"""Flicker: how much the aligned result changes from frame to frame, beyond what the aligned source does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flicker:
    """Mean absolute change from one frame to the next, in 8-bit steps, in the aligned square.

    Attributes:
        source, result: the means. frames: how many changes they are means of.
    """

    source: float
    result: float
    frames: int

    @classmethod
    def of(cls, changes: Iterable[Sequence[float]]) -> Flicker:
        """Of (change of the source, change of the result) for each pair of frames."""
        table = np.array([list(pair) for pair in changes], np.float64).reshape(-1, 2)
        source, result = table.mean(axis=0) if len(table) else (0.0, 0.0)
        return cls(float(source), float(result), len(table))

    @property
    def ratio(self) -> float | None:
        """Change of the result by that of the source; 1 or less is no flicker. None where the source stands still."""
        return self.result / self.source if self.source > 0 else None

    def sentence(self) -> str:
        """For people."""
        if not self.frames:
            return "flicker: not measured, as no two frames with a face follow each other"
        times = "" if self.ratio is None else f", {self.ratio:.2f} times"
        changes = f"the aligned face changes by {self.result:.2f} of 255 per frame, its source by {self.source:.2f}"
        return f"flicker: {changes}{times}"


def change(square: np.ndarray, before: np.ndarray, size: int | None = None) -> float:
    """Mean absolute difference of two squares, uint8 RGB [S, S, 3], in 8-bit steps.

    Args:
        size: reduce both to this side first, a divisor of S; None: as they are.
    """
    difference = square.astype(np.float32) - before
    side = square.shape[0]
    if size is not None and side > size:
        k = side // size
        difference = difference.reshape(size, k, size, k, 3).mean(axis=(1, 3))
    return float(np.abs(difference).mean())
