"""Edits as files: what they do, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from padinv.runtime.editing import Direction, apply
from padinv.runtime.editing.gallery import Term
from padinv.runtime.editing.saved_edit import FORMAT, Borrowed, SavedEdit, SavedEditChange, is_saved_edit
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return Model.load(tiny_bundle)


def _random(model: Model, count: int, seed: int) -> Inversion:
    """Codes and padding that are random everywhere."""
    rng = np.random.default_rng(seed)
    shapes = model.spec.latent_shapes
    arrays = {name: rng.standard_normal((count, *shape)).astype(np.float32) for name, shape in shapes.items()}
    return Inversion.from_arrays(arrays, model.generator_hash)


def _direction(model: Model, seed: int, space: str) -> Direction:
    one = _random(model, 1, seed)
    rings = {r: ring[0] for r, ring in one.rings.items()}
    return Direction(one.wp[0], one.const[0], rings, model.generator_hash, {"space": space})


@pytest.fixture
def edit(model: Model) -> SavedEdit:
    mask = np.zeros((8, 8), np.float32)
    mask[:4] = 1
    borrowed = Borrowed(
        inversion=_random(model, 1, 9), name="b.jpg", layers=(1, 2), latents=0.5, padding=0.75, resolutions=(4, 8),
        mask=mask,
    )  # fmt: skip
    terms = [Term("smile", _direction(model, 5, "latent"), 0.8), Term("jaw", _direction(model, 6, "padding"), -0.3)]
    return SavedEdit.of(model.generator_hash, borrowed, terms)


def test_codes_and_padding_are_borrowed_where_it_says_and_nowhere_else(model: Model, edit: SavedEdit) -> None:
    assert edit.borrowed is not None
    start, other = _random(model, 3, 1), edit.borrowed.inversion
    made = edit.borrowed.apply(start, model.spec)
    assert (made.wp[:, [0, 3]] == start.wp[:, [0, 3]]).all()
    np.testing.assert_allclose(made.wp[:, 1:3], (start.wp[:, 1:3] + other.wp[:, 1:3]) / 2, rtol=1e-5, atol=1e-6)
    top = start.const[:, :, :2] + 0.75 * (other.const[:, :, :2] - start.const[:, :, :2])
    np.testing.assert_allclose(made.const[:, :, :2], top, rtol=1e-5, atol=1e-6)
    assert (made.const[:, :, 2:] == start.const[:, :, 2:]).all()
    ring = made.rings[4] - start.rings[4]  # top row of 6, bottom row of 6, left column of 4, right column of 4
    assert (ring[:, :, :6] != 0).all()
    assert (ring[:, :, 6:12] == 0).all()
    assert [bool((ring[:, :, i] != 0).all()) for i in range(12, 20)] == [True, True, False, False] * 2


def test_directions_come_after_what_is_borrowed_each_in_its_space(model: Model, edit: SavedEdit) -> None:
    start = _random(model, 2, 1)
    assert edit.borrowed is not None
    wanted = edit.borrowed.apply(start, model.spec)
    wanted = apply(wanted, _direction(model, 5, "latent"), "latent", 0.8)
    wanted = apply(wanted, _direction(model, 6, "padding"), "padding", -0.3)
    made = edit.apply(start, model.spec)
    for name, array in made.arrays().items():
        np.testing.assert_allclose(array, wanted.arrays()[name], rtol=1e-5, atol=1e-5)


def test_a_saved_edit_gives_the_same_bits(model: Model, edit: SavedEdit, tmp_path: Path) -> None:
    edit.save(tmp_path / "e.safetensors")
    start = _random(model, 2, 3)
    change = SavedEditChange.load(tmp_path / "e.safetensors", model.generator_hash, model.spec)
    for name, array in change(start)[""].arrays().items():
        assert (array == edit.apply(start, model.spec).arrays()[name]).all(), name
    assert dict(change.edit.strengths) == {"smile": 0.8, "jaw": -0.3}
    assert change.edit.borrowed is not None
    assert change.edit.borrowed.name == "b.jpg"
    assert is_saved_edit(tmp_path / "e.safetensors")
    assert not is_saved_edit(tmp_path / "missing")


def test_an_edit_of_nothing_is_saved_too(model: Model, tmp_path: Path) -> None:
    SavedEdit.of(model.generator_hash, None, []).save(tmp_path / "e.safetensors")
    loaded = SavedEdit.load(tmp_path / "e.safetensors")
    start = _random(model, 1, 3)
    assert loaded.changes_nothing
    assert (loaded.apply(start, model.spec).wp == start.wp).all()


def test_the_recipe_follows_every_value(model: Model, edit: SavedEdit) -> None:
    def recipe(one: SavedEdit) -> object:
        return SavedEditChange(one, model.spec, "e").recipe()

    assert edit.borrowed is not None
    from dataclasses import replace

    other = replace(edit, borrowed=replace(edit.borrowed, padding=0.7))
    masked = replace(edit, borrowed=replace(edit.borrowed, mask=None))
    assert len({str(recipe(one)) for one in (edit, other, masked, replace(edit, direction=None))}) == 4
    assert recipe(edit) == recipe(replace(edit))


def _damaged(path: Path, out: Path, **changes: object) -> Path:
    """A copy of a saved edit with other metadata (a text) or arrays."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    for name, value in changes.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif name == "borrowed":
            metadata["notes"] = json.dumps({**json.loads(metadata["notes"]), "borrowed": value})
        else:
            metadata[name] = value
    save_file(arrays, out, metadata)
    return out


