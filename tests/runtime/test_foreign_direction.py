"""Directions of other projects: what is read, what is refused, and that nothing in a file is run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import GENERATOR_HASH, SPEC

from padinv.runtime.editing.foreign_direction import choose_vector, import_direction, read_numpy
from padinv.runtime.editing.sefa import sampled_codes
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.model import Model


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return Model.load(tiny_bundle, "cpu", 1)


def vector(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (vector(SPEC.w_dim), {}),
        (vector(1, SPEC.w_dim), {}),  # InterFaceGAN's boundaries
        (vector(4, SPEC.w_dim), {"component": 0}),  # LowRankGAN, one direction per row
        (vector(4, 1, SPEC.w_dim), {"component": 0}),  # GANSpace
        (vector(*SPEC.wp_shape), {"space": "w+"}),
        (vector(1, *SPEC.wp_shape), {"space": "w+"}),
        (vector(3, *SPEC.wp_shape), {"space": "w+", "component": 0}),
    ],
)
def test_shapes_in_circulation_are_understood(tmp_path: Path, array: np.ndarray, options: dict[str, Any]) -> None:
    np.save(tmp_path / "d.npy", array.astype(np.float32))
    found = choose_vector(read_numpy(tmp_path / "d.npy"), tmp_path / "d.npy", **options)
    if "component" in options:
        array = array[0]
    np.testing.assert_allclose(found, np.squeeze(array), rtol=1e-6)


def test_fortran_order_and_other_number_types_are_read_right(tmp_path: Path) -> None:
    for array in (np.asfortranarray(vector(4, 8)), vector(4, 8).astype(">f4"), np.arange(32).reshape(4, 8)):
        np.save(tmp_path / "d.npy", array)
        np.testing.assert_allclose(read_numpy(tmp_path / "d.npy")[""], array)


def test_an_archive_of_gan_space_needs_no_key(tmp_path: Path) -> None:
    path = tmp_path / "stylegan2-ffhq_style_ipca.npz"
    components = vector(5, 1, SPEC.w_dim)
    np.savez_compressed(path, act_comp=vector(5, 3, 4, 4), lat_comp=components, lat_mean=vector(1, 1, SPEC.w_dim))
    arrays = read_numpy(path)
    np.testing.assert_allclose(choose_vector(arrays, path, component=3), components[3, 0])
    with pytest.raises(UsageError, match=r"holds 5 directions; choose one with --component 0 to 4"):
        choose_vector(arrays, path)
    with pytest.raises(UsageError, match=r"holds the arrays act_comp, lat_comp, lat_mean; choose one with --key"):
        choose_vector(arrays, path, key="hat")


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    np.save(tmp_path / "d.npy", np.array({"boundary": Bomb(mark)}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="holds pickled Python objects, which could run code, so it was not read"):
        read_numpy(tmp_path / "d.npy")
    np.savez(tmp_path / "d.npz", a=np.array([Bomb(mark)], dtype=object))
    with pytest.raises(InputError, match="holds no array of numbers; nothing in it was run"):
        read_numpy(tmp_path / "d.npz")
    assert not mark.exists()
    np.load(tmp_path / "d.npz", allow_pickle=True)["a"]
    assert mark.exists()  # the bomb itself works


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "cut": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (8,)}", b"\0" * 31),
    "longer": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (8,)}", b"\0" * 33),
    "huge": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000000)}"),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-8,)}", b"\0" * 32),
    "twice negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-8, -1)}", b"\0" * 32),
    "overflow": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
    "no numbers": npy("{'descr': '<U8', 'fortran_order': False, 'shape': (1,)}", b"\0" * 32),
    "code": npy("{'descr': __import__('os').system('touch ran'), 'fortran_order': False, 'shape': (8,)}"),
    "nested": npy("{'descr': " + "[" * 4000 + ", 'fortran_order': False, 'shape': (8,)}"),
    "archive": b"PK\x03\x04" + b"\0" * 50,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_files_are_one_sentence(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.npy").write_bytes(HOSTILE[name])
    with pytest.raises(InputError) as caught:
        read_numpy(tmp_path / "d.npy")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_an_archive_cannot_unpack_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.runtime.editing.foreign_direction.MAX_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        inner = io.BytesIO()
        np.save(inner, np.zeros(1 << 19))
        archive.writestr("a.npy", inner.getvalue())
    assert (tmp_path / "d.npz").stat().st_size < 10_000
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        read_numpy(tmp_path / "d.npz")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="is a ZIP archive, but not one of NumPy arrays"):
        read_numpy(tmp_path / "x.npz")
    with pytest.raises(
        InputError, match=r"none\.npy cannot be read: No such file or directory; no direction was imported"
    ):
        read_numpy(tmp_path / "none.npy")


@pytest.mark.parametrize(
    ("array", "space", "sentence"),
    [
        (vector(2, 3, 4, SPEC.w_dim), "w", "is not a direction in W"),
        (np.array(3.0), "w", "is not a direction in W"),
        (vector(SPEC.w_dim), "w+", r"is not a direction in W\+"),
        (np.full(SPEC.w_dim, np.nan), "w", "holds values that are not finite"),
        (np.zeros(SPEC.w_dim), "w", "is zero everywhere"),
    ],
)
def test_wrong_shapes_and_values_are_one_sentence(array: np.ndarray, space: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_vector({"": array}, "d.npy", space=space)


def test_a_direction_in_w_is_one_standard_deviation_long(model: Model) -> None:
    v = vector(SPEC.w_dim)
    direction = import_direction(v, model, made_for="tiny", layers=[0, 1])
    unit = v / np.linalg.norm(v)
    np.testing.assert_allclose(direction.wp[0], unit * (sampled_codes(model) @ unit).std(), rtol=1e-4)
    np.testing.assert_array_equal(direction.wp[0], direction.wp[1])
    assert not direction.wp[2:].any()
    assert direction.generator_hash == GENERATOR_HASH
    raw = import_direction(v, model, made_for=GENERATOR_HASH[:8], unit="raw")
    np.testing.assert_allclose(raw.wp[3], v, rtol=1e-6)


def test_layers_of_a_w_plus_direction_keep_their_proportions(model: Model) -> None:
    v = vector(*SPEC.wp_shape)
    v[2] = 0
    found = import_direction(v, model, made_for="this", space="w+").wp
    np.testing.assert_allclose(found / np.linalg.norm(found), v / np.linalg.norm(v), atol=1e-6)


def test_a_direction_in_z_goes_through_the_mapping_network(model: Model) -> None:
    """The tiny mapping network is linear, so that the mean change is the matrix times the direction."""
    v = vector(SPEC.z_dim)
    found = import_direction(v, model, made_for="this", space="z", unit="raw").wp[0]
    session = model.session("mapping")
    rows = [session.run({"z": z.astype(np.float32)[None]})["w"][0] for z in (v, np.zeros(SPEC.z_dim))]
    np.testing.assert_allclose(found, rows[0] - rows[1], atol=1e-5)


def test_another_generator_is_refused_unless_the_user_says_so(model: Model) -> None:
    v = vector(4, SPEC.w_dim)
    with pytest.raises(
        MismatchError, match=r"boundary.npy was made for stylegan2-ffhq, and this model's generator is tiny \(1f1f"
    ):
        import_direction(v[0], model, made_for="stylegan2-ffhq", what="boundary.npy")
    with pytest.raises(MismatchError, match="means nothing in another generator"):
        import_direction(v[0], model, made_for=GENERATOR_HASH[:4])  # too few digits to name one
    converted = import_direction(v, model, made_for="other", space="w+", convert=True, unit="raw")
    np.testing.assert_allclose(converted.wp[[0, -1]], v[[0, -1]], rtol=1e-6)
    assert converted.info["origin"]["converted"] is True
    with pytest.raises(MismatchError, match="has 4 layers, and this model has 6"):
        import_direction(v, model, made_for="this", space="w+")
    with pytest.raises(MismatchError, match="has 512 dimensions, and this model's W has 8"):
        import_direction(vector(512), model, made_for="other", convert=True)
