"""`-` for standard input and output, and `--out FILE` for one picture."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_gallery import add_directions, random_direction

from padinv.runtime.provenance.record import provenance_of

START = "from padinv.cli.main import main; main()"


class Pipe(io.TextIOWrapper):
    """A standard stream in place of a pipe, or of a terminal."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(BytesIO(data))
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def piped(
    tiny_bundle: Path, picture: Callable[..., Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, bytes, str]]:
    """Run a command in a folder with me.jpg and you.jpg; `data` comes in, and what goes out comes back."""
    add_directions(tiny_bundle, {"smile": random_direction(0, "latent", "smile")})
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("me.jpg", "you.jpg")):
        picture(40, 30, seed).save(name, quality=95)

    def run(words: str, data: bytes | None = None, *, terminal: bool = False) -> tuple[int, bytes, str]:
        from padinv.cli.main import app

        out, err = Pipe(terminal=terminal), io.StringIO()
        monkeypatch.setattr("sys.stdin", Pipe(data or b"", terminal=data is None))
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)
        try:
            app(args=[*words.split(), "--model", "bundle", "--threads", "1"], prog_name="padinv")
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out.flush()
        return code, out.buffer.getvalue(), err.getvalue()  # type: ignore[attr-defined]

    return run


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def _result(piped: Any, words: str, name: str) -> bytes:
    """A result of the same command with a folder."""
    code, _, err = piped(f"{words} --out folder --overwrite")
    assert code == 0, err
    return Path("folder", name).read_bytes()


@pytest.mark.parametrize(
    ("words", "whole", "name"),
    [
        ("invert -", "invert me.jpg", "me.jpg.png"),
        ("invert - --paste-back", "invert me.jpg --paste-back", "me.jpg.photo.png"),
        ("edit smile=0.5 - --paste-back", "edit smile=0.5 me.jpg --paste-back", "me.jpg.photo.png"),
        ("blend - you.jpg", "blend me.jpg you.jpg", "me.jpg--you.jpg.png"),
        ("blend you.jpg -", "blend you.jpg me.jpg", "you.jpg--me.jpg.png"),
        ("custom-edit --pair me.jpg you.jpg --space both -", "custom-edit --pair me.jpg you.jpg --space both me.jpg",
         "me.jpg.png"),
    ],
)  # fmt: skip
def test_a_picture_comes_in_and_a_picture_goes_out(piped: Any, words: str, whole: str, name: str) -> None:
    data = Path("me.jpg").read_bytes()
    code, out, err = piped(words, data)
    assert code == 0, err
    assert (_pixels(out) == _pixels(_result(piped, whole, name))).all()
    assert "padinv-" not in err
    assert piped(words, data)[1] == out  # the same bytes, although the file between has another name
    assert not Path("padinv-out").exists()


def test_an_inversion_can_be_piped_in(piped: Any) -> None:
    _result(piped, "invert me.jpg", "me.jpg.png")
    code, out, err = piped("edit smile -", Path("folder/me.jpg.safetensors").read_bytes())
    assert code == 0, err
    assert (_pixels(out) == _pixels(_result(piped, "edit smile folder/me.jpg.safetensors", "me.jpg.png"))).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "PNG"])
def test_one_picture_goes_into_one_file(piped: Any, suffix: str) -> None:
    code, out, err = piped(f"edit smile me.jpg --paste-back --out new/b.{suffix}")
    assert code == 0, err
    assert out == b""
    assert f"wrote new/b.{suffix}" in err
    assert os.listdir("new") == [f"b.{suffix}"]
    made = Path(f"new/b.{suffix}").read_bytes()
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}.get(suffix, "PNG")
    assert Image.open(BytesIO(made)).format == kind
    wanted = _pixels(_result(piped, "edit smile me.jpg --paste-back", "me.jpg.photo.png")).astype(float)
    assert np.abs(_pixels(made) - wanted).mean() < (0.01 if kind == "PNG" else 4)
    found = provenance_of(made)
    assert found is not None
    assert found.command == "padinv edit smile me.jpg --model bundle --paste-back"
    assert piped(f"edit smile me.jpg --paste-back --out new/b.{suffix}")[0] == 0  # ours: made again


