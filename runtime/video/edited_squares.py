"""The edited squares of a clip, read from their chunks, and those that are kept for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import cut
from padinv.runtime.video import stages
from padinv.runtime.video.clip import Frame
from padinv.runtime.video.placing import Placing

SAMPLES = 6  # frames that are kept for the report


@dataclass
class Samples:
    """Squares of a few frames, spread over the clip, for the report: (frame, source, result), uint8 RGB."""

    side: int
    indices: frozenset[int] = frozenset()
    taken: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)

    def choose(self, placing: Placing) -> None:
        """Decide which frames are kept."""
        there = [i for i, transform in enumerate(placing.transforms) if transform is not None]
        places = np.linspace(0, len(there) - 1, min(SAMPLES, len(there))).round().astype(int)
        self.indices = frozenset(there[i] for i in places)

    def add(self, frame: Frame, transform: np.ndarray, square: np.ndarray) -> None:
        """Keep a frame if it is one of them."""
        if frame.index in self.indices:
            self.taken.append((frame.index, cut(Image.fromarray(frame.pixels), transform, self.side).pixels, square))


class EditedSquares:
    """The edited squares by frame; one chunk is in memory at a time."""

    def __init__(self, folder: Path, records: Mapping[int, Mapping[str, Any]]) -> None:
        self._folder, self._records = folder, records
        self._loaded: tuple[int, dict[int, np.ndarray]] | None = None

    def of(self, frame: int) -> np.ndarray | None:
        """uint8 RGB [R, R, 3]; None where the frame has none."""
        number = frame // stages.CHUNK
        if number not in self._records:
            return None
        loaded = self._loaded
        if loaded is None or loaded[0] != number:
            record = self._records[number]
            pixels = stages.read_squares(self._folder / record["outputs"]["squares"]["file"])
            loaded = self._loaded = (number, dict(zip(record["frames"], pixels, strict=True)))
        return loaded[1].get(frame)
