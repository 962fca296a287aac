"""`padinv info --padding`: the rings of a picture as heat maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from padinv.runtime.editing.operations import average
from padinv.runtime.model import Model
from padinv.runtime.reports.padding_picture import TILE, padding_distance, padding_picture


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return Model.load(tiny_bundle, "cpu", 1)


def test_the_average_image_has_nothing_to_show(model: Model) -> None:
    start = average(model.spec, model.constants(), model.generator_hash)
    assert all(not distance.any() for distance in padding_distance(model, start).values())
    picture = padding_picture(model, start, "average")
    assert picture.dtype == np.uint8
    assert picture.shape[1] > 4 * TILE


def test_a_position_that_moves_is_drawn_where_it_is(model: Model) -> None:
    """The 8 px ring, whose bottom row comes second: only its left end differs."""
    moved = average(model.spec, model.constants(), model.generator_hash)
    moved.rings[8][0, :, 10] = 3.0
    distance = padding_distance(model, moved)
    assert distance["pad_8"].argmax() == 10
    assert distance["pad_8"].max() == pytest.approx(3)
    plain = padding_picture(model, average(model.spec, model.constants(), model.generator_hash), "")
    changed = np.abs(padding_picture(model, moved, "").astype(int) - plain).sum(axis=2)
    tile = changed[:, -TILE - 20 : -20]  # the last tile, without the margin
    rows, columns = np.nonzero(tile[-TILE - 44 :] > 300)
    assert columns.max() < TILE / 10 + 2
    assert rows.min() > 0.7 * TILE


def test_info_draws_a_picture_and_an_inversion(
    run_cli: Callable[..., Any], tiny_bundle: Path, tmp_path: Path, picture: Callable[..., Image.Image], model: Model
) -> None:
    picture(20, 20).save(tmp_path / "a.png")
    inversion = model.invert([Image.open(tmp_path / "a.png")])
    inversion.save(tmp_path / "a.safetensors", "float32")
    expected = padding_distance(model, inversion)["pad_4"].max()
    for name in ("a.png", "a.safetensors"):
        out = tmp_path / f"{name}.drawing.png"
        call = ("info", "--padding", tmp_path / name, "--model", tiny_bundle, "--out", out)
        result = run_cli(*call, "--json")
        assert result.code == 0, result.err
        assert json.loads(result.out)["padding"]["pad_4"]["largest"] == pytest.approx(expected, rel=1e-4)
        assert Image.open(out).width > 4 * TILE
        assert "pad_4" in run_cli(*call).out.replace(" 4", "_4")
    (tmp_path / "mine.png").write_bytes(b"precious")
    kept = run_cli("info", "--padding", tmp_path / "a.png", "--model", tiny_bundle, "--out", tmp_path / "mine.png")
    assert kept.code == 1
    assert (tmp_path / "mine.png").read_bytes() == b"precious"
    missing = run_cli("info", "--padding", tmp_path / "none.png", "--model", tiny_bundle)
    assert missing.code == 1
    assert "none.png does not exist" in missing.err
