"""Sums over the pictures of an archive, from which its statistics come; parts can be added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from padinv.datasets.pictures import BINS, Made


@dataclass
class Statistics:
    """Sums over pictures.

    Attributes:
        pictures: how many.
        mean, square: sums of the channels' means and mean squares, over [0, 1].
        histogram: sum of the shares of brightness levels.
        smallest, largest: shorter sides of the sources in pixels.
        enlarged: pictures whose source was smaller than the result.
        aligned: pictures with a face moved onto the template.
        sizes: sources by 'w x h', the commonest 1,000.
    """

    pictures: int = 0
    mean: list[float] = field(default_factory=lambda: [0.0] * 3)
    square: list[float] = field(default_factory=lambda: [0.0] * 3)
    histogram: list[float] = field(default_factory=lambda: [0.0] * BINS)
    smallest: int = 0
    largest: int = 0
    enlarged: int = 0
    aligned: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def add(self, made: Made, size: int) -> None:
        """Count a picture of an archive with sides of `size`."""
        side = min(made.size)
        one = Statistics(
            1, made.mean, made.square, made.histogram, side, side, int(side < size), int(made.aligned),
            {f"{made.size[0]} x {made.size[1]}": 1},
        )  # fmt: skip
        self.merge(one)

    def merge(self, other: Statistics) -> None:
        """Add the sums of other pictures."""
        for name in ("mean", "square", "histogram"):
            pairs = zip(getattr(self, name), getattr(other, name), strict=True)
            setattr(self, name, [a + b for a, b in pairs])
        self.smallest = min(self.smallest or other.smallest, other.smallest or self.smallest)
        self.largest = max(self.largest, other.largest)
        self.pictures += other.pictures
        self.enlarged += other.enlarged
        self.aligned += other.aligned
        for size, count in other.sizes.items():
            if size in self.sizes or len(self.sizes) < 1_000:
                self.sizes[size] = self.sizes.get(size, 0) + count

    def channel_means(self) -> list[float]:
        """Mean of red, green and blue, over [0, 1]."""
        return [value / max(1, self.pictures) for value in self.mean]

    def channel_deviations(self) -> list[float]:
        """Standard deviation of the pixels of each channel, over [0, 1]."""
        means = np.array(self.channel_means())
        squares = np.array(self.square) / max(1, self.pictures)
        return [float(value) for value in np.sqrt(np.maximum(squares - means**2, 0))]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """The inverse of `to_dict`."""
        return cls(**{f.name: values[f.name] for f in fields(cls)})
