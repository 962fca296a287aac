from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from padinv.runtime.alignment import alignment, invert_affine, warp
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.templates import FACES


def placed(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """A known similarity, fractions of the square -> source pixels [2, 3]."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 64, (0, 0)), (0.4, 200, (300, 120)), (-2.5, 30, (-5, 900))])
def test_a_known_similarity_is_found(angle, scale, shift):
    there = placed(angle, scale, shift)
    transform = alignment(apply(there, np.asarray(FACES)))
    np.testing.assert_allclose(transform, invert_affine(there), atol=1e-9)
    np.testing.assert_allclose(invert_affine(transform), there, atol=1e-6)


def test_an_aligned_picture_stays_as_it_is(picture):
    image = picture(32, 32)
    np.testing.assert_array_equal(
        np.asarray(warp(image, np.array([[1 / 32, 0, 0], [0, 1 / 32, 0]]), 32)), np.asarray(image)
    )


def test_down_scaling_averages_areas():
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = Image.fromarray(np.repeat(checks[..., None], 3, axis=2))
    small = np.asarray(warp(image, np.array([[1 / 64, 0, 0], [0, 1 / 64, 0]]), 16)).astype(int)
    assert np.abs(small - 127.5).max() < 3


def test_borders_are_mirrored(picture):
    image = picture(32, 32, seed=3)
    wide = np.asarray(warp(image, np.array([[1 / 64, 0, 0.25], [0, 1 / 64, 0.25]]), 64)).astype(int)
    np.testing.assert_array_equal(wide[16:48, 16:48], np.asarray(image))
    np.testing.assert_array_equal(wide[16:48, :16], np.asarray(image)[:, 15::-1])
    np.testing.assert_array_equal(wide[48:, 16:48], np.asarray(image)[:15:-1])


def test_a_turned_picture_is_turned_back():
    upright = np.zeros((64, 64, 3), np.uint8)
    upright[:32, :32] = (255, 0, 0)
    upright[32:, 32:] = (0, 0, 255)
    turned = Image.fromarray(upright).rotate(90)  # counter-clockwise
    quarter = placed(-np.pi / 2, 64, (0, 64))
    back = np.asarray(warp(turned, invert_affine(quarter), 64)).astype(int)
    assert np.abs(back - upright).mean() < 4


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2))])
def test_useless_landmarks(landmarks):
    with pytest.raises(InputError):
        alignment(landmarks)


def test_unknown_templates_and_squares_far_outside(picture):
    with pytest.raises(UsageError):
        alignment(np.asarray(FACES) * 64, "cats")
    for shift in (-1000.0, 1000.0):
        with pytest.raises(InputError, match="outside the picture"):
            warp(picture(32, 32), np.array([[1 / 32, 0, shift], [0, 1 / 32, 0]]), 32)
