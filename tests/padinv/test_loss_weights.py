"""Weight files of the losses come from strangers: read without running anything, and named when they are another's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bounded_read import read_bounded
from code_watch import watching
from safetensors.torch import save_file
from source_rosinality import RosinalityGenerator

from padinv.losses.backbones import load_backbone, squeezenet_features
from padinv.models.face_recognition import IRSE50, MobileFaceNet, load_face_network
from padinv.runtime.errors import InputError

READERS: dict[str, Callable[[Path], Any]] = {
    "LPIPS": lambda path: load_backbone("squeeze", path),
    "face recognition": load_face_network,
}


@pytest.fixture(autouse=True)
def seen() -> Iterator[list[str]]:
    with watching() as events:
        yield events
    assert not events


def squeezenet() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = {f"features.{k}": v for k, v in squeezenet_features().state_dict().items()}
    return {**state, "classifier.1.weight": torch.zeros(10, 512, 1, 1)}


@pytest.mark.parametrize("form", ["zip", "old", "nested", "half", "safetensors"])
def test_every_container_is_read(tmp_path: Path, form: str) -> None:
    state = squeezenet()
    path = tmp_path / "x.pth"
    if form == "safetensors":
        save_file(state, path)
    else:
        value: Any = {"state_dict": state, "epoch": 3} if form == "nested" else state
        value = {k: v.half() for k, v in state.items()} if form == "half" else value
        torch.save(value, path, _use_new_zipfile_serialization=form != "old")
    net = load_backbone("squeeze", path)
    for name, tensor in net.state_dict().items():
        wanted = state[f"features.{name}"]
        assert torch.equal(tensor, wanted.half().float() if form == "half" else wanted)
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("kind", [IRSE50, MobileFaceNet])
def test_face_networks_are_told_apart(tmp_path: Path, kind: type[IRSE50] | type[MobileFaceNet]) -> None:
    torch.manual_seed(0)
    state = kind().state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}  # files from before torch 0.4.1
    torch.save(old, tmp_path / "x.pth")
    net = load_face_network(tmp_path / "x.pth")
    assert type(net) is kind
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in old.items())


FOREIGN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "latents.npy": (lambda path: np.save(path, np.zeros((1, 18, 512))), r"is a NumPy array \(\.npy\)"),
    "latents.npz": (lambda path: np.savez(path, w=np.zeros(512)), "is an archive of NumPy arrays"),
    "latents.pt": (lambda path: torch.save(torch.zeros(1, 18, 512), path), "latent codes, or a direction"),
    "alex.pth": (
        lambda path: torch.save({f"lin{i}.model.1.weight": torch.zeros(1, 4, 1, 1) for i in range(5)}, path),
        "holds the linear heads of LPIPS",
    ),
    "g.pt": (
        lambda path: torch.save({"g_ema": RosinalityGenerator((6, 5), 5, 1).state_dict()}, path),
        "a StyleGAN2 gen",
    ),
    "backbone.pth": (
        lambda path: torch.save({n: torch.zeros(3) for n in ("conv1.weight", "bn1.weight", "prelu.weight", "x")}, path),
        "InsightFace",
    ),
    "photo.png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50)), "is a PNG picture"),
    "page.pth": (lambda path: path.write_bytes(b"<!doctype html><title>Sign in</title>"), "is a web page"),
    "empty.pth": (lambda path: path.write_bytes(b""), "is empty"),
    "code.pth": (
        lambda path: path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."),
        "asks for os.system",
    ),
    "pipe": (os.mkfifo, "not a regular file"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", FOREIGN)
def test_other_files_are_named(tmp_path: Path, name: str, reader: str) -> None:
    write, sentence = FOREIGN[name]
    write(tmp_path / name)
    with pytest.raises(InputError, match=sentence) as error:
        READERS[reader](tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_tensor_and_a_wrong_shape_are_named(tmp_path: Path) -> None:
    state = MobileFaceNet().state_dict()
    del state["conv3.bias"]
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"lacks the tensor conv3\.bias"):
        load_face_network(tmp_path / "x.pt")
    state["conv3.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"conv3\.bias of shape \[7\] where \[128\] belongs"):
        load_face_network(tmp_path / "x.pt")
    with pytest.raises(InputError, match="does not exist"):
        load_face_network(tmp_path / "none.pt")


def test_a_bomb_is_bounded(tmp_path: Path, seen: list[str]) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"\x80\x02(" + b"}" * 1_500_000 + b"t.")
    outcome = read_bounded("padinv.models.face_recognition:load_face_network", [path])[path]
    seen.clear()  # the test's own child
    assert outcome.error.startswith("InputError")
    assert outcome.growth <= (64 << 20) + 2 * path.stat().st_size
    assert outcome.seconds < 10
