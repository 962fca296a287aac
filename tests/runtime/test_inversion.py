from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from padinv.runtime import Inversion
from padinv.runtime.errors import InputError, MismatchError, OutputError, UsageError

ITEM = {"source": "a.jpg", "size": [640, 480], "transform": None, "fit": "crop", "box": [80.0, 0.0, 560.0, 480.0]}


def make(n: int = 3, seed: int = 0, generator_hash: str = "ab" * 32) -> Inversion:
    rng = np.random.default_rng(seed)
    rings = {4: rng.standard_normal((n, 6, 20)), 8: rng.standard_normal((n, 5, 36))}
    return Inversion(
        rng.standard_normal((n, 6, 8)),
        rng.standard_normal((n, 6, 4, 4)),
        rings,
        generator_hash,
        [{**ITEM, "source": f"{i}.jpg"} for i in range(n)],
    )


def same(a: Inversion, b: Inversion, tolerance: float = 0.0) -> bool:
    return (
        list(a.arrays()) == list(b.arrays())
        and all(np.allclose(x, b.arrays()[k], rtol=tolerance, atol=0) for k, x in a.arrays().items())
        and a.generator_hash == b.generator_hash
        and a.items == b.items
    )


def test_arrays_carry_the_graph_names_and_come_back():
    inversion = make()
    assert list(inversion.arrays()) == ["wp", "const", "pad_4", "pad_8"]
    assert all(array.dtype == np.float32 for array in inversion.arrays().values())
    assert same(Inversion.from_arrays(inversion.arrays(), inversion.generator_hash, inversion.items), inversion)


def test_indexing_gives_batches():
    inversion = make(4)
    assert len(inversion[2]) == 1
    assert inversion[-1].items[0]["source"] == "3.jpg"
    assert np.array_equal(inversion[1:3].wp, inversion.wp[1:3])
    assert [part.items[0]["source"] for part in inversion] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [item["source"] for item in inversion[[3, 0]].items] == ["3.jpg", "0.jpg"]
    assert [item["source"] for item in inversion[np.array([False, True, False, True])].items] == ["1.jpg", "3.jpg"]
    assert same(Inversion.concat(list(inversion)), inversion)
    with pytest.raises(IndexError):
        inversion[4]


def test_a_copy_shares_nothing():
    inversion = make()
    copy = inversion.copy()
    copy.wp[:] = 0
    copy.rings[4][:] = 0
    copy.items[0]["size"][0] = 1
    assert same(inversion, make())


def test_float32_files_are_exact_and_float16_files_close(tmp_path):
    inversion = make()
    inversion.save(tmp_path / "exact.safetensors", dtype="float32")
    assert same(Inversion.load(tmp_path / "exact.safetensors"), inversion)
    inversion.save(tmp_path / "half.safetensors")
    assert same(Inversion.load(tmp_path / "half.safetensors"), inversion, tolerance=2**-10)
    assert (tmp_path / "half.safetensors").stat().st_size < (tmp_path / "exact.safetensors").stat().st_size


def test_values_beyond_float16_are_refused_and_nothing_is_left(tmp_path):
    inversion = make()
    inversion.wp[0, 0, 0] = 1e6
    with pytest.raises(OutputError, match="not finite in float16; save with dtype='float32'"):
        inversion.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
    inversion.save(tmp_path / "a.safetensors", dtype="float32")
    assert same(Inversion.load(tmp_path / "a.safetensors"), inversion)
    with pytest.raises(UsageError):
        inversion.save(tmp_path / "b.safetensors", dtype="float64")


