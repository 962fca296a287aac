"""Similarity and affine transforms of the plane, as float64 matrices [2, 3]."""

from __future__ import annotations

import math

import numpy as np

from padinv.runtime.errors import UsageError


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least-squares rotation, uniform scale and translation that take `source` to `target`, without mirroring.

    Args:
        source, target: [K, 2] points (x, y), K at least 2.

    Returns:
        float64 [2, 3] matrix A with target ~ A[:, :2] @ source + A[:, 2].

    Raises:
        UsageError: all source points coincide.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    a, b = source - centre, target - goal
    power = float((a * a).sum())
    if power <= 0:
        raise UsageError("a similarity transform needs landmarks that do not all coincide")
    # With points as complex numbers the optimum is one complex factor: sum(conj(a) b) / sum(|a|^2).
    real = float((a * b).sum()) / power
    imaginary = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
    matrix = np.array([[real, -imaginary], [imaginary, real]])
    return np.concatenate([matrix, (goal - matrix @ centre)[:, None]], axis=1)


def square_transform(box: tuple[float, float, float, float] | list[float]) -> np.ndarray:
    """The transform of a square that is cut without rotation: source pixels -> fractions of [left, top, right, bottom].

    Returns:
        float64 [2, 3].
    """
    left, top, right, bottom = box
    return np.array([[1 / (right - left), 0, -left / (right - left)], [0, 1 / (bottom - top), -top / (bottom - top)]])


def inverted(transform: np.ndarray) -> np.ndarray:
    """The inverse of an affine map [2, 3]."""
    inverse = np.linalg.inv(np.asarray(transform, np.float64)[:, :2])
    return np.concatenate([inverse, -(inverse @ np.asarray(transform, np.float64)[:, 2])[:, None]], axis=1)


def map_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply an affine map [2, 3] to points [K, 2]."""
    result: np.ndarray = np.asarray(points, np.float64) @ np.asarray(transform)[:, :2].T + np.asarray(transform)[:, 2]
    return result


def source_side(transform: np.ndarray) -> float:
    """Side of the square in source pixels."""
    area = abs(float(np.linalg.det(np.asarray(transform, np.float64)[:, :2])))
    return 1 / math.sqrt(area) if area > 0 else math.inf
