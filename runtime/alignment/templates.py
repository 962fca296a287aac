"""Where a model expects the landmarks of an aligned face, and how a face is brought there."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from padinv.runtime.alignment.similarity import map_points, similarity
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.files import read_regular

MAX_TEMPLATE_BYTES = 1 << 16

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
        name: what people call it.
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

    @property
    def code(self) -> str:
        """What a `ModelSpec` records: the name of a built-in template, else the name and the five points."""
        if TEMPLATES.get(self.name) == self:
            return self.name
        return f"{self.name}: " + " ".join(f"{x:.9g},{y:.9g}" for x, y in self.landmarks)

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


def template_named(code: str) -> Template:
    """A template by its name, or by what `Template.code` made of it.

    Raises:
        UsageError: an unknown template.
    """
    if code in TEMPLATES:
        return TEMPLATES[code]
    name, colon, points = code.partition(": ")
    if colon:
        try:
            pairs = [pair.split(",") for pair in points.split(" ")]
            return _checked(name, [(float(x), float(y)) for x, y in pairs])
        except ValueError:
            pass
    raise UsageError(
        f"the alignment templates are {', '.join(TEMPLATES)} and TOML files with five points, not {code!r}"
    )


def read_template(text: str) -> Template:
    """A template as `--template` names it: built in, or a TOML file.

    The file says, for example:

        name = "my-faces"
        right_eye = [0.30, 0.30]   # the person's own right eye, at the picture's left; fractions of the side
        left_eye = [0.70, 0.30]
        nose = [0.50, 0.51]
        right_mouth = [0.32, 0.69]
        left_mouth = [0.68, 0.69]

    Raises:
        UsageError: neither a name nor a file. InputError: the file cannot be read, or is not a template.
    """
    if not text.endswith(".toml"):
        return template_named(text)
    try:
        value = _parse_toml(read_regular(text, MAX_TEMPLATE_BYTES).decode("utf-8"), text)
    except OSError as error:
        raise InputError(f"the template {text} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a UnicodeDecodeError and a TOMLDecodeError are one
        raise InputError(f"the template {text} is not valid TOML ({str(error)[:100]})") from error
    wanted = ("name", *LANDMARKS)
    if sorted(value) != sorted(wanted):
        raise InputError(f"the template {text} must hold exactly {', '.join(wanted)}")
    try:
        return _checked(value["name"], [(float(x), float(y)) for x, y in (value[point] for point in LANDMARKS)])
    except (TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, _BadTemplate) else "a landmark is two numbers, x and y"
        raise InputError(f"the template {text} is not valid: {reason}") from error


class _BadTemplate(ValueError):
    """What is wrong with a template."""


def _checked(name: Any, points: list[tuple[float, float]]) -> Template:
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)) or name in TEMPLATES:
        raise _BadTemplate(
            f"its name must be letters, digits, dots, hyphens and underscores, and not {' or '.join(TEMPLATES)}"
        )
    if len(points) != len(LANDMARKS):
        raise _BadTemplate("it must have five points")
    values = np.array(points)
    if not all(math.isfinite(value) for value in values.reshape(-1)) or np.abs(values - 0.5).max() > 2:
        raise _BadTemplate("the points are fractions of the side, 0 to 1")
    right_eye, left_eye, _, right_mouth, left_mouth = values
    if left_eye[0] - right_eye[0] < 0.01 or left_mouth[0] < right_mouth[0]:
        raise _BadTemplate("the person's own right eye and mouth corner lie at the picture's left")
    return Template(name, tuple(points))


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    """TOML by Python's own parser, and by `tomli` before Python 3.11."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise InputError(f"reading {name} needs Python 3.11, or: pip install tomli") from error
    return tomllib.loads(text)
