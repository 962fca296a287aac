"""Containers: every way that the same tensors come in a file, and files that are none."""

from __future__ import annotations

import argparse
import collections
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from source_rosinality import RosinalityGenerator

from padinv.checkpoints import describe, load_generator
from padinv.checkpoints.container.open import open_contents
from padinv.runtime.errors import InputError


class EasyDict(dict[str, Any]):
    """Pickles as the package easydict's class of that name does: items and attributes."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.__dict__.update(values)


def example() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "parameter": torch.nn.Parameter(torch.randn(3, 4)),
        "part": torch.arange(12.0)[3:7],
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "channels_last": torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(3).half(),
        "bfloat": torch.randn(3).bfloat16(),
        "whole": torch.tensor([1, -2, 1 << 40]),
        "yes": torch.tensor([True, False]),
        "array": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "number": np.float64(0.25),
        "state": torch.nn.BatchNorm1d(3).state_dict(),
        "args": argparse.Namespace(size=256, paths=["a", "b"], nested=argparse.Namespace(x=1)),
        "device": torch.device("cuda", 1),
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "set": {1, 2},
        "default": collections.defaultdict(list, {"k": [1]}),
        "none": None,
        "tuple": (1, "two", 3.0, b"four", True),
    }


def check(path: Path, container: str) -> None:
    wanted = example()
    with open_contents(path) as (_, contents):
        assert contents.container == container
        root = contents.root
        for name, value in wanted.items():
            if isinstance(value, torch.Tensor):
                got = root[name].read()
                assert got.dtype == value.dtype, name
                assert torch.equal(got, value), name
                assert got.is_contiguous()
            elif isinstance(value, np.ndarray):
                assert np.array_equal(root[name].read().numpy(), value), name
        assert torch.equal(root["state"]["running_var"].read(), torch.ones(3))
        assert root["state"]["num_batches_tracked"].read() == 0
        assert root["args"] == {"size": 256, "paths": ["a", "b"], "nested": {"x": 1}}
        assert root["number"] == 0.25
        assert root["device"] == "cuda:1"
        assert root["size"] == (1, 2)
        assert root["set"] == {1, 2}
        assert root["default"] == {"k": [1]}
        assert root["none"] is None
        assert root["tuple"][:3] == (1, "two", 3.0)


def test_zip(tmp_path: Path) -> None:
    torch.save(example(), tmp_path / "x.pt")
    check(tmp_path / "x.pt", "torch (zip)")


def test_the_old_format(tmp_path: Path) -> None:
    torch.save(example(), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    check(tmp_path / "x.pt", "torch (old format)")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_pickles(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(example(), protocol=protocol))
    check(tmp_path / "x.pkl", "pickle")


@pytest.mark.parametrize("module", ["easydict", "dnnlib.util"])
def test_easydict_becomes_a_dictionary(tmp_path: Path, module: str) -> None:
    """GenForce's and Hammer's files hold the package's class; it need not be installed to read them."""
    stub = types.ModuleType(module)
    EasyDict.__module__, EasyDict.__qualname__ = module, "EasyDict"
    stub.EasyDict = EasyDict  # type: ignore[attr-defined]
    names = {module.partition(".")[0]: types.ModuleType("parent"), module: stub}
    sys.modules.update(names)
    try:
        value = {"settings": EasyDict(lr=0.1, inner=EasyDict(x=torch.ones(2)))}
        torch.save(value, tmp_path / "x.pth")
    finally:
        for name in names:
            del sys.modules[name]
    with open_contents(tmp_path / "x.pth") as (_, contents):
        settings = contents.root["settings"]
        assert type(settings) is dict
        assert settings["lr"] == 0.1
        assert torch.equal(settings["inner"]["x"].read(), torch.ones(2))
    assert module not in sys.modules


