"""Models that predict latent codes only: what they can do, and the sentence for what they cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from padinv.runtime import Model
from padinv.runtime.bundle import MANIFEST


@pytest.fixture
def baseline(tiny_bundle: Path) -> Path:
    """The tiny bundle, as an encoder without padding would have been exported."""
    manifest = json.loads((tiny_bundle / MANIFEST).read_text())
    manifest["encoder"] = {**manifest["encoder"], "padding": False}
    (tiny_bundle / MANIFEST).write_text(json.dumps(manifest))
    return tiny_bundle


@pytest.fixture
def pictures(tmp_path: Path, picture: Callable[..., Any]) -> list[Path]:
    paths = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, path in enumerate(paths):
        picture(seed=seed).save(path)
    return paths


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("blend", ()),
        ("interpolate", ("--space", "padding")),
        ("interpolate", ("--from-average",)),
        ("custom-edit", ("--space", "padding")),
    ],
)
def test_padding_edits_are_refused(
    baseline: Path, pictures: list[Path], tmp_path: Path, run_cli: Callable[..., Any], verb: str, options: tuple[str]
) -> None:
    paths: list[Any] = pictures[:1] if "--from-average" in options else list(pictures)
    if verb == "custom-edit":
        paths = ["--pair", *pictures, "--target", pictures[0]]
    result = run_cli(verb, *paths, *options, "--model", baseline, "--align", "never", "--out", tmp_path / "out")
    assert result.code == 2, result.err
    assert "predicts latent codes only" in result.err
    assert "Traceback" not in result.err
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("invert", ()),
        ("interpolate", ("--space", "latent")),
        ("custom-edit", ("--space", "latent")),
        ("custom-edit", ("--space", "auto")),
    ],
)
def test_everything_else_works(
    baseline: Path, pictures: list[Path], tmp_path: Path, run_cli: Callable[..., Any], verb: str, options: tuple[str]
) -> None:
    paths: list[Any] = ["--pair", *pictures, "--target", pictures[0]] if verb == "custom-edit" else list(pictures)
    result = run_cli(verb, *paths, *options, "--model", baseline, "--align", "never", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    if "auto" in options:
        assert "space: latent, because the model predicts no padding" in result.out


def test_saved_inversions_bring_their_padding_along(
    tiny_bundle: Path, pictures: list[Path], tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    """Inversions of a model with padding may be blended by a baseline of the same generator."""
    folder = tmp_path / "saved"
    assert run_cli("invert", *pictures, "--model", tiny_bundle, "--align", "never", "--out", folder).code == 0
    manifest = json.loads((tiny_bundle / MANIFEST).read_text())
    manifest["encoder"]["padding"] = False
    (tiny_bundle / MANIFEST).write_text(json.dumps(manifest))
    assert not Model.load(tiny_bundle).predicts_padding
    files = sorted(folder.rglob("*.safetensors"))
    assert run_cli("blend", *files, "--model", tiny_bundle, "--out", tmp_path / "out").code == 0
