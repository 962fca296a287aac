"""Painted objects: drawn where the mask says, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from padinv.reproduce.painted_objects import OBJECTS, paint_object


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_changes_its_mask_only_and_the_same_seed_draws_the_same(name: str) -> None:
    face = Image.new("RGB", (128, 128), (200, 170, 150))
    picture, mask = paint_object(face, name, seed=3)
    before, after = np.asarray(face, np.int16), np.asarray(picture, np.int16)
    assert mask.shape == (128, 128)
    assert 0.02 < mask.mean() < 0.4
    assert np.abs(after - before)[mask == 0].max() == 0
    assert np.abs(after - before)[mask > 0.9].mean() > 5
    assert np.array_equal(after, np.asarray(paint_object(face, name, seed=3)[0]))
    assert not np.array_equal(after, np.asarray(paint_object(face, name, seed=4)[0]))


def test_an_unknown_object_is_an_error() -> None:
    with pytest.raises(KeyError):
        paint_object(Image.new("RGB", (64, 64)), "umbrella")
