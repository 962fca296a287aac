"""`padinv watch`, as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_gallery import add_directions, random_direction

from padinv.runtime.provenance.record import provenance_of

START = "from padinv.cli.main import main; main()"


def _hear_interrupts() -> None:
    """A test run in the background of a shell ignores SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def watched(tiny_bundle: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `padinv watch camera` in a folder of its own; what is left at the end is killed."""
    add_directions(tiny_bundle, {"smile": random_direction(0, "latent", "smile")})
    (tmp_path / "camera").mkdir()
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-c", START, "watch", "camera", "--model", "bundle", "--interval", "0.1"]
        process = subprocess.Popen(
            [*command, "--threads", "1", "--out", "out", *words],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=_hear_interrupts,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _line(process: subprocess.Popen[str], *, error: bool = False) -> str:
    stream = process.stderr if error else process.stdout
    assert stream is not None
    return stream.readline().strip()


def test_pictures_are_inverted_as_they_arrive_and_a_second_run_continues(
    watched: Any, run_cli: Callable[..., Any], picture: Callable[..., Image.Image], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    camera = tmp_path / "camera"
    picture(40, 30, 0).save(camera / "a.png")
    process = watched()
    assert "watching camera" in _line(process, error=True)
    assert _line(process) == "out/a.png.png"
    (camera / "bad.jpg").write_bytes(b"\xff\xd8\xff half a photograph")
    assert "bad.jpg" in _line(process, error=True)
    picture(40, 30, 1).save(camera / "b.jpg")
    assert _line(process) == "out/b.jpg.png"
    picture(40, 30, 2).save(camera / "bad.jpg")  # whole now
    assert _line(process) == "out/bad.jpg.png"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 3  # one picture could not be read at first
    again = watched()
    assert "watching" in _line(again, error=True)
    picture(40, 30, 3).save(camera / "c.png")
    assert _line(again) == "out/c.png.png"  # the first line: what was there is kept
    again.send_signal(signal.SIGINT)
    assert again.wait(60) == 0
    monkeypatch.chdir(tmp_path)  # a plain inversion of the same folder finds all of it done
    result = run_cli("invert", "camera", "--model", "bundle", "--threads", 1, "--out", "out", "--json")
    assert (json.loads(result.out)["written"], json.loads(result.out)["kept"]) == (0, 4)


def test_an_edit_is_applied_as_padinv_edit_does_it(
    watched: Any, run_cli: Callable[..., Any], picture: Callable[..., Image.Image], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    process = watched("--edit", "smile=0.5", "--paste-back", "--batch", "2")
    assert "watching" in _line(process, error=True)
    (tmp_path / "camera" / "deep").mkdir()
    picture(40, 30).save(tmp_path / "camera" / "deep" / "a.png")
    assert _line(process) == "out/deep/a.png.photo.png"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    monkeypatch.chdir(tmp_path)
    words = ("edit", "smile=0.5", "camera", "--paste-back", "--model", "bundle", "--threads", 1)
    assert run_cli(*words, "--out", "other").code == 0
    assert (np.asarray(Image.open("out/deep/a.png.png")) == np.asarray(Image.open("other/deep/a.png.png"))).all()
    made, wanted = (Path(folder, "deep", "a.png.photo.png").read_bytes() for folder in ("out", "other"))
    assert made == wanted
    found = provenance_of(made)
    assert found is not None
    assert found.command == "padinv edit smile=0.5 a.png --model bundle --paste-back"


def test_what_cannot_be_watched_is_refused(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "camera").mkdir()
    for words, code, sentence in (
        ((tmp_path / "missing",), 1, "is not a folder"),
        ((tmp_path / "camera", "--out", tmp_path / "camera"), 2, "is the folder to watch"),
        ((tmp_path / "camera", "--edit", "smile", "--format", "jpg"), 2, "edits are written as PNG"),
    ):
        result = run_cli("watch", *words)
        assert result.code == code
        assert sentence in result.err
