from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_bundle import GENERATOR_HASH, SPEC

from padinv.runtime import editing
from padinv.runtime.editing import Direction
from padinv.runtime.editing.direction import FORMAT
from padinv.runtime.errors import InputError, MismatchError, OutputError, UsageError
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


def random_inversion(n: int = 1, seed: int = 0, generator_hash: str = GENERATOR_HASH) -> Inversion:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.standard_normal((n, *shape)).astype(np.float32) for name, shape in SPEC.latent_shapes.items()}
    items = [{"source": f"{seed}-{i}"} for i in range(n)]
    return Inversion.from_arrays(arrays, generator_hash, items)


def unchanged(function, *inversions: Inversion):
    """Call `function` and check that none of the arguments was written to."""
    before = [inversion.copy() for inversion in inversions]
    result = function(*inversions)
    for inversion, copy in zip(inversions, before, strict=True):
        for name, array in inversion.arrays().items():
            np.testing.assert_array_equal(array, copy.arrays()[name])
    for name, array in result.arrays().items():
        assert not any(np.shares_memory(array, inversion.arrays()[name]) for inversion in inversions)
    return result


def test_blend_takes_latents_of_a_and_padding_of_b():
    a, b = random_inversion(3, 1), random_inversion(3, 2)
    result = unchanged(editing.blend, a, b)
    np.testing.assert_allclose(result.wp, a.wp, atol=1e-6)
    np.testing.assert_array_equal(result.const, b.const)
    for r in b.rings:
        np.testing.assert_array_equal(result.rings[r], b.rings[r])
    assert result.items == b.items


def test_blend_strength_and_layers():
    a, b = random_inversion(1, 1), random_inversion(1, 2)
    result = editing.blend(a, b, strength=0.25, layers=[0, 2])
    np.testing.assert_allclose(result.wp[:, [0, 2]], (0.75 * b.wp + 0.25 * a.wp)[:, [0, 2]], atol=1e-6)
    others = [i for i in range(SPEC.num_layers) if i not in (0, 2)]
    np.testing.assert_array_equal(result.wp[:, others], b.wp[:, others])
    np.testing.assert_array_equal(editing.blend(a, b, strength=0).wp, b.wp)


def test_one_goes_with_many_on_either_side():
    one, many = random_inversion(1, 1), random_inversion(4, 2)
    to_many, from_many = editing.blend(one, many), editing.blend(many, one)
    assert len(to_many) == len(from_many) == 4
    for i in range(4):
        np.testing.assert_allclose(to_many.wp[i], one.wp[0], atol=1e-6)
        np.testing.assert_array_equal(to_many.const[i], many.const[i])
        np.testing.assert_allclose(from_many.wp[i], many.wp[i], atol=1e-6)
        np.testing.assert_array_equal(from_many.const[i], one.const[0])
    with pytest.raises(MismatchError, match="2 and 4 images do not pair"):
        editing.blend(random_inversion(2), many)


def test_style_mixing_takes_the_later_latents():
    a, b = random_inversion(1, 1), random_inversion(1, 2)
    start = round(SPEC.num_layers * 7 / 18)
    result = editing.style_mixing(a, b)
    np.testing.assert_array_equal(result.wp[:, :start], b.wp[:, :start])
    np.testing.assert_allclose(result.wp[:, start:], a.wp[:, start:], atol=1e-6)
    with pytest.raises(UsageError, match=f"has the layers 0-{SPEC.num_layers - 1}"):
        editing.style_mixing(a, b, SPEC.num_layers)


def test_style_mixing_takes_the_last_11_of_the_papers_18_codes():
    a = Inversion(np.ones((1, 18, 4)), np.zeros((1, 2, 4, 4)), {})
    b = Inversion(np.zeros((1, 18, 4)), np.zeros((1, 2, 4, 4)), {})
    assert editing.style_mixing(a, b).wp[0, :, 0].tolist() == [0] * 7 + [1] * 11