_BORROWED = {"name": "b", "layers": [1], "latents": 1.0, "padding": 1.0, "resolutions": [4]}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "padinv-direction-1"},
        {"notes": "["},
        {"notes": "[" * 70_000},
        {"notes": "[]"},
        {"notes": '{"strengths": {"a": "x"}}'},
        {"borrowed": {}},
        {"borrowed": {**_BORROWED, "layers": [-1]}},
        {"borrowed": {**_BORROWED, "latents": None}},
        {"borrowed": {**_BORROWED, "resolutions": ["4"]}},
        {"mask": np.zeros((4, 5), np.float32)},
        {"mask": np.full((4, 4), 2, np.float32)},
        {"mask": np.full((4, 4), np.nan, np.float32)},
        {"direction.wp": np.zeros(3, np.float32)},
    ],
)
def test_a_damaged_edit_is_refused_in_a_sentence(edit: SavedEdit, tmp_path: Path, changes: dict[str, object]) -> None:
    edit.save(tmp_path / "e.safetensors")
    path = _damaged(tmp_path / "e.safetensors", tmp_path / "d.safetensors", **changes)
    with pytest.raises(InputError, match=r"d\.safetensors is (not a usable edit|a safetensors file, but not a saved)"):
        SavedEdit.load(path)


def test_an_edit_of_another_generator_or_shape_is_refused(model: Model, edit: SavedEdit, tmp_path: Path) -> None:
    edit.save(tmp_path / "e.safetensors")
    with pytest.raises(MismatchError, match="belongs to generator"):
        SavedEditChange.load(tmp_path / "e.safetensors", "0" * 64, model.spec)
    for wrong in ({"layers": [99]}, {"resolutions": [64]}):
        path = _damaged(tmp_path / "e.safetensors", tmp_path / "d.safetensors", borrowed={**_BORROWED, **wrong})
        with pytest.raises(MismatchError, match="does not fit this model"):
            SavedEditChange.load(path, model.generator_hash, model.spec)


def test_a_mask_that_leaves_nothing_to_move_is_wrong_use(model: Model) -> None:
    mask = np.zeros((8, 8), np.float32)
    borrowed = Borrowed(inversion=_random(model, 1, 2), resolutions=(4,), mask=mask)
    with pytest.raises(UsageError, match="nothing would move"):
        borrowed.apply(_random(model, 1, 3), model.spec)


def test_the_format_is_named_in_the_file(edit: SavedEdit, tmp_path: Path) -> None:
    edit.save(tmp_path / "e.safetensors")
    assert FORMAT.encode() in (tmp_path / "e.safetensors").read_bytes()[:2000]
