"""`padinv edit`: directions on photographs, folders and inversion files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_cards import cards
from tiny_gallery import add_directions, random_direction

from padinv.runtime.editing import apply
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.region import named_mask, region_of_mask
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model

Edit = Callable[..., Any]


@pytest.fixture
def bundle(tiny_bundle: Path) -> Path:
    directions = {
        "smile": random_direction(1, "latent", "smile"),
        "pose": random_direction(2, "padding", "pose"),
        "hat": random_direction(3, "both", "hat"),
    }
    return add_directions(tiny_bundle, directions)


@pytest.fixture
def edit(run_cli: Callable[..., Any], bundle: Path) -> Edit:
    def run(*arguments: object) -> Any:
        return run_cli("edit", *arguments, "--model", bundle, "--threads", 1)

    return run


@pytest.fixture
def photos(tmp_path: Path, picture: Callable[..., Image.Image]) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    picture(30, 30, seed=1).save(folder / "a.png")
    picture(40, 30, seed=2).save(folder / "b.png")
    return folder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def inverted(bundle: Path, path: Path) -> tuple[Model, Inversion]:
    model = Model.load(bundle, "cpu", 1)
    return model, model.invert([Image.open(path)])


def test_one_direction_on_one_photograph(edit: Edit, bundle: Path, photos: Path, tmp_path: Path) -> None:
    result = edit("smile", photos / "a.png", "--out", tmp_path / "out", "--paste-back", "--strength", 0.5)
    assert result.code == 0, result.err
    assert "1 edited in" in result.out
    model, a = inverted(bundle, photos / "a.png")
    expected = model.generate(apply(a, random_direction(1, "latent"), "latent", 0.5))[0]
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "a.png.png"), expected)
    assert pixels(tmp_path / "out" / "a.png.photo.png").shape == (30, 30, 3)


def test_directions_are_added_up_on_folders_and_inversions(
    edit: Edit, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.safetensors"
    random_direction(9, "both", "").save(mine)
    model, b = inverted(bundle, photos / "b.png")
    b.save(tmp_path / "b.safetensors", "float32")
    call = (f"smile=0.5,pose=-1,{mine}=2", photos, tmp_path / "b.safetensors", "--out", tmp_path / "out", "--json")
    result = edit(*call)
    assert result.code == 0, result.err
    assert json.loads(result.out)["written"] == 3
    made = b
    for seed, space, strength in ((1, "latent", 0.5), (2, "padding", -1.0), (9, "both", 2.0)):
        made = apply(made, random_direction(seed, space), "both", strength)
    expected = model.generate(made)[0].astype(int)
    for name in ("b.png.png", "b.png"):  # of the photograph and of the inversion file
        assert np.abs(pixels(tmp_path / "out" / name) - expected).max() <= 1
    assert json.loads(edit(*call).out)["kept"] == 3


def test_the_library_does_what_the_command_does(edit: Edit, bundle: Path, photos: Path, tmp_path: Path) -> None:
    import padinv

    assert edit("smile=0.5,pose=-1", photos / "a.png", "--strength", 2, "--out", tmp_path / "out").code == 0
    model, a = inverted(bundle, photos / "a.png")
    expected = model.generate(padinv.edit(model, a, "smile=0.5,pose=-1", 2))[0]
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "a.png.png"), expected)


def test_several_strengths_make_several_pictures(edit: Edit, bundle: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = edit("pose", photos / "a.png", "--strength", "-1:1:3", "--out", out, "--report", "--save-inversions")
    assert result.code == 0, result.err
    model, a = inverted(bundle, photos / "a.png")
    for name, strength in (("a.png.-1.png", -1), ("a.png.+0.png", 0), ("a.png.png", 1)):
        expected = model.generate(apply(a, random_direction(2, "padding"), "padding", strength))[0]
        np.testing.assert_array_equal(pixels(out / name), expected)
    assert Inversion.load(out / "a.png.safetensors").rings[8] == pytest.approx(
        a.rings[8] + random_direction(2, "padding").rings[8], abs=5e-3
    )
    assert pixels(out / "contact-sheet.png").shape[1] > 4 * 16
    (card,) = cards((out / "report.html").read_text())
    assert [card["a"] is not None, card["b"] is not None, len(card["s"])] == [True, True, 2]


def test_each_direction_has_its_own_column(edit: Edit, bundle: Path, photos: Path, tmp_path: Path) -> None:
    """Fig. 4 of the paper: several directions of several pictures in one sheet."""
    out = tmp_path / "out"
    assert edit("smile,hat=0.5", photos, "--each", "--out", out).code == 0
    model, a = inverted(bundle, photos / "a.png")
    smile, hat = random_direction(1, "latent"), random_direction(3, "both")
    np.testing.assert_array_equal(pixels(out / "a.png.smile.png"), model.generate(apply(a, smile))[0])
    np.testing.assert_array_equal(pixels(out / "a.png.hat.png"), model.generate(apply(a, hat, "both", 0.5))[0])
    together = model.generate(apply(apply(a, smile), hat, "both", 0.5))[0].astype(int)
    assert np.abs(pixels(out / "a.png.png") - together).max() <= 1
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [
            "contact-sheet.png",
            "report.html",
            "results.jsonl",
            *(f"{n}.png{v}.png" for n in "ab" for v in ("", ".smile", ".hat")),
        ]
    )


def test_a_region_limits_where_padding_moves(edit: Edit, bundle: Path, photos: Path, tmp_path: Path) -> None:
    where = ("--region", "left", "--resolutions", "8", "--save-inversions")
    assert edit("hat", photos / "a.png", "--out", tmp_path / "named", *where).code == 0
    model, a = inverted(bundle, photos / "a.png")
    after = apply(a, random_direction(3, "both"))
    expected = region_of_mask(named_mask("left"), model.spec, [8]).limit(a, after)
    found = Inversion.load(tmp_path / "named" / "a.png.safetensors")
    for name, array in expected.arrays().items():
        np.testing.assert_allclose(found.arrays()[name], array, atol=4e-3)
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    drawn = edit("hat", photos, "--region", tmp_path / "mask.png", "--resolutions", "8", "--out", tmp_path / "drawn")
    assert drawn.code == 0, drawn.err
    difference = pixels(tmp_path / "drawn" / "a.png.png").astype(int) - pixels(tmp_path / "named" / "a.png.png")
    assert np.abs(difference).max() <= 1


def test_a_mask_of_the_photographs_size_is_cut_like_it(edit: Edit, photos: Path, tmp_path: Path) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[:, :20] = 255  # the photograph's left half is also that of its middle square
    Image.fromarray(mask).save(tmp_path / "mask.png")
    call = ("hat", photos / "b.png", "--no-sheet")
    assert edit(*call, "--region", tmp_path / "mask.png", "--out", tmp_path / "o1").code == 0
    assert edit(*call, "--region", "left", "--out", tmp_path / "o2").code == 0
    drawn, named = (pixels(tmp_path / o / "b.png.png").astype(int) for o in ("o1", "o2"))
    assert np.abs(drawn - named).max() <= 2
    whole = edit("hat", photos, "--region", tmp_path / "mask.png", "--out", tmp_path / "o3")
    assert whole.code == 1
    assert "has 40 x 30 pixels; it must be square" in whole.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("beard", "in"), 1, "the model tiny has no direction called 'beard'; it has hat, pose, smile"),
        (("smile", "nowhere"), 1, "nowhere does not exist"),
        (("smile=much", "in"), 2, "is not a strength"),
        (("smile", "in", "--strength", "0:1"), 2, "is not a range of strengths"),
        (("smile", "in", "--strength", "1,1"), 2, "give each strength once"),
        (("smile", "in", "--region", "nose"), 2, "neither a mask picture nor one of left, right"),
        (("smile", "in", "--resolutions", "64"), 2, "is not a resolution with padding coefficients"),
        (("other.safetensors", "in"), 1, "belongs to generator 2e2e2e2e2e2e"),
        (("in/a.png", "in"), 1, "cannot be read as a direction"),
    ],
)
def test_what_cannot_be_edited_is_one_sentence(
    edit: Edit,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    other = random_direction(1, "latent")
    Direction(other.wp, other.const, other.rings, "2e" * 32).save(tmp_path / "other.safetensors")
    result = edit(*arguments, "--out", "out")
    assert result.code == code, result.err
    assert sentence in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