@pytest.mark.parametrize("space", editing.SPACES)
def test_a_direction_turns_a_into_its_edited_version_in_its_space(space):
    a, edited = random_inversion(1, 1), random_inversion(1, 2)
    direction = editing.difference(a, edited)
    moved = unchanged(lambda inversion: editing.apply(inversion, direction, space), a)
    for name, array in moved.arrays().items():
        expected = edited if space == "both" or (name == "wp") == (space == "latent") else a
        np.testing.assert_allclose(array, expected.arrays()[name], atol=1e-6)


def test_difference_of_several_pairs_is_the_mean_and_strength_is_linear():
    a, edited = random_inversion(5, 1), random_inversion(5, 2)
    direction = editing.difference(a, edited)
    np.testing.assert_allclose(direction.wp, (edited.wp - a.wp).mean(axis=0), atol=1e-6)
    target = random_inversion(2, 3)
    half, whole = editing.apply(target, direction, strength=0.5), editing.apply(target, direction)
    for name, array in target.arrays().items():
        np.testing.assert_allclose(2 * (half.arrays()[name] - array), whole.arrays()[name] - array, atol=1e-5)
    with pytest.raises(UsageError, match="finite"):
        editing.apply(target, direction, strength=float("nan"))
    with pytest.raises(UsageError, match="space must be one of padding, latent, both, not 'wp'"):
        editing.apply(target, direction, "wp")  # type: ignore[arg-type]


@pytest.mark.parametrize("space", editing.SPACES)
@pytest.mark.parametrize("fixed", ["first", "second"])
def test_interpolate_moves_one_space_and_hits_both_ends(space, fixed):
    a, b = random_inversion(1, 1), random_inversion(1, 2)
    still = a if fixed == "first" else b
    line = unchanged(lambda x, y: editing.interpolate(x, y, 5, space, fixed), a, b)
    assert len(line) == 5
    for name, array in line.arrays().items():
        if space == "both" or (name == "wp") == (space == "latent"):
            np.testing.assert_array_equal(array[0], a.arrays()[name][0])
            np.testing.assert_array_equal(array[4], b.arrays()[name][0])
            np.testing.assert_allclose(array[1], (0.75 * a.arrays()[name] + 0.25 * b.arrays()[name])[0], atol=1e-6)
        else:
            assert (array == still.arrays()[name]).all()
    assert [item["position"] for item in line.items] == [0, 0.25, 0.5, 0.75, 1]


def test_interpolate_refuses_nonsense():
    a = random_inversion(1)
    with pytest.raises(UsageError, match="at least 2 steps, not 1"):
        editing.interpolate(a, a, 1)
    with pytest.raises(MismatchError, match="one image at each end, not 1 and 2"):
        editing.interpolate(a, random_inversion(2))


def test_the_average_image_is_what_truncation_zero_gives(tiny_bundle):
    model = Model.load(tiny_bundle, "cpu", 1)
    average = editing.average(model.spec, model.constants(), model.generator_hash)
    sampled = model.sample([3], truncation=0)
    for name, array in average.arrays().items():
        np.testing.assert_allclose(array, sampled.arrays()[name], atol=1e-7)
    np.testing.assert_array_equal(model.generate(average), model.generate(sampled))


@pytest.mark.parametrize("call", [editing.blend, editing.difference, editing.interpolate])
def test_two_generators_do_not_mix(call):
    with pytest.raises(MismatchError, match=r"belongs to generator abcd, not to generator 1f1f1f1f1f1f"):
        call(random_inversion(1), random_inversion(1, generator_hash="abcd"))


def test_layers_are_read_like_ranges():
    assert editing.parse_layers("0-2, 5", 8) == [0, 1, 2, 5]
    assert editing.parse_layers("6-", 8) == [6, 7]
    for bad, sentence in [("", "names no layers"), ("a", "names no layers"), ("4-2", "not a range"), ("0-8", "0-7")]:
        with pytest.raises(UsageError, match=sentence):
            editing.parse_layers(bad, 8)


