"""What verbs say: each kind of note once, progress in a pipe, empty arguments refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from padinv.cli import progress
from padinv.cli.output import Notes
from padinv.cli.progress import progress_bar


def test_the_same_note_is_said_once_with_a_count() -> None:
    said: list[str] = []
    notes = Notes()
    for i in range(3000):
        notes.add(
            f"no face was found in in/{i}.png, so the image was used without alignment", f"in/{i}.png", said.append
        )
    notes.add("running on the CPU", "", said.append)
    notes.finish(said.append)
    assert said == [
        "no face was found in in/0.png, so the image was used without alignment",
        "running on the CPU",
        "the same for 2999 more: no face was found in ..., so the image was used without alignment",
    ]


def test_a_pipe_gets_a_line_now_and_then(monkeypatch, capsys) -> None:
    clock = iter(range(0, 10_000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress_bar("inverting", 100, "images") as bar:
        for _ in range(100):
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert 20 < len(lines) < 40
    assert lines[0] == "padinv: inverting: 3 of 100 images, 0.2 per second, 0:06:28 left"


def test_short_work_says_nothing_in_a_pipe(capsys) -> None:
    with progress_bar("inverting", 100) as bar:
        for _ in range(100):
            bar.advance()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("invert", ""),
        ("invert", " "),
        ("blend", "", "b.png"),
        ("blend", "a.png", ""),
        ("custom-edit", "--pair", "a.png", "--pair", "b.png", "--target", ""),
        ("interpolate", "a.png", ""),
        ("align", ""),
        ("generate", ""),
        ("invert", "a.png", "--out", ""),
    ],
)
def test_an_empty_argument_is_wrong_use(run_cli, tmp_path: Path, monkeypatch, picture, arguments: tuple) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        picture(20, 20).save(tmp_path / name)
    result = run_cli(*arguments)
    assert result.code == 2, result.err
    assert "an argument is empty, so nothing was done" in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