def test_items_that_are_no_json_are_refused(tmp_path):
    inversion = make(1)
    inversion.items[0]["transform"] = np.zeros((2, 3))
    with pytest.raises(OutputError, match="JSON does not know"):
        inversion.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_different_generators_are_not_joined():
    with pytest.raises(MismatchError, match=r"generator 123456789abc.*generator abababababab"):
        Inversion.concat([make(), make(generator_hash="123456789abcdef")])
    with pytest.raises(UsageError):
        Inversion.concat([])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("wp", (3, 6)),
        ("wp", (2, 6, 8)),
        ("const", (3, 6, 4, 5)),
        ("pad_4", (3, 6, 21)),
        ("pad_4", (3, 20)),
        ("pad_6", (3, 6, 28)),
        ("pad_2048", (3, 1, 8196)),
        ("pad_08", (3, 5, 36)),
        ("noise", (3, 4)),
    ],
)
def test_shapes_that_do_not_belong_together(tmp_path, name, shape):
    arrays = {**make().arrays(), name: np.zeros(shape, np.float32)}
    with pytest.raises(MismatchError):
        Inversion.from_arrays(arrays)
    metadata = {"format": "padinv-inversion-1", "generator_hash": "", "items": json.dumps([{}] * 3)}
    save_file(arrays, tmp_path / "bad.safetensors", metadata)
    with pytest.raises(InputError, match=r"bad\.safetensors is not a usable inversion"):
        Inversion.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "items",
    [
        "not json",
        "{}",
        "[{}, {}]",
        "[{}, {}, 3]",
        "[" * 100_000,
        json.dumps([{"source": 3}] * 3),
        json.dumps([{"source": "x" * 5000}] * 3),
        json.dumps([{"size": [10]}] * 3),
        json.dumps([{"size": [10, 0]}] * 3),
        json.dumps([{"size": [10.5, 20]}] * 3),
        json.dumps([{"box": [0, 0, "1", 1]}] * 3),
        json.dumps([{"box": [0, 0, float("nan"), 1]}] * 3),
        json.dumps([{"transform": [[1, 0, 0], [0, 1]]}] * 3),
        json.dumps([{"transform": "identity"}] * 3),
        json.dumps([{"fit": "stretch"}] * 3),
    ],
)
def test_hostile_metadata(tmp_path, items):
    metadata = {"format": "padinv-inversion-1", "generator_hash": "", "items": items}
    save_file(make().arrays(), tmp_path / "bad.safetensors", metadata)
    with pytest.raises(InputError):
        Inversion.load(tmp_path / "bad.safetensors")


def test_hostile_values_and_types(tmp_path):
    metadata = {"format": "padinv-inversion-1", "generator_hash": "ab", "items": "[{}, {}, {}]"}
    arrays = make().arrays()
    path = tmp_path / "bad.safetensors"
    save_file({**arrays, "wp": np.full((3, 6, 8), np.nan, np.float32)}, path, metadata)
    with pytest.raises(InputError, match="wp holds values that are not finite"):
        Inversion.load(path)
    save_file({**arrays, "wp": np.zeros((3, 6, 8), np.int64)}, path, metadata)
    with pytest.raises(InputError, match="'wp' has type I64"):
        Inversion.load(path)
    save_file(arrays, path, {**metadata, "generator_hash": "<script>"})
    with pytest.raises(InputError, match="generator hash is malformed"):
        Inversion.load(path)
    save_file(arrays, path)
    with pytest.raises(InputError, match="but not an inversion"):
        Inversion.load(path)


def test_files_that_are_no_safetensors(tmp_path):
    for name, data in (("empty", b""), ("text", b"hello"), ("noise", bytes(range(256)) * 40), ("huge", b"\xff" * 64)):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match=name):
            Inversion.load(path)
    with pytest.raises(InputError, match="it is a folder"):
        Inversion.load(tmp_path)
    with pytest.raises(InputError, match="does not exist, so no inversion was read"):
        Inversion.load(tmp_path / "missing")


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 1 << 20), value=st.integers(0, 255), cut=st.integers(0, 1 << 20))
def test_a_damaged_file_is_an_input_error_or_still_an_inversion(tmp_path_factory, position, value, cut):
    folder = tmp_path_factory.mktemp("fuzz")
    make(1).save(folder / "a.safetensors")
    data = bytearray((folder / "a.safetensors").read_bytes())
    data[position % len(data)] = value
    if cut % 3 == 0:
        del data[cut % len(data) :]
    (folder / "a.safetensors").write_bytes(data)
    with contextlib.suppress(InputError):
        assert len(Inversion.load(folder / "a.safetensors")) == 1
