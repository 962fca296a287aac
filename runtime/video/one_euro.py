"""The one-euro filter (Casiez, Roussel and Vogel 2012): still signals are smoothed strongly, moving ones little.

A low-pass filter whose cutoff frequency rises with the speed of the signal. A clip is known from its first to its last
frame, so the filter runs forwards and backwards, and the mean of both lags behind in neither direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from padinv.runtime.errors import UsageError

_SPEED_CUTOFF = 1.0  # hertz; of the speed itself, as the authors choose it


@dataclass(frozen=True)
class OneEuro:
    """Parameters of the filter.

    Attributes:
        min_cutoff: cutoff frequency in hertz of a signal that does not move; lower is smoother.
        beta: hertz that the cutoff rises by for each unit of speed; higher follows fast movements more closely.
    """

    min_cutoff: float
    beta: float

    def weaker(self, amount: float) -> OneEuro:
        """The filter with `amount` times the smoothing; `amount` above 0."""
        return OneEuro(self.min_cutoff / amount, self.beta / amount)


def smoothed(
    values: np.ndarray, times: np.ndarray, velocity: np.ndarray, filter: OneEuro, *, extend: float = 0.0
) -> np.ndarray:
    """Smooth a whole signal without lag.

    Args:
        values: [T, ...].
        times: [T], seconds, increasing.
        velocity: [T, K], any measure of movement per second at each time; its length is the speed.
        filter: see `OneEuro`.
        extend: seconds by which the signal is continued beyond both ends, turned about its end points, so that a
            steady movement is not held back there. The end points themselves then keep their values.

    Returns:
        float64 [T, ...].

    Raises:
        UsageError: times that do not increase.

    Example:
        smoothed(points, times, np.gradient(points, times, axis=0), OneEuro(1.0, 0.5))
    """
    values, times = np.asarray(values, np.float64), np.asarray(times, np.float64)
    velocity = np.asarray(velocity, np.float64)
    if (np.diff(times) <= 0).any():
        raise UsageError("a signal can only be smoothed in the order of its times, and each time stands once")
    count = min(len(times) - 1, int(np.searchsorted(times, times[0] + extend)))
    if count > 0 and extend > 0:
        return smoothed(*_extended(values, times, velocity, count), filter)[count:-count]
    forward = _pass(values, times, velocity, filter)
    backward = _pass(values[::-1], -times[::-1], velocity[::-1], filter)[::-1]
    result: np.ndarray = (forward + backward) / 2
    return result


def _extended(
    values: np.ndarray, times: np.ndarray, velocity: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`count` samples more at each end: mirrored in time, and turned about the end's own value."""

    def turned(signal: np.ndarray) -> np.ndarray:
        before = 2 * signal[:1] - signal[count:0:-1]
        after = 2 * signal[-1:] - signal[-2 : -2 - count : -1]
        return np.concatenate([before, signal, after])

    mirrored = np.concatenate([velocity[count:0:-1], velocity, velocity[-2 : -2 - count : -1]])
    return turned(values), turned(times), mirrored


def _pass(values: np.ndarray, times: np.ndarray, velocity: np.ndarray, filter: OneEuro) -> np.ndarray:
    result = np.empty_like(values)
    result[0] = values[0]
    mean = velocity[0]
    for i in range(1, len(values)):
        seconds = float(times[i] - times[i - 1])
        mean = mean + _factor(_SPEED_CUTOFF, seconds) * (velocity[i] - mean)
        cutoff = filter.min_cutoff + filter.beta * float(np.linalg.norm(mean))
        result[i] = result[i - 1] + _factor(cutoff, seconds) * (values[i] - result[i - 1])
    return result


def _factor(cutoff: float, seconds: float) -> float:
    """How far a low-pass filter of first order goes towards a new value that is `seconds` younger than the last."""
    r = 2 * math.pi * cutoff * seconds
    return r / (r + 1)
