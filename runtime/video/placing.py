"""Where the aligned square lies in every frame: landmarks smoothed over time, gaps bridged, cuts respected."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from padinv.runtime.alignment.templates import Template
from padinv.runtime.video.one_euro import OneEuro, smoothed
from padinv.runtime.video.tracking import distance, extent

# Frames without a face: a gap up to this long is bridged, a longer one shows the source itself.
HOLD_SECONDS = 0.5
# A jump over more than this many sides from one frame to the next is a cut, and nothing is smoothed across it.
CUT = 0.5
# Of landmarks, whose speed is measured in sides of the face per second. At rest the detector's own trembling is what
# remains to be removed; at one side per second the cutoff is 3 Hz.
LANDMARKS = OneEuro(min_cutoff=1.0, beta=2.0)
_EXTEND = 1.0  # seconds


@dataclass(frozen=True)
class Placing:
    """Where the square lies in each frame of a clip.

    Attributes:
        transforms: one for each frame, [2, 3], pixels -> fractions of the square; None: the source is shown as it is.
        segments: one for each frame; frames of one segment follow each other without a cut. -1 without a transform.
        held: how many frames show no face, but lie in a short gap. passed: how many show the source.
    """

    transforms: list[np.ndarray | None]
    segments: list[int]
    held: int
    passed: int

    @property
    def shown(self) -> int:
        """How many frames get a result."""
        return len(self.segments) - self.passed

    @classmethod
    def fixed(cls, transform: np.ndarray, count: int) -> Placing:
        """The same square in every frame."""
        return cls([transform] * count, [0] * count, 0, 0)


def placed(
    landmarks: Sequence[np.ndarray | None], times: Sequence[float], template: Template, smooth: float = 1.0
) -> Placing:
    """Place the square in every frame.

    Args:
        landmarks: one for each frame, [5, 2] in pixels; None: no face was seen.
        times: one for each frame, seconds.
        smooth: 0 is none, 1 the usual amount, more is smoother.
    """
    count = len(landmarks)
    seen = [i for i, one in enumerate(landmarks) if one is not None]
    filled = {i: np.asarray(landmarks[i], np.float64) for i in seen}
    for before, after in itertools.pairwise(seen):
        if after - before > 1 and times[after] - times[before] <= HOLD_SECONDS + 1e-9:
            filled.update(_bridge(filled[before], filled[after], before, after, times))
    held = len(filled) - len(seen)
    transforms: list[np.ndarray | None] = [None] * count
    segments = [-1] * count
    for number, run in enumerate(_runs(filled)):
        points = np.stack([filled[i] for i in run])
        if smooth > 0 and len(run) > 1:
            points = _smoothed(points, np.array([times[i] for i in run]), LANDMARKS.weaker(smooth))
        for i, one in zip(run, points, strict=True):
            transforms[i], segments[i] = template.transform(one), number
    return Placing(transforms, segments, held, count - len(filled))


def _bridge(a: np.ndarray, b: np.ndarray, before: int, after: int, times: Sequence[float]) -> dict[int, np.ndarray]:
    """Landmarks on the straight way between two frames; those of `a` where the face jumped meanwhile."""
    jumped = distance(a, b) > CUT * extent(a)
    share = {i: (times[i] - times[before]) / (times[after] - times[before]) for i in range(before + 1, after)}
    return {i: a if jumped else a + t * (b - a) for i, t in share.items()}


def _runs(filled: dict[int, np.ndarray]) -> list[list[int]]:
    """Frames that follow each other without a gap or a cut."""
    runs: list[list[int]] = []
    for i in sorted(filled):
        if i - 1 in filled and distance(filled[i - 1], filled[i]) <= CUT * extent(filled[i - 1]):
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _smoothed(points: np.ndarray, times: np.ndarray, filter: OneEuro) -> np.ndarray:
    flat = points.reshape(len(points), -1)
    sides = np.array([extent(one) for one in points])
    # The root mean square over five points, so that the speed is that of one point.
    velocity = np.gradient(flat, times, axis=0) / sides[:, None] / np.sqrt(len(points[0]))
    return smoothed(flat, times, velocity, filter, extend=_EXTEND).reshape(points.shape)
