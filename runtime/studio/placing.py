"""Which face of a photograph is edited, and a square that a person moved.

A moved square is defined by landmarks: those that the template puts into it. So the command line reaches the very same
pixels with `--landmarks FILE`, which the studio offers to download.
"""

from __future__ import annotations

import csv
import io
import math

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import Aligner
from padinv.runtime.alignment.landmarks_csv import COLUMNS
from padinv.runtime.alignment.similarity import inverted, map_points
from padinv.runtime.alignment.templates import template_named
from padinv.runtime.errors import UsageError
from padinv.runtime.studio.edit_state import Square

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
_DECIMALS = 2  # of landmarks in pixels


def corners(transform: np.ndarray) -> list[list[float]]:
    """The square's corners in the photograph, clockwise from the upper left one, in pixels."""
    points: list[list[float]] = np.round(map_points(inverted(transform), CORNERS), 1).tolist()
    return points


def found_faces(aligner: Aligner, image: Image.Image, name: str) -> list[np.ndarray]:
    """The transforms of the faces in a photograph, numbered as `--face` numbers them; [] where nobody can look."""
    if not aligner.active:
        return []
    found = aligner.placements(image, image.size, name, wanted=None)
    return [] if isinstance(found, str) else list(found)


def moved_landmarks(transform: np.ndarray, square: Square, template: str | None) -> np.ndarray:
    """Landmarks [5, 2], in pixels, of a face that lies in the moved square as the template says.

    Args:
        transform: of the square as it was found, photograph pixels -> fractions.

    Raises:
        UsageError: the model has no template, so no square can be described by landmarks.
    """
    if template is None:
        raise UsageError("this model has no alignment template, so its square cannot be moved")
    angle = math.radians(square.turn)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    chosen = template_named(template)
    # Where the template's own transform would put its landmarks; for 'points' that is where they are.
    nominal = map_points(chosen.transform(chosen.points), chosen.points)
    inside = (nominal - 0.5) * square.scale
    points = inside @ turn.T + 0.5 + [square.right, square.down]
    return np.round(map_points(inverted(transform), points), _DECIMALS)


def landmarks_csv(name: str, landmarks: np.ndarray) -> str:
    """The file for `--landmarks` that names one face of one picture."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerow([name, *(f"{value:.{_DECIMALS}f}" for value in landmarks.reshape(-1))])
    return out.getvalue()
