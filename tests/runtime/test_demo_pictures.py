from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = Path(__file__).parents[2] / "recipes" / "make_demo_pictures.py"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("make_demo_pictures", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("what", ["hat-brim", "hand", "microphone", "glasses", "caption"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_painted_things_cover_a_part_and_leave_the_rest(recipe, picture, what, seed):
    image = picture(64, 64, seed=seed)
    painted = recipe.paint(image, what, seed)
    changed = (np.asarray(painted) != np.asarray(image)).any(axis=2).mean()
    assert 0.05 < changed < 0.6
    assert np.array_equal(np.asarray(painted), np.asarray(recipe.paint(image, what, seed)))


def test_portraits_are_aligned_to_the_template(recipe):
    from padinv.runtime.alignment.templates import FACES

    for facts in recipe.PORTRAITS.values():
        points = np.asarray(facts["landmarks"])
        transform = recipe.aligning(points)
        residual = points @ transform[:, :2].T + transform[:, 2] - np.asarray(FACES)
        assert np.abs(residual).max() < 0.06


def test_the_recipe_makes_the_whole_set(recipe, tmp_path, monkeypatch, capsys):
    from tiny_bundle import write_tiny_bundle

    from padinv.runtime.spec import ModelSpec

    bundle = write_tiny_bundle(tmp_path / "b", ModelSpec(resolution=64, channels=(6, 5, 4, 4, 4), z_dim=7, w_dim=8))
    monkeypatch.setattr(sys, "argv", ["recipe", "--model", str(bundle), "--out", str(tmp_path / "demo")])
    recipe.main()
    index = json.loads((tmp_path / "demo" / "index.json").read_text())["pictures"]
    assert {entry["file"] for entry in index} == {path.name for path in (tmp_path / "demo").glob("*.png")}
    synthetic = [entry for entry in index if entry["kind"] == "synthetic"]
    assert len(synthetic) >= 24
    assert 2 * sum(entry["painted"] is not None for entry in synthetic) >= len(synthetic)
    assert all(entry["file"].startswith("synthetic-") for entry in synthetic)
    assert len({entry["seed"] for entry in synthetic}) == len(synthetic)
    assert all(entry["licence"] and entry["source"] for entry in index)
    for entry in index:
        with Image.open(tmp_path / "demo" / entry["file"]) as image:
            assert image.size == ((64, 64) if entry["kind"] == "synthetic" else (128, 128))
