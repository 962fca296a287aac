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
