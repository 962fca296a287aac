"""Where the landmarks of an aligned face lie."""

from __future__ import annotations

import numpy as np

from padinv.runtime.errors import UsageError

# Right eye, left eye, nose, right and left corner of the mouth ('right' is the person's own, at the picture's left),
# as fractions (x, y) of the side.
FACES = (
    (0.3015, 0.2962),
    (0.6985, 0.2962),
    (0.5000, 0.5132),
    (0.3238, 0.6870),
    (0.6762, 0.6870),
)
TEMPLATES: dict[str, tuple[tuple[float, float], ...]] = {"faces": FACES}

# The same five landmarks in the 112 x 112 crop that face-recognition networks are trained on (Deng et al. 2019),
# in pixels.
ARCFACE_SIDE = 112
ARCFACE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def template_named(name: str) -> np.ndarray:
    """Landmarks of a template, float64 [5, 2], (x, y) as fractions of the side.

    Raises:
        UsageError: an unknown template.
    """
    if name not in TEMPLATES:
        raise UsageError(f"the alignment templates are {', '.join(TEMPLATES)}, not {name!r}")
    return np.asarray(TEMPLATES[name], np.float64)


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