def test_foreign_safetensors(tmp_path: Path) -> None:
    g = RosinalityGenerator((6, 5), 5, 1)
    save_file(g.state_dict(), tmp_path / "x.safetensors")
    assert load_generator(tmp_path / "x.safetensors").spec.resolution == 8
    assert describe(tmp_path / "x.safetensors")["container"] == "safetensors"


def test_names_do_not_matter(tmp_path: Path) -> None:
    g = RosinalityGenerator((6, 5), 5, 1)
    for name in ("weights", "weights.pkl", "weights.safetensors", "weights.onnx"):
        torch.save({"g_ema": g.state_dict()}, tmp_path / name)
        assert load_generator(tmp_path / name).spec.resolution == 8


def test_checksums_are_checked_where_the_file_has_true_ones(tmp_path: Path) -> None:
    g = RosinalityGenerator((6, 5), 5, 1)
    path = tmp_path / "x.pt"
    torch.save({"g_ema": g.state_dict()}, path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size if "/data/" in info.filename else 0)
    data[largest.header_offset + 200] ^= 1  # one bit of one weight
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksum of its weights is wrong"):
        load_generator(path)


def test_files_without_checksums_load(tmp_path: Path) -> None:
    set_crc32 = torch.serialization.set_crc32_options
    set_crc32(False)
    try:
        torch.save({"g_ema": RosinalityGenerator((6, 5), 5, 1).state_dict()}, tmp_path / "x.pt")
    finally:
        set_crc32(True)
    assert load_generator(tmp_path / "x.pt").spec.resolution == 8


# -- files that are none


def archive_of(path: Path, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(f"archive/{name.replace('__', '/').replace('_pkl', '.pkl')}", data)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty (0 bytes)"),
        (
            b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>",
            "is a web page ('Google Drive - Quota",
        ),
        (b"\xef\xbb\xbf\n  <html lang='en'>Sign in", "is a web page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00" + bytes(50), "unpack it"),
        (b"hello world, this is text", "is neither a file of padinv's nor a checkpoint"),
        (b"PK\x03\x04" + bytes(100), "cut short"),
        (b"\x80\x04", "cut short"),
        (b"\x80\x04]\x94.", "holds no network"),
        (b"\x80\x09.", "pickle of version 9"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "safetensors file that is cut short"),
        ((2).to_bytes(8, "little") + b"[]", "is neither a file"),
        ((5).to_bytes(8, "little") + b"{oops", "damaged"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_generator(tmp_path / "x.pt")
    assert sentence in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "x.pt"))
    assert "\n" not in str(error.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for call in (load_generator, describe):
        with pytest.raises(InputError, match="does not exist"):
            call(tmp_path / "none.pt")
        with pytest.raises(InputError, match=r"folder|directory"):
            call(tmp_path)


def test_archives_that_are_no_torch_files(tmp_path: Path) -> None:
    archive_of(tmp_path / "photos.zip", readme=b"x")
    with pytest.raises(InputError, match=r"has no data\.pkl"):
        load_generator(tmp_path / "photos.zip")
    archive_of(tmp_path / "script.pt", data_pkl=b"\x80\x02].", constants_pkl=b"\x80\x02].")
    with pytest.raises(InputError, match="TorchScript"):
        load_generator(tmp_path / "script.pt")
    archive_of(tmp_path / "packed.pt", zipfile.ZIP_DEFLATED, data_pkl=b"\x80\x02]." * 50)
    with pytest.raises(InputError, match="compressed"):
        load_generator(tmp_path / "packed.pt")
    archive_of(tmp_path / "big.pt", data_pkl=b"\x80\x02].", byteorder=b"big")
    with pytest.raises(InputError, match="big-endian"):
        load_generator(tmp_path / "big.pt")


@pytest.mark.parametrize("old", [False, True])
def test_cut_files(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "x.pt"
    g = RosinalityGenerator((6, 5), 5, 1)
    torch.save({"g_ema": g.state_dict()}, path, _use_new_zipfile_serialization=not old)
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=r"cut short|damaged"):
            load_generator(path)
