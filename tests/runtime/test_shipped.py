"""What ships inside the package: the built-in model and the demo pictures."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from json_document import json_document
from PIL import Image

from padinv.runtime import Model
from padinv.runtime.bundle import builtin_bundle, read_bundle
from padinv.runtime.demo_pictures import demo_folder
from padinv.runtime.describe import describe_bundle
from padinv.runtime.editing.gallery import gallery_names, load_direction

MAX_BYTES = 25 << 20  # of the model: every clone carries each of its revisions


def test_the_built_in_model_is_whole_and_says_what_it_is():
    facts = describe_bundle(builtin_bundle())
    assert facts["intact"], facts["files"]
    assert facts["name"] == "faces128"
    assert facts["resolution"] == 128
    assert facts["template"] == "faces"
    assert re.fullmatch(r"[0-9a-f]{64}", facts["generator_hash"])
    assert sum(entry["bytes"] for entry in facts["files"].values()) < MAX_BYTES
    listed = set(facts["files"]) | {"model.json"}
    assert {
        path.relative_to(builtin_bundle()).as_posix() for path in builtin_bundle().rglob("*") if path.is_file()
    } == listed


def test_the_model_card_names_data_licence_and_limits():
    card = (builtin_bundle() / "MODEL_CARD.md").read_text(encoding="utf-8")
    for word in ("FairFace", "CC BY 4.0", "seed", "misuse", "LPIPS", "MSE"):
        assert word.lower() in card.lower(), word


@pytest.mark.parametrize("name", gallery_names(read_bundle()))
def test_a_shipped_direction_is_measured_and_within_bounds(name):
    """It moves its attribute and keeps identity and background, on photographs that were held out."""
    bundle = read_bundle()
    figures = json.loads(bundle.read_bytes("directions/figures.json"))
    assert figures["generator_hash"] == bundle.generator_hash
    direction = load_direction(bundle, name)
    assert direction.name == name
    assert all(direction.info[key] for key in ("unit", "origin", "licence", "accuracy", "cost"))
    effect = figures["directions"][name]["+1"]
    assert effect["shift"] > 0.2
    assert effect["moved"] > 0.8
    assert effect["identity"] >= 0.8
    assert effect["background"] <= 1.5


def test_every_demo_picture_is_listed_with_source_and_licence():
    folder = demo_folder()
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))["pictures"]
    assert {entry["file"] for entry in index} == {path.name for path in folder.iterdir()} - {"index.json"}
    assert len(index) >= 26
    assert all(entry["source"] and entry["licence"] for entry in index)
    synthetic = [entry for entry in index if entry["kind"] == "synthetic"]
    assert len(synthetic) >= 24
    assert all("synthetic" in entry["file"] for entry in synthetic)
    assert 2 * sum(bool(entry["painted"]) for entry in synthetic) >= len(synthetic)


def test_the_demo_inverts_all_of_them(run_cli, tmp_path):
    result = run_cli("demo", "--out", tmp_path / "demo", "--json")
    assert result.code == 0, result.err
    summary = json_document(result)
    assert summary["written"] >= 26
    assert summary["mse"] < 0.06
    assert (tmp_path / "demo" / "report.html").is_file()


def test_padding_carries_part_of_the_reconstruction():
    model = Model.load()
    with Image.open(demo_folder() / "eileen-collins.png") as image:
        inversion = model.invert([image])
    without = inversion.copy()
    without.rings = {r: np.zeros_like(ring) for r, ring in inversion.rings.items()}
    assert np.abs(model.generate_float(inversion) - model.generate_float(without)).mean() > 0.02
