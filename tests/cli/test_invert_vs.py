"""`padinv invert --vs`: two models on one sheet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import write_tiny_bundle

from padinv.runtime.errors import InputError
from padinv.runtime.reports.models_sheet import models_sheet


def test_both_models_are_drawn_beside_the_picture(
    run_cli: Callable[..., Any], tiny_bundle: Path, tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    other = write_tiny_bundle(tmp_path / "other", generator_hash="2e" * 32, seed=7)
    (tmp_path / "in").mkdir()
    for seed in (1, 2):
        picture(16, 16, seed=seed).save(tmp_path / "in" / f"{seed}.png")
    out = tmp_path / "out"
    call = ("invert", tmp_path / "in", "--model", tiny_bundle, "--vs", other, "--out", out, "--threads", 1)
    result = run_cli(*call)
    assert result.code == 0, result.err
    assert f"open {out / 'vs' / 'sheet.png'}" in result.out
    for folder in (out, out / "vs"):
        assert (folder / "1.png.safetensors").is_file()
    pixels = np.asarray(Image.open(out / "vs" / "sheet.png"))
    first, second = (np.asarray(Image.open(folder / "1.png.png")) for folder in (out, out / "vs"))
    assert (first != second).any()
    for tile in (first, second, np.asarray(Image.open(tmp_path / "in" / "1.png"))):
        middle = tile[8, 8].astype(int)
        assert (np.abs(pixels.astype(int) - middle).sum(axis=2) < 12).any()
    (out / "vs" / "2.png.png").unlink()
    again = models_sheet([("a", out), ("b", out / "vs")], 16)
    assert again.shape[0] < pixels.shape[0] or again.shape[1] < pixels.shape[1]
    with pytest.raises(InputError, match="no picture was inverted by all of the models"):
        models_sheet([("a", out), ("b", tmp_path / "in")], 16)


@pytest.mark.parametrize("option", [("--json",), ("--shard", "1/2"), ("--engine", "ray")])
def test_it_is_one_process_and_a_picture(
    run_cli: Callable[..., Any], tiny_bundle: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    result = run_cli("invert", tmp_path, "--vs", tiny_bundle, "--out", tmp_path / "out", *option)
    assert result.code == 2
    assert "--vs draws a sheet in one process" in result.err
