"""Consoles that cannot show every character: the work is done, and what cannot be shown is a question mark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_server import KillServer, kill_server
from tiny_bundle import write_tiny_bundle

NAME = "Łódź–猫→.png"  # no console of these encodings has all of its characters


@pytest.fixture(scope="module")
def server() -> Iterator[KillServer]:
    with kill_server() as running:
        yield running


@pytest.fixture
def inputs(tmp_path: Path, picture) -> Path:
    (tmp_path / "in").mkdir()
    picture(24, 20, seed=1).save(tmp_path / "in" / NAME)
    picture(24, 20, seed=2).save(tmp_path / "in" / "plain.png")
    (tmp_path / "in" / "schlecht-猫.png").write_text("not a picture")
    points = ",".join(map(str, (7, 8, 13, 8, 10, 11, 8, 14, 12, 14)))
    (tmp_path / "points.csv").write_text(f"{NAME},{points}\nplain.png,{points}\n", encoding="utf-8")
    write_tiny_bundle(tmp_path / "bundle")
    return tmp_path


VERBS = {
    "invert": ("invert", "IN"),
    "invert, json": ("invert", "IN", "--json"),
    "blend": ("blend", f"IN/{NAME}", "IN", "--report"),
    "custom-edit": ("custom-edit", "--pair", f"IN/{NAME}", "--pair", "IN/plain.png", "--target", "IN"),
    "interpolate": ("interpolate", "--from-average", "IN", "--steps", 2),
    "align": ("align", "IN", "--landmarks", "POINTS", "--size", 24),
    "generate": ("generate", "--seeds", "0-1"),
}


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "latin-1", "ascii"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_works_on_every_console(server: KillServer, inputs: Path, verb: str, encoding: str) -> None:
    places = {"IN": str(inputs / "in"), "POINTS": str(inputs / "points.csv")}
    arguments = [
        next((str(one).replace(key, path, 1) for key, path in places.items() if str(one).startswith(key)), one)
        for one in VERBS[verb]
    ]
    out = inputs / f"out-ü-{NAME}-results"  # a name that ends in .png is one picture
    model = [] if verb == "align" else ["--model", inputs / "bundle"]
    result = server.run(*arguments, *model, "--out", out, "--threads", 1, encoding=encoding)
    assert result.code == (0 if verb == "generate" else 3), result.text
    assert "went wrong" not in result.text
    assert "Traceback" not in result.text
    assert len((out / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    if verb != "generate":
        assert "schlecht-" in result.text
    if verb == "invert, json":
        assert json.loads(result.text.splitlines()[-1])["written"] == 2


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_info_and_help_work_on_every_console(server: KillServer, inputs: Path, encoding: str) -> None:
    for arguments in (["--help"], ["invert", "--help"], ["info", inputs / "bundle"]):
        result = server.run(*arguments, encoding=encoding)
        assert result.code == 0, result.text
