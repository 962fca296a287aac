"""Latents and padding smoothed over time, by as much as the aligned source stands still.

An encoder answers to noise and to a shift of a fraction of a pixel with codes that tremble, and the generator makes
flicker of that. How fast the codes themselves change says little, since most of it is trembling. So the one-euro
filter's speed here is that of the source: how much its aligned square, reduced to a few pixels, changes per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from padinv.runtime.inversion import Inversion
from padinv.runtime.video.one_euro import OneEuro, smoothed

COARSE = 16  # the square is reduced to this side: noise and the finest texture average out
CUT = 0.15  # of the range from black to white: a mean change of more than this within a frame is a cut
# A face that speaks or turns changes by 0.1 to 0.5 per second, and is followed at 3 to 11 Hz.
CODES = OneEuro(min_cutoff=1.0, beta=20.0)


def coarse_change(square: np.ndarray, before: np.ndarray) -> float:
    """Mean absolute change between two squares, uint8 RGB [S, S, 3], reduced to a few pixels; 1 is black to white."""
    return float(np.abs(_reduced(square) - _reduced(before)).mean()) / 255


def _reduced(square: np.ndarray) -> np.ndarray:
    side = square.shape[0]
    cells = max(1, side // COARSE)
    whole = side // cells * cells
    parts = square[:whole, :whole].reshape(whole // cells, cells, whole // cells, cells, 3)
    result: np.ndarray = parts.mean(axis=(1, 3))
    return result


def smooth_codes(codes: Inversion, wanted: Sequence[int], smooth: float = 1.0) -> Inversion:
    """Smooth the codes of consecutive frames.

    Args:
        codes: frames in order, with neighbours of the wanted ones before and after. Their items hold `frame` (its
            index), `time` (seconds) and `coarse` (`coarse_change` since the frame before; None after a cut).
        wanted: positions in `codes` of the frames to return.
        smooth: 0 is none, 1 the usual amount, more is smoother.

    Returns:
        an Inversion of the wanted frames.
    """
    positions = list(wanted)
    if smooth <= 0 or not positions:
        return codes[positions]
    runs = [run for run in runs_of(codes.items) if not set(run).isdisjoint(positions)]
    arrays = {name: array[positions].copy() for name, array in codes.arrays().items()}
    place = {position: row for row, position in enumerate(positions)}
    for run in runs:
        if len(run) < 2:
            continue
        times = np.array([codes.items[i]["time"] for i in run])
        changes = np.array([codes.items[i]["coarse"] or 0.0 for i in run])
        speed = changes[1:] / np.diff(times)
        velocity = np.concatenate([speed[:1], speed])[:, None]
        mine = [(k, place[i]) for k, i in enumerate(run) if i in place]
        for name, array in codes.arrays().items():
            result = smoothed(array[run], times, velocity, CODES.weaker(smooth))
            arrays[name][[row for _, row in mine]] = result[[k for k, _ in mine]]
    return Inversion.from_arrays(arrays, codes.generator_hash, [dict(codes.items[i]) for i in positions])


def runs_of(items: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Positions of frames that follow each other without a gap or a cut."""
    runs: list[list[int]] = []
    for i, item in enumerate(items):
        follows = i > 0 and item["coarse"] is not None and item["frame"] == items[i - 1]["frame"] + 1
        if follows:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs
