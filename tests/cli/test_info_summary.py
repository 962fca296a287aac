"""`padinv info` is a screenful, --verbose says everything, and nothing from a file reaches a terminal raw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from padinv.cli.info_summary import summary
from padinv.runtime.bundle import MANIFEST
from padinv.runtime.editing.direction import Direction
from padinv.runtime.inversion import Inversion

SCREEN = 24


def test_the_built_in_model_fits_on_a_screen(run_cli: Callable[..., Any]) -> None:
    result = run_cli("info")
    lines = result.out.splitlines()
    assert result.code == 0
    assert len(lines) <= 14
    assert max(map(len, lines)) <= 120
    assert "model bundle faces128" in result.out
    assert "whole" in result.out
    assert "128 px, 12 codes of 256" in result.out
    assert "padding at 4, 8, 16, 32 px" in result.out
    assert "a spatial code at 32 px" in result.out
    everything = run_cli("info", "--verbose").out
    assert len(everything.splitlines()) > 50
    assert "provenance" in everything


def test_a_damaged_bundle_says_so_in_the_short_form(tiny_bundle: Path, run_cli: Callable[..., Any]) -> None:
    (tiny_bundle / "mapping.onnx").write_bytes(b"x")
    result = run_cli("info", tiny_bundle)
    assert result.code == 1
    assert "damaged: mapping.onnx" in result.out


def test_an_encoder_without_padding_is_named_as_such(tiny_bundle: Path, run_cli: Callable[..., Any]) -> None:
    manifest = json.loads((tiny_bundle / MANIFEST).read_text())
    manifest["encoder"] = {"architecture": "reference", "padding": False, "refinements": 5}
    (tiny_bundle / MANIFEST).write_text(json.dumps(manifest))
    assert "reference, latent codes only, in 5 steps" in run_cli("info", tiny_bundle).out


def test_inversions_and_directions(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    rings = {4: np.ones((5, 6, 20)), 16: np.ones((5, 4, 68))}
    items = [{"source": f"photo {i}.jpg"} for i in range(5)]
    Inversion(np.ones((5, 6, 8)), np.ones((5, 6, 4, 4)), rings, "ab" * 32, items).save(tmp_path / "i.safetensors")
    out = run_cli("info", tmp_path / "i.safetensors").out
    assert "photo 0.jpg, photo 1.jpg, photo 2.jpg and 2 more" in out
    assert "6x8" in out
    assert "4, 16 px" in out
    direction = Direction(
        np.ones((6, 8)), np.ones((6, 4, 4)), {}, "cd" * 32, {"name": "smile", "space": "latent", "sources": ["a", "b"]}
    )
    direction.save(tmp_path / "d.safetensors")
    out = run_cli("info", tmp_path / "d.safetensors").out
    assert "direction" in out
    assert "smile" in out
    assert "a, b" in out


def test_checkpoints_of_other_projects(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    import torch
    from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, training_file

    g, d = RosinalityGenerator((6, 5), 5, 1), RosinalityDiscriminator((6, 5))
    torch.save(training_file(g, d), tmp_path / "x.pt")
    out = run_cli("info", tmp_path / "x.pt").out
    assert "generator checkpoint" in out
    assert "rosinality" in out
    assert "8 px, 4 codes of 5" in out
    assert "note: the file also holds another generator (g)" in out
    assert len(out.splitlines()) <= SCREEN


def test_run_folders(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"arch": "fast", "images": 1000000, "batch": 8, "deep": {"x": 1}}))
    (tmp_path / "metrics.jsonl").write_text('{"images": 5, "mse": 0.25}\n')
    out = run_cli("info", tmp_path).out
    assert "1,000,000" in out
    assert "mse 0.25" in out


HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202egnp\n"


def test_nothing_from_a_file_reaches_the_terminal_raw(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    header = {
        "format": 1,
        "kind": f"generator{HOSTILE}",
        "record": {HOSTILE: {HOSTILE: HOSTILE}, "notes": [HOSTILE], "source": HOSTILE, "file": HOSTILE},
        HOSTILE: [{HOSTILE: HOSTILE}],
        "notes": [HOSTILE],
    }
    path = tmp_path / "x.safetensors"
    save_file({"generator.w_avg": np.zeros(3, np.float32)}, path, {"padinv": json.dumps(header)})
    for options in ((), ("--verbose",)):
        result = run_cli("info", path, *options)
        assert result.code == 0, result.err
        for text in (result.out, result.err):
            assert "\x1b" not in text
            assert "\x07" not in text
            assert "\u202e" not in text
    (tmp_path / "config.json").write_text(json.dumps({HOSTILE: {HOSTILE: HOSTILE}, "preset": HOSTILE}))
    assert "\x1b" not in run_cli("info", tmp_path).out + run_cli("info", tmp_path, "--verbose").out


ODD: list[Any] = [None, "x", 5, -1.5, [], {}, [1], {"a": 1}, True, float("inf"), 10**400]


@pytest.mark.parametrize("kind", ["bundle", "inversion", "direction", "generator", "encoder", "run", "?"])
def test_facts_of_any_shape_are_summed_up(kind: str) -> None:
    """What comes from a file's own header may be of any type."""
    keys = ("name", "files", "parity", "provenance", "encoder", "config", "record", "items", "arrays", "sources",
            "last_metrics", "channels", "resolution", "layers", "numbers", "notes", "generator_hash", "images",
            "discriminator", "opset", "bytes")  # fmt: skip
    for value in ODD:
        for key in keys:
            lines = summary({"kind": kind, "path": "p", key: value})
            assert all("\n" not in line for line in lines)
