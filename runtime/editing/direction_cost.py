"""What a direction costs: how much of the picture changes, on the face and around it, per unit of strength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from padinv.runtime.alignment.templates import template_named
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.operations import apply
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


@dataclass(frozen=True)
class PictureChange:
    """Mean squared change of the picture on [-1, 1] at a strength of 1, the mean over both signs.

    Attributes:
        face: on the face; background: around it. Both are the whole picture where the model has no template.
    """

    face: float
    background: float


def face_mask(template: str | None, side: int) -> np.ndarray:
    """Where an aligned picture shows the face: an ellipse around the template's landmarks, bool [side, side].

    It reaches from above the brows to the chin. Without a template it is the whole picture.
    """
    if template is None:
        return np.ones((side, side), bool)
    right_eye, left_eye, _, right_mouth, left_mouth = template_named(template).points
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    height = float(np.linalg.norm(mouth - eyes))
    width = float(np.linalg.norm(left_eye - right_eye))
    x, y = np.meshgrid(*[(np.arange(side) + 0.5) / side] * 2)
    centre = eyes + 0.55 * (mouth - eyes)
    result: np.ndarray = np.square((x - centre[0]) / (1.1 * width)) + np.square((y - centre[1]) / (1.3 * height)) <= 1
    return result


def picture_change(model: Model, codes: Inversion, direction: Direction, *, batch_size: int = 16) -> PictureChange:
    """Measure a direction, in its own space, on some images.

    Args:
        codes: the images' inversions.

    Raises:
        MismatchError: codes or a direction of another generator.
    """
    space = direction.space or "both"
    plain = model.generate_for_encoder(codes, batch_size)
    face = face_mask(model.spec.template, plain.shape[-1])
    around = ~face if not face.all() else face
    change = np.zeros(plain.shape[2:])
    for sign in (-1.0, 1.0):
        edited = model.generate_for_encoder(apply(codes, direction, space, sign), batch_size)  # type: ignore[arg-type]
        change += np.square(edited - plain).mean(axis=(0, 1)) / 2
    return PictureChange(float(change[face].mean()), float(change[around].mean()))
