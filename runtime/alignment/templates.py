"""Where a model expects the landmarks of an aligned face, and how a face is brought there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from padinv.runtime.alignment.similarity import map_points, similarity
from padinv.runtime.errors import UsageError

LANDMARKS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")

# Right eye, left eye, nose, right and left corner of the mouth ('right' is the person's own, at the picture's left),
# as fractions (x, y) of the side.
FACES = (
    (0.3015, 0.2962),
    (0.6985, 0.2962),
    (0.5000, 0.5132),
    (0.3238, 0.6870),
    (0.6762, 0.6870),
)

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


@dataclass(frozen=True)
class Template:
    """Where a model expects the landmarks of a face.

    Attributes:
        name: what a `ModelSpec` and `--template` call it.
        landmarks: five points (x, y) as fractions of the side, in the order of `LANDMARKS`.
        method: 'points' brings the five landmarks as close to `landmarks` as a similarity can; 'ffhq' places the square
            by eyes and mouth alone, as the FFHQ data set was cut, and an average face then has `landmarks`.

    >>> template_named("ffhq").transform(points)  # [5, 2] pixels -> [2, 3], pixels -> fractions of the square
    """

    name: str
    landmarks: tuple[tuple[float, float], ...]
    method: Literal["points", "ffhq"] = "points"

    @property
    def points(self) -> np.ndarray:
        """`landmarks` as float64 [5, 2]."""
        return np.asarray(self.landmarks, np.float64)

    def transform(self, landmarks: np.ndarray) -> np.ndarray:
        """Landmarks [5, 2] of a picture in pixels -> the transform [2, 3] from pixels to fractions of the square.

        Raises:
            UsageError: all landmarks coincide.
        """
        return ffhq_transform(landmarks) if self.method == "ffhq" else similarity(landmarks, self.points)


def ffhq_transform(landmarks: np.ndarray) -> np.ndarray:
    """The square of the FFHQ data set (Karras et al. 2019, appendix A), from eyes and corners of the mouth.

    The published procedure takes the centres of both eyes and the corners of the mouth from 68 landmarks; here they are
    four of the five. The square's horizontal axis lies between the line of the eyes and the perpendicular of the line
    from eyes to mouth; its side is 4 times the eyes' distance or 3.6 times the distance from eyes to mouth, whichever
    is longer; its centre lies a tenth of the way from the eyes to the mouth.

    Args:
        landmarks: [5, 2] pixels.

    Returns:
        float64 [2, 3], pixels -> fractions of the square.

    Raises:
        UsageError: the landmarks coincide.
    """
    right_eye, left_eye, _, right_mouth, left_mouth = np.asarray(landmarks, np.float64)
    eyes = (right_eye + left_eye) / 2
    eye_to_eye = left_eye - right_eye
    eye_to_mouth = (right_mouth + left_mouth) / 2 - eyes
    axis = eye_to_eye + np.array([eye_to_mouth[1], -eye_to_mouth[0]])
    side = max(4.0 * float(np.hypot(*eye_to_eye)), 3.6 * float(np.hypot(*eye_to_mouth)))
    length = float(np.hypot(*axis))
    if side <= 0 or length <= 0:
        raise UsageError("a similarity transform needs landmarks that do not all coincide")
    x, y = axis / length / side
    matrix = np.array([[x, y], [-y, x]])
    centre = eyes + 0.1 * eye_to_mouth
    return np.concatenate([matrix, (0.5 - matrix @ centre)[:, None]], axis=1)


def _average_in_ffhq() -> tuple[tuple[float, float], ...]:
    """Landmarks of the average face, that of `FACES`, in the FFHQ square."""
    points = map_points(ffhq_transform(np.asarray(FACES)), np.asarray(FACES))
    return tuple((float(x), float(y)) for x, y in points)


TEMPLATES = {
    template.name: template for template in (Template("faces", FACES), Template("ffhq", _average_in_ffhq(), "ffhq"))
}


def template_named(name: str) -> Template:
    """A template by its name.

    Raises:
        UsageError: an unknown template.
    """
    if name not in TEMPLATES:
        raise UsageError(f"the alignment templates are {', '.join(TEMPLATES)}, not {name!r}")
    return TEMPLATES[name]
