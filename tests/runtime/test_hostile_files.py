"""Inversions, directions and bundles from outside: bounded memory and time, one sentence, regular files only."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bounded_read import read_bounded
from onnx import TensorProto, helper
from safetensors.numpy import save_file
from tiny_bundle import GENERATOR_HASH, SPEC

from padinv.picture_sources.opening import open_pictures
from padinv.runtime import Model
from padinv.runtime.alignment.landmarks_csv import read_landmarks
from padinv.runtime.bundle import MANIFEST, read_bundle, write_manifest
from padinv.runtime.editing.direction import FORMAT as DIRECTION_FORMAT
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.saved_edit import is_saved_edit
from padinv.runtime.errors import BundleError, InputError
from padinv.runtime.files import open_regular, parse_json, read_regular
from padinv.runtime.images import read_image
from padinv.runtime.inversion import FORMAT, Inversion
from padinv.runtime.safetensors_file import DamagedFileError, SafetensorsFile, all_finite

MEGA = 1 << 20


def header_file(header: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def inversion_file(items: str, count: int = 1, dtype: str = "F16", **more: Any) -> bytes:
    """The smallest inversion there can be, with any items."""
    size = {"F16": 2, "F32": 4, "BF16": 2, "F8_E4M3": 1, "I64": 8}[dtype]
    sizes = {"wp": [count, 1, 1], "const": [count, 1, 4, 4]}
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "generator_hash": "", "items": items}}
    at = 0
    for name, shape in sizes.items():
        length = int(np.prod(shape)) * size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + length]}
        at += length
    return header_file({**header, **more}, bytes(at))


def direction_file(**metadata: str) -> bytes:
    return header_file({"__metadata__": {"format": DIRECTION_FORMAT, "generator_hash": "", "info": "{}", **metadata}})


BOMBS: dict[str, Callable[[], bytes]] = {
    "a header of 40 MB": lambda: header_file(b"{" + b" " * (40 * MEGA) + b"}"),
    "items of lists": lambda: inversion_file("[" + "[]," * 600_000 + "[]]"),
    "items of dictionaries": lambda: inversion_file("[" + "{}," * 600_000 + "{}]", 600_001),
    "deep items": lambda: inversion_file("[" * 1_000_000),
    "two million names": lambda: header_file(
        {str(i): {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]} for i in range(30_000)}
    ),
    "a shape that is not there": lambda: header_file(
        {"wp": {"dtype": "F32", "shape": [1 << 20, 64, 1 << 14], "data_offsets": [0, 0]}}
    ),
    "zeros of a large model": lambda: direction_file(zeros='{"wp": [64, 16384], "const": [16384, 4, 4]}'),
    "zeros of every model": lambda: direction_file(
        zeros=json.dumps({f"pad_{i}": [16384, 100] for i in range(1000)} | {"wp": [18, 512], "const": [512, 4, 4]})
    ),
    "zeros of a long number": lambda: direction_file(zeros='{"wp": [' + "9" * 400 + ', 1], "const": [1, 4, 4]}'),
    "notes of lists": lambda: direction_file(info='{"a": [' + "[]," * 21_000 + "[]]}"),
}


@pytest.mark.parametrize(
    "reader", ["inversion:Inversion.load", "editing.direction:Direction.load", "describe:describe"]
)
def test_a_small_file_cannot_ask_for_much(tmp_path: Path, reader: str) -> None:
    paths = {}
    for index, (name, make) in enumerate(BOMBS.items()):
        paths[name] = tmp_path / f"bomb{index}.safetensors"
        paths[name].write_bytes(make())
    outcomes = read_bounded(f"padinv.runtime.{reader}", list(paths.values()))
    for name, path in paths.items():
        outcome, size = outcomes[path], path.stat().st_size
        assert outcome.growth <= 64 * MEGA + 2 * size, f"{name}: {outcome.growth / MEGA:.0f} MiB of {size}"
        assert outcome.seconds < 10, name
        assert outcome.error.partition(":")[0] in ("", "InputError"), outcome.error
        assert "\n" not in outcome.error


def test_a_large_float16_file_takes_twice_its_size(tmp_path: Path) -> None:
    wp = np.ones((4000, 18, 256), np.float16)
    save_file({"wp": wp, "const": np.ones((4000, 4, 4, 4), np.float16)}, tmp_path / "x.safetensors", {
        "format": FORMAT, "generator_hash": "", "items": json.dumps([{}] * 4000)
    })  # fmt: skip
    path = tmp_path / "x.safetensors"
    outcome = read_bounded("padinv.runtime.inversion:Inversion.load", [path])[path]
    assert not outcome.error
    assert outcome.growth <= 8 * MEGA + 2 * path.stat().st_size


def test_a_manifest_cannot_ask_for_much(tiny_bundle: Path) -> None:
    (tiny_bundle / MANIFEST).write_bytes(b'{"format":1,"files":{},"x":[' + b"[]," * 690_000 + b"[]]}")
    outcome = read_bounded("padinv.runtime.bundle:read_bundle", [tiny_bundle])[tiny_bundle]
    assert outcome.error.startswith("BundleError")
    assert outcome.growth <= 64 * MEGA + 2 * (2 * MEGA)
    (tiny_bundle / MANIFEST).write_bytes(b" " * (3 * MEGA))
    with pytest.raises(BundleError, match="too large"):
        read_bundle(tiny_bundle)


# -- numbers that break arithmetic


LONG = "9" * 400


@pytest.mark.parametrize(
    "items",
    [
        f'[{{"size": [{LONG}, 1]}}]',
        f'[{{"box": [0, 0, 1, {LONG}]}}]',
        f'[{{"transform": [[1, 0, -{LONG}], [0, 1, 0]]}}]',
        f'[{{"anything": {LONG}}}]',
        f'[{{"seed": {"9" * 5000}}}]',
        '[{"box": [0, 0, 1, 1e999]}]',
        '[{"box": [0, 0, 1, NaN]}]',
        '[{"transform": [[1, 0, Infinity], [0, 1, 0]]}]',
    ],
)
def test_numbers_of_absurd_length_are_refused(tmp_path: Path, items: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(inversion_file(items))
    with pytest.raises(InputError, match="is not a usable inversion"):
        Inversion.load(tmp_path / "x.safetensors")


def test_one_such_inversion_does_not_stop_a_blend(
    tmp_path: Path, tiny_bundle: Path, run_cli: Any, picture: Any
) -> None:
    for seed in range(3):
        picture(seed=seed).save(tmp_path / f"{seed}.png")
    folder = tmp_path / "saved"
    result = run_cli(
        "invert", *sorted(tmp_path.glob("*.png")), "--model", tiny_bundle, "--out", folder, "--align", "never"
    )
    assert result.code == 0
    files = sorted(folder.rglob("*.safetensors"))
    assert len(files) == 3
    files[1].write_bytes(inversion_file(f'[{{"size": [{LONG}, 1]}}]'))
    result = run_cli("blend", files[0], *files[1:], "--model", tiny_bundle, "--out", tmp_path / "out")
    assert result.code == 3
    assert "is not a usable inversion" in result.err
    assert "something went wrong inside padinv" not in result.err
    assert len(list((tmp_path / "out").glob("*--*.png"))) == 1


@pytest.mark.parametrize("key", ["resolution", "z_dim", "mapping_lr_mult", "conv_clamp"])
def test_a_manifest_with_such_a_number_is_refused(tiny_bundle: Path, key: str) -> None:
    manifest = json.loads((tiny_bundle / MANIFEST).read_text())
    manifest["spec"][key] = "LONG"
    (tiny_bundle / MANIFEST).write_text(json.dumps(manifest).replace('"LONG"', LONG))
    with pytest.raises(BundleError):
        read_bundle(tiny_bundle)


def test_json_from_outside() -> None:
    assert parse_json('{"a": [1, -2, 1.5, null]}') == {"a": [1, -2, 1.5, None]}
    assert parse_json(b"123456789012345678901234567890") == 123456789012345678901234567890
    for text in ("9" * 41, "[" * 100_000, "{", b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


# -- types and files of other programs


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "I64"])
def test_other_types_are_named(tmp_path: Path, dtype: str, tiny_bundle: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(inversion_file("[{}]", dtype=dtype))
    with pytest.raises(InputError, match=f"has type {dtype}, not F16 or F32"):
        Inversion.load(tmp_path / "x.safetensors")
    constants = {"w_avg": {"dtype": dtype, "shape": [8], "data_offsets": [0, 8 * {"BF16": 2, "I64": 8}.get(dtype, 1)]}}
    (tiny_bundle / "constants.safetensors").write_bytes(header_file(constants, bytes(64)))
    rewrite_manifest(tiny_bundle)
    with pytest.raises(BundleError, match=f"it holds 'w_avg' as {dtype}"):
        Model.load(tiny_bundle).constants()


def rewrite_manifest(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).unlink()
    write_manifest(bundle, {k: v for k, v in manifest.items() if k not in ("files", "format")})


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("w.npy", b"\x93NUMPY\x01\x00" + bytes(100), r"a NumPy array \(\.npy\)"),
        ("w.pt", b"\x80\x02}." + bytes(100), "is a pickle"),
    ],
)
def test_latents_and_directions_of_other_programs_are_named(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{what}.*invert the picture itself with: padinv invert"):
        Inversion.load(tmp_path / name)
    with pytest.raises(InputError, match=f"{what}.*padinv"):
        Direction.load(tmp_path / name)


def test_pictures_are_named_without_a_hint(tmp_path: Path, picture: Any) -> None:
    picture().save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"it is a PNG picture$"):
        Inversion.load(tmp_path / "a.png")


# -- what is not a regular file


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, tiny_bundle: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read in (Inversion.load, Direction.load):
            with pytest.raises(InputError, match="not a regular file"):
                read(path)
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)
    for name in ("generator.onnx", "constants.safetensors", MANIFEST):
        (tiny_bundle / name).unlink()
        (tiny_bundle / name).symlink_to("/dev/zero")
        with pytest.raises(BundleError, match=r"not a regular file|has changed|holds no model\.json"):
            Model.load(tiny_bundle).bundle.read_bytes(name)


def test_a_file_that_shrinks_while_it_is_read_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"wp": np.ones((64, 8, 512), np.float32)}, path)
    with SafetensorsFile.open(path) as file:
        os.truncate(path, 4096)
        with pytest.raises(DamagedFileError, match="cut short"):
            file.read_float32("wp")
        with pytest.raises(DamagedFileError, match="cut short"):
            file.read_bytes("wp")


def test_finite_is_what_numpy_says() -> None:
    for values in ([], [1.0, -2.0], [1.0, np.nan], [np.inf], [-np.inf, 1.0]):
        array = np.array(values, np.float32)
        assert all_finite(array) is bool(np.isfinite(array).all())


# -- graphs whose outputs are not those of a model


@pytest.mark.parametrize("shape", [[], [3], [1, 3, 16], [1, 1, 16, 16], [1, 3, 16, 16, 1]])
def test_outputs_of_another_rank_are_a_sentence(tiny_bundle: Path, shape: list[int]) -> None:
    latents = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *s]) for n, s in SPEC.latent_shapes.items()]
    value = helper.make_tensor("value", TensorProto.FLOAT, shape, [0.5] * int(np.prod(shape)))
    node = helper.make_node("Identity", ["value"], ["output"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], "generator", latents, [output], [value])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tiny_bundle / "generator.onnx"))
    rewrite_manifest(tiny_bundle)
    m = Model.load(tiny_bundle)
    inversion = Inversion(
        np.zeros((1, *SPEC.wp_shape)), np.zeros((1, *SPEC.const_shape)),
        {r: np.zeros((1, *SPEC.ring_shape(r))) for r in SPEC.pad_resolutions}, GENERATOR_HASH,
    )  # fmt: skip
    with pytest.raises(BundleError, match=r"the generator of .* gave output \[.*, not \[N, 3, 16, 16\]"):
        m.generate(inversion)


READERS: dict[str, Callable[[Path], object]] = {
    "image": read_image,
    "landmarks": read_landmarks,
    "inversion": Inversion.load,
    "direction": Direction.load,
    "pictures to train on": open_pictures,
    "saved edit": is_saved_edit,
}


@pytest.mark.parametrize("what", sorted(READERS))
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_reader_waits_for_a_pipe_or_fills_memory_from_a_device(what: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "thing.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    if what == "saved edit":
        assert READERS[what](path) is False
        return
    with pytest.raises(InputError, match=r"thing.safetensors.*not a regular file"):
        READERS[what](path)


def test_a_bounded_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    assert len(read_regular(tmp_path / "a", 2 << 20)) == 2 << 20
    with pytest.raises(OSError, match="it is larger than 1 MiB"):
        read_regular(tmp_path / "a", 1 << 20)


@pytest.mark.parametrize("value", ["9" * 400, "[" * 50_000, "1" * 5000])
def test_json_elsewhere_is_bounded_too(tmp_path: Path, value: str) -> None:
    """The note in a picture, a half-finished evaluation, a saved edit: absurd numbers are damage, not errors."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from padinv.evaluation.partial import _record
    from padinv.runtime.images import png_metadata

    assert _record(f'{{"name": "a", "values": {{"mse": {value}}}}}', {"mse"}) is None
    info = PngInfo()
    info.add_text(png_metadata._KEY, f'{{"a": {value}}}')
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=info)
    assert png_metadata.png_note(tmp_path / "x.png") is None
