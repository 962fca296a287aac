"""The editing verbs on clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_clip import picture, read_clip, write_clip
from tiny_gallery import add_directions, random_direction

pytest.importorskip("av")


@pytest.fixture
def cli(run_cli: Callable[..., Any], tiny_bundle: Path) -> Callable[..., Any]:
    bundle = add_directions(tiny_bundle, {"smile": random_direction(1, "latent", "smile")})

    def run(*arguments: object) -> Any:
        return run_cli(*arguments, "--model", bundle, "--threads", 1)

    return run


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "me.mp4", 6)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(picture(0, (40, 40))).save(path)
    return path


def test_edit_writes_a_clip_a_page_and_a_summary(cli: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli("edit", "smile", clip, "--out", out, "--strength", 4)
    assert result.code == 0, result.err
    assert "1 edited in" in result.out
    assert "flicker: the aligned face changes by" in result.out
    assert {path.name for path in out.iterdir()} == {
        "me.mp4.mp4", "results.jsonl", "report.html", "contact-sheet.png",
    }  # fmt: skip
    again = cli("edit", "smile", clip, "--out", out, "--strength", 4, "--json")
    summary = json.loads(again.out)
    assert (summary["kept"], summary["written"]) == (1, 0)
    (one,) = summary["results"]
    assert (one["frames"], one["without_face"], one["video"]) == (6, 0, str(out / "me.mp4.mp4"))
    other = cli("edit", "smile", clip, "--out", tmp_path / "other", "--strength", -4)
    assert other.code == 0
    made = [read_clip(folder / "me.mp4.mp4")[1][2].astype(int) for folder in (out, tmp_path / "other")]
    assert np.abs(made[0] - made[1]).mean() > 0.5


def test_invert_blend_and_custom_edit_take_clips(
    cli: Callable[..., Any], clip: Path, photo: Path, tmp_path: Path
) -> None:
    assert cli("invert", clip, "--out", tmp_path / "i", "--no-report", "--no-sheet").code == 0
    assert sorted(path.name for path in (tmp_path / "i").iterdir()) == ["me.mp4.mp4", "results.jsonl"]
    assert cli("blend", photo, clip, "--out", tmp_path / "b").code == 0
    assert (tmp_path / "b" / "a.png--me.mp4.mp4").is_file()
    other = tmp_path / "a2.png"
    Image.fromarray(picture(8, (40, 40))).save(other)
    done = cli("custom-edit", "--pair", photo, other, clip, "--space", "latent", "--out", tmp_path / "c")
    assert done.code == 0, done.err
    assert (tmp_path / "c" / "me.mp4.mp4").is_file()


def test_a_clip_says_how_it_was_made(cli: Callable[..., Any], clip: Path, photo: Path, tmp_path: Path) -> None:
    import av

    def text(out: Path, name: str) -> str:
        with av.open(str(out / name)) as container:
            return container.metadata.get("description", "")

    cli("blend", photo, clip, "--out", tmp_path / "a", "--strength", 0.5, "--no-report", "--no-sheet")
    found = text(tmp_path / "a", "a.png--me.mp4.mp4")
    assert found.startswith("padinv blend a.png me.mp4 --model bundle --strength 0.5; made with padinv")
    assert found.endswith("compositeWithTrainedAlgorithmicMedia")
    cli("invert", clip, "--out", tmp_path / "b", "--no-provenance", "--no-report", "--no-sheet")
    assert text(tmp_path / "b", "me.mp4.mp4") == ""


def test_wrong_use_is_refused_in_a_sentence(cli: Callable[..., Any], clip: Path, photo: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    for arguments, words in (
        (("edit", "smile", clip, photo), "one command each"),
        (("edit", "smile", clip, "--strength", "0:1:3"), "a clip gets one result"),
        (("blend", clip, photo), "A must be a picture"),
        (("blend", photo, clip, "--style-mixing"), "--style-mixing does not go with it"),
        (("invert", clip, "--shard", "1/2"), "leave out --shard"),
        (("invert", clip, "--vs", tmp_path), "leave it out for a clip"),
        (("invert", photo, "--fps", 25), "--fps takes a folder"),
    ):
        result = cli(*arguments, *out)
        assert (result.code, words in result.err) == (2, True), (arguments, result.err)
    assert not (tmp_path / "out").exists()


def test_a_damaged_clip_is_named_and_the_others_are_done(cli: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    result = cli("invert", bad, clip, "--out", tmp_path / "out")
    assert result.code == 3
    assert f"{bad} is not a video" in result.err
    assert "Traceback" not in result.err
    assert cli("invert", bad, "--out", tmp_path / "none").code == 1
    assert not (tmp_path / "none").exists()


def test_a_folder_is_a_clip_under_fps(cli: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(picture(i)).save(folder / f"{i}.png")
    assert cli("edit", "smile", folder, "--fps", 12.5, "--out", tmp_path / "out").code == 0
    assert sorted(path.name for path in (tmp_path / "out" / "frames").iterdir()) == [f"{i}.png.png" for i in range(3)]


def test_without_pyav_the_extra_is_named(
    cli: Callable[..., Any], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    result = cli("invert", clip, "--out", tmp_path / "out")
    assert result.code == 1
    assert "pip install 'padinv[video]'" in result.err