def test_a_generated_picture_goes_to_standard_output(piped: Any) -> None:
    code, out, err = piped("generate --seeds 3 --out -")
    assert code == 0, err
    assert (_pixels(out) == _pixels(_result(piped, "generate --seeds 3", "seed-0003.png"))).all()


def test_standard_output_takes_the_format_that_is_asked_for(piped: Any) -> None:
    assert Image.open(BytesIO(piped("invert me.jpg --out - --format webp")[1])).format == "WEBP"


def test_a_file_that_is_not_padinv_s_is_kept(piped: Any, picture: Callable[..., Image.Image]) -> None:
    picture().save("mine.png")
    before = Path("mine.png").read_bytes()
    code, _, err = piped("invert me.jpg --out mine.png")
    assert code == 2
    assert "not padinv's" in err
    assert piped("invert me.jpg --out b.png")[0] == 0
    other = Path("b.png").read_bytes()
    code, _, err = piped("invert you.jpg --out b.png")
    assert code == 2
    assert "not a result of the same command and input" in err
    assert (Path("mine.png").read_bytes(), Path("b.png").read_bytes()) == (before, other)
    assert piped("invert you.jpg --out mine.png --overwrite")[0] == 0
    assert Path("mine.png").read_bytes() != before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("invert me.jpg you.jpg --out b.png", "this makes several"),
        ("invert . --out b.png", "this makes several"),
        ("invert *.jpg --out b.png", "this makes several"),
        ("edit smile me.jpg --strength -1:1:3 --out b.png", "this makes several"),
        ("edit smile me.jpg --each --out b.png", "leave out --each"),
        ("blend me.jpg you.jpg --style-mixing --out b.png", "leave out --style-mixing"),
        ("invert me.jpg --json --out b.png", "leave out --json"),
        ("generate --seeds 0-1 --out b.png", "this makes 2 pictures"),
        ("invert me.jpg --format jpg --out b.png", "disagree"),
    ],
)
def test_what_makes_more_than_one_picture_is_refused(piped: Any, words: str, sentence: str) -> None:
    code, out, err = piped(words)
    assert code == 2
    assert sentence in err
    assert out == b"" or "--json" in words
    assert not Path("b.png").exists()


def test_terminals_and_empty_pipes_are_refused(piped: Any) -> None:
    for words, data, terminal, code, sentence in (
        ("invert -", None, False, 2, "which is a terminal here"),
        ("invert -", b"", False, 1, "nothing came through standard input"),
        ("blend - -", b"x", False, 2, "can be read once"),
        ("invert me.jpg --out -", None, True, 2, "would go to a terminal"),
        ("invert -", b"not a picture", False, 1, "standard input"),
    ):
        found, out, err = piped(words, data, terminal=terminal)
        assert (found, out) == (code, b""), (words, err)
        assert sentence in err


def test_standard_input_goes_into_a_folder_too(piped: Any) -> None:
    code, out, err = piped("invert - --out results", Path("me.jpg").read_bytes())
    assert code == 0, err
    assert {"stdin.png", "stdin.safetensors", "results.jsonl"} <= set(os.listdir("results"))
    code, out, _ = piped("invert - --out results", Path("me.jpg").read_bytes())
    assert b"1 already there" in out


def test_a_reader_that_goes_away_is_no_error_message(tiny_bundle: Path, picture: Any, tmp_path: Path) -> None:
    picture(40, 30).save(tmp_path / "me.jpg")
    command = [sys.executable, "-c", START, "invert", "me.jpg", "--out", "-", "--model", str(tiny_bundle), "-q"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 130
