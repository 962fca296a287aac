"""The calls on folders write what the commands write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import padinv
from padinv.runtime.errors import ExitCode, InputError


@pytest.fixture
def photos(tmp_path: Path, picture: Callable[..., Any]) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    picture(30, 20, seed=1).save(folder / "a.png")
    picture(30, 30, seed=2).save(folder / "sub" / "b.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    names = ("results.jsonl", "report.html", "contact-sheet.png")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in names]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith(".")}


def test_a_folder_is_inverted_as_by_the_command(
    run_cli: Callable[..., Any], tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    assert run_cli("invert", photos, "--model", tiny_bundle, "--out", tmp_path / "cli", "--paste-back").code == 0
    events: list[Any] = []
    result = padinv.invert_folder(
        photos, out=tmp_path / "api", model=tiny_bundle, paste_back=True, on_event=events.append
    )
    assert contents(tmp_path / "api") == contents(tmp_path / "cli")
    assert (result.exit_code, len(events)) == (ExitCode.DONE, 2)
    assert set(result.files["sub/b.png"]) == {"image", "inversion", "photo"}
    assert result.records[0]["mse"] >= 0
    again = padinv.invert_folder(photos, out=tmp_path / "api", model=tiny_bundle, paste_back=True)
    assert repr(again).endswith("0 done, 2 kept, 0 skipped)")


def test_skipped_inputs_are_warnings_and_have_codes(
    tiny_bundle: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "bad.png").write_text("text")
    with caplog.at_level(logging.WARNING, logger="padinv"):
        result = padinv.invert_folder([photos], out=tmp_path / "out", model=tiny_bundle)
    assert result.exit_code == ExitCode.PARTLY
    assert [(Path(one.path).name, one.code) for one in result.skipped] == [("bad.png", "not-an-image")]
    assert "bad.png is not a PNG" in caplog.text
    with pytest.raises(InputError, match="nothing was done"):
        padinv.invert_folder(tmp_path / "none", out=tmp_path / "out", model=tiny_bundle)


def test_images_are_generated_and_edited_as_by_the_commands(
    run_cli: Callable[..., Any], tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    model = padinv.load(tiny_bundle)
    assert run_cli("generate", "--model", tiny_bundle, "--seeds", "3,5", "--out", tmp_path / "cli").code == 0
    padinv.generate_images([3, 5], out=tmp_path / "api", model=model)
    assert contents(tmp_path / "api") == contents(tmp_path / "cli")
    change = padinv.difference(*model.invert([photos / "a.png", photos / "sub" / "b.png"]))
    change.save(tmp_path / "d.safetensors")
    command = ("custom-edit", "--direction", tmp_path / "d.safetensors", photos, "--space", "padding")
    assert run_cli(*command, "--model", tiny_bundle, "--out", tmp_path / "edit-cli").code == 0
    result = padinv.edit_folder(change, photos, out=tmp_path / "edit", model=model, space="padding")
    from PIL import Image

    for name in ("a.png.png", "sub/b.png.png"):
        with Image.open(tmp_path / "edit" / name) as mine, Image.open(tmp_path / "edit-cli" / name) as theirs:
            assert mine.tobytes() == theirs.tobytes()
    assert sorted(result.files) == ["a.png", "sub/b.png"]
