"""--device reaches the backend, whichever verb it is given to."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "arguments",
    [
        ["invert", "a.png"],
        ["generate", "--seeds", "0"],
        ["blend", "a.png", "b.png"],
        ["interpolate", "a.png", "b.png"],
        ["custom-edit", "--pair", "a.png", "b.png", "--target", "a.png"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_backend_without_devices_refuses_one(
    arguments: list[str], tiny_bundle: Path, tmp_path: Path, run_cli, picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b.png")):
        picture(20, 20, seed=seed).save(name)
    result = run_cli(
        *arguments, "--model", tiny_bundle, "--backend", "cpu", "--device", "cuda:1", "--out", tmp_path / "out"
    )
    assert result.code == 2, result.err
    assert "the backend cpu has no devices to choose from; leave --device out" in result.err
