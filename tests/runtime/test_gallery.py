from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_bundle import GENERATOR_HASH
from tiny_gallery import add_directions, random_direction

from padinv.runtime.bundle import Bundle, read_bundle
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.gallery import (
    Term,
    check_name,
    combined,
    gallery_names,
    load_direction,
    parse_edit,
    parse_strengths,
)
from padinv.runtime.errors import BundleError, InputError, MismatchError, UsageError


@pytest.fixture
def gallery(tiny_bundle: Path) -> Bundle:
    """The tiny bundle with two directions, smile (latents) and pose (padding)."""
    add_directions(
        tiny_bundle,
        {"smile": random_direction(1, "latent", "smile"), "pose": random_direction(2, "padding", "pose")},
    )
    return read_bundle(tiny_bundle)


def test_a_bundles_directions_are_found_by_name(gallery: Bundle) -> None:
    assert gallery_names(gallery) == ["pose", "smile"]
    smile = load_direction(gallery, "smile")
    np.testing.assert_allclose(smile.wp, random_direction(1, "latent").wp, atol=2e-3)
    with pytest.raises(InputError, match="has no direction called 'hat'; it has pose, smile"):
        load_direction(gallery, "hat")
    (gallery.folder / "directions" / "pose.safetensors").write_bytes(b"changed")
    with pytest.raises(BundleError, match="has changed since the bundle was written"):
        load_direction(gallery, "pose")


def test_directions_are_combined_with_their_strengths_in_their_own_spaces(gallery: Bundle, tmp_path: Path) -> None:
    both = random_direction(3, "both")
    both.info["space"] = "latent"  # what was chosen when it was made wins over what the file holds
    path = tmp_path / "mine, with=odd name.safetensors"
    both.save(path)
    terms = parse_edit("smile=0.5,pose=-2", gallery) + parse_edit(str(path), gallery)
    assert [(term.label, term.strength) for term in terms] == [
        ("smile", 0.5), ("pose", -2.0), ("mine, with=odd name", 1.0)
    ]  # fmt: skip
    total = combined(terms)
    smile, pose = (load_direction(gallery, name) for name in ("smile", "pose"))
    np.testing.assert_allclose(total.wp, 0.5 * smile.wp + both.wp, atol=1e-6)
    np.testing.assert_allclose(total.rings[8], -2 * pose.rings[8], atol=1e-6)
    np.testing.assert_allclose(total.const, -2 * pose.const, atol=1e-6)
    both.save(tmp_path / "plain.safetensors")
    assert parse_edit(f"{tmp_path}/plain.safetensors=2", gallery)[0].strength == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("smile=x", "'x' in 'smile=x' is not a strength"),
        ("smile=inf", "is not a strength"),
        ("", "does not name directions"),
        ("smile,,pose", "does not name directions"),
        ("smile=1,smile=2", "smile is given more than once"),
        (",".join(["smile"] * 40), "at most 32 can be combined"),
    ],
)
def test_what_names_no_edit_is_wrong_use(gallery: Bundle, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_edit(text, gallery)


def test_a_direction_of_another_generator_or_shape_is_refused(gallery: Bundle, tmp_path: Path) -> None:
    other = random_direction(1, "latent")
    other.generator_hash = "2e" * 32
    other.save(tmp_path / "other.safetensors")
    with pytest.raises(MismatchError, match="belongs to generator 2e2e2e2e2e2e, and the pictures to generator 1f1f1f"):
        load_direction(gallery, str(tmp_path / "other.safetensors"))
    odd = Direction(np.ones((6, 4)), np.ones((6, 4, 4)), {}, GENERATOR_HASH)
    odd.save(tmp_path / "odd.safetensors")
    with pytest.raises(MismatchError, match="has other shapes than this model's"):
        load_direction(gallery, str(tmp_path / "odd.safetensors"))
    with pytest.raises(MismatchError, match="differ in the shape of wp"):
        combined([Term("a", random_direction(1, "both")), Term("b", odd)])


def test_strengths_are_a_number_a_list_or_a_range() -> None:
    assert parse_strengths("0.8") == [0.8]
    assert parse_strengths("-1,0,2") == [-1, 0, 2]
    assert parse_strengths("-1:1:5") == [-1, -0.5, 0, 0.5, 1]
    for text in ("-1:1", "-1:1:1", "-1:1:x", "0:1:1000"):
        with pytest.raises(UsageError, match="is not a range of strengths"):
            parse_strengths(text)
    with pytest.raises(UsageError, match="is not a strength"):
        parse_strengths("strong")


def test_names_can_be_typed_and_be_files() -> None:
    assert check_name("open-mouth-2") == "open-mouth-2"
    for name in ("", "Smile", "../x", "a b", "-x", "x" * 49):
        with pytest.raises(UsageError, match="is not a valid name for a direction"):
            check_name(name)


def test_zero_arrays_cost_no_space_and_come_back(tmp_path: Path) -> None:
    direction = random_direction(1, "latent", "smile")
    direction.save(tmp_path / "smile.safetensors")
    assert (tmp_path / "smile.safetensors").stat().st_size < 4 * direction.wp.size + 1000
    found = Direction.load(tmp_path / "smile.safetensors")
    for name, array in direction.arrays().items():
        np.testing.assert_allclose(found.arrays()[name], array, rtol=1e-6)
    assert found.name == "smile"


@pytest.mark.parametrize(
    ("zeros", "sentence"),
    [
        ({"const": [16000, 1 << 20, 16]}, "larger than those of any model"),
        ({"const": [-1, 4, 4]}, "is not a shape"),
        ({"const": "much"}, "is not a shape"),
        ({"const": [True, 4, 4]}, "is not a shape"),
        ({"hat": [4, 4]}, "not part of an inversion"),
        ([1], "not a JSON object"),
    ],
)
def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path, zeros: object, sentence: str) -> None:
    path = tmp_path / "hostile.safetensors"
    metadata = {"format": "padinv-direction-1", "zeros": json.dumps(zeros)}
    arrays = {"wp": np.ones((6, 8), np.float32)}
    if "hat" in str(zeros):
        arrays["const"] = np.ones((6, 4, 4), np.float32)
    save_file(arrays, path, metadata=metadata)
    with pytest.raises(InputError, match=sentence):
        Direction.load(path)