def test_a_direction_survives_its_file(tmp_path):
    direction = editing.difference(random_inversion(1, 1), random_inversion(1, 2))
    direction.info = {"space": "padding", "sources": ["a.png", "ä.png"]}
    direction.save(tmp_path / "smile.safetensors")
    loaded = Direction.load(tmp_path / "smile.safetensors")
    for name, array in direction.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
    assert loaded.info == direction.info
    assert loaded.space == "padding"
    assert loaded.generator_hash == GENERATOR_HASH


def test_a_direction_of_another_generator_is_refused_naming_both():
    direction = editing.difference(random_inversion(1, 1), random_inversion(1, 2))
    with pytest.raises(MismatchError, match=r"generator 1f1f1f1f1f1f, and the pictures to generator abcd"):
        editing.apply(random_inversion(1, generator_hash="abcd"), direction)


def test_files_that_are_no_directions(tmp_path):
    path = tmp_path / "d.safetensors"
    good = {name: np.zeros(shape, np.float32) for name, shape in SPEC.latent_shapes.items()}
    metadata = {"format": FORMAT, "generator_hash": "", "info": "{}"}

    def refused(sentence, arrays, **changed):
        save_file(arrays, path, metadata={**metadata, **changed})
        with pytest.raises(InputError, match=sentence):
            Direction.load(path)

    refused("not a direction; make one with", good, format="padinv-inversion-1")
    refused("not finite", {**good, "wp": np.full(SPEC.wp_shape, np.nan, np.float32)})
    refused("const has shape", {**good, "const": np.zeros((3, 5, 5), np.float32)})
    refused("notes are not a JSON object", good, info="[" * 100_000)
    refused("not part of an inversion", {**good, "pad_x": good["pad_4"]})
    refused("has type I32", {**good, "wp": np.zeros(SPEC.wp_shape, np.int32)})
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match="cannot be read as a direction"):
        Direction.load(path)
    with pytest.raises(InputError, match="cannot be read as a direction: it is a folder"):
        Direction.load(tmp_path)
    bad = Direction(**{"wp": np.full(SPEC.wp_shape, np.inf), "const": good["const"], "rings": {4: good["pad_4"]}})
    with pytest.raises(OutputError, match="not finite"):
        bad.save(tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_sixteen_threads_share_one_model(tiny_bundle):
    model = Model.load(tiny_bundle, "cpu", 1)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (16, 24, 24, 3), dtype=np.uint8)

    def edit(i: int) -> tuple[np.ndarray, ...]:
        a, b = model.invert(pictures[i]), model.invert(pictures[(i + 1) % 16])
        direction = editing.difference(a, b)
        return tuple(
            model.generate(inversion)
            for inversion in (editing.blend(a, b), editing.apply(a, direction, "padding"), editing.interpolate(a, b, 3))
        )

    alone = [edit(i) for i in range(16)]
    fresh = Model.load(tiny_bundle, "cpu", 1)  # its sessions open under the threads' feet
    model = fresh
    with ThreadPoolExecutor(16) as pool:
        shared = list(pool.map(edit, list(range(16)) * 4))
    for i, results in enumerate(shared):
        for found, expected in zip(results, alone[i % 16], strict=True):
            np.testing.assert_array_equal(found, expected)


def test_editing_never_imports_torch():
    import subprocess
    import sys

    code = "import sys, padinv.runtime.editing, padinv.runtime.editing.direction; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_grid_has_latents_down_and_padding_across():
    a, b = random_inversion(1, 1), random_inversion(1, 2)
    grid = editing.interpolation_grid(a, b, 3)
    assert len(grid) == 9
    np.testing.assert_allclose(grid.wp[3:6], np.repeat((a.wp + b.wp) / 2, 3, axis=0), atol=1e-6)
    np.testing.assert_allclose(grid.rings[8][[1, 4, 7]], np.repeat((a.rings[8] + b.rings[8]) / 2, 3, axis=0), atol=1e-6)
    blended = editing.blend(a, b)  # the upper right corner
    for name, array in blended.arrays().items():
        np.testing.assert_allclose(grid.arrays()[name][2], array[0], atol=1e-6)
    for corner, end in ((0, a), (8, b)):
        for name, array in end.arrays().items():
            np.testing.assert_array_equal(grid.arrays()[name][corner], array[0])
