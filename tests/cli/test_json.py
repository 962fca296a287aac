"""--json of every command: one object with schema, status, results and skipped, after a success and after a failure."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hub_server import TOKEN, HubServer, files_of
from json_document import json_document
from PIL import Image
from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, training_file
from tiny_bundle import SPEC
from tiny_gallery import add_directions, random_direction

import padinv.cli
from padinv.cli.main import app

# These run until they are stopped; each tells what it does as it goes.
WITHOUT_JSON = {"serve", "studio", "watch"}
# These take long or need weights; the tests of each call `json_document` once.
RAN_ELSEWHERE = {"bench", "demo", "directions sefa", "export", "reproduce", "train", "train-generator", "verify"}

# Command -> a call that succeeds in the folder which `place` makes.
CALLS = {
    "align": "a.png --size 16 --landmarks faces.csv --out out",
    "blend": "a.png b.png --model bundle --out out",
    "custom-edit": "--pair a.png b.png --target b.png --model bundle --out out",
    "dataset": "photos --size 16 --out data.zip",
    "directions fit": "hat --positive photos --negative others --folds 2 --model bundle",
    "directions import": "age.npy --made-for this --space w+ --model bundle",
    "directions list": "--model bundle",
    "directions show": "smile --model bundle",
    "edit": "smile=0.5 a.png --model bundle --out out",
    "eval": "photos --model bundle --backend cpu --resamples 100 --out out",
    "fetch": "",
    "generate": "--seeds 0 --model bundle --out out",
    "import": "tiny.pt --out G2.safetensors --no-samples",
    "info": "bundle",
    "interpolate": "a.png b.png --steps 2 --model bundle --out out",
    "invert": "a.png --model bundle --out out",
    "models": "",
    "pull": "hf:someone/tiny",
    "push": "bundle hf:me/tiny --card CARD.md",
}


def commands(group: Any, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        found |= commands(command, f"{path}{name} ") if hasattr(command, "commands") else {path + name: command}
    return found


ALL = commands(typer.main.get_command(app))


def test_every_command_has_json_and_a_call_here() -> None:
    with_json = {path for path, command in ALL.items() if any("--json" in one.opts for one in command.params)}
    assert with_json == set(ALL) - WITHOUT_JSON
    assert with_json == set(CALLS) | RAN_ELSEWHERE


@pytest.mark.parametrize("path", sorted(set(ALL) - WITHOUT_JSON))
def test_wrong_use_is_told_in_the_object(path: str, run_cli: Callable[..., Any]) -> None:
    result = run_cli(*path.split(" "), "--no-such-option", "--json")
    document = json_document(result)
    assert result.code == 2
    assert document["error"]["code"] == "usage"
    assert document["results"] == document["skipped"] == []


def test_the_object_is_made_in_one_place() -> None:
    """A command that dumps JSON of its own would not have the common keys."""
    folder = Path(padinv.cli.__file__).parent
    own = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "dumps"
    }
    assert own == {"json_output.py"}


@pytest.fixture
def place(
    tmp_path: Path, tiny_bundle: Path, hub: HubServer, picture: Callable[..., Image.Image], monkeypatch: Any
) -> Path:
    """A folder with the files that `CALLS` name, and a hub that has hf:someone/tiny."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    card = "---\nlicense: mit\ndata: numbers\nintended_use: tests\nlimits: all\nfigures: {MSE: 1}\n---\n# Tiny\n"
    (tmp_path / "CARD.md").write_text(card)
    add_directions(tiny_bundle, {"smile": random_direction(0, "latent", "smile")})
    hub.add("someone/tiny", files_of(tiny_bundle))
    (tmp_path / "faces.csv").write_text("a.png,10,12,21,12,16,17,11,22,20,22\n")
    np.save("age.npy", np.ones(SPEC.latent_shapes["wp"], np.float32))
    for folder, first in ((".", 0), ("photos", 2), ("others", 22)):
        for name, seed in zip("abcdefghijkl", range(first, first + (2 if folder == "." else 12)), strict=False):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture(32, 32, seed).save(tmp_path / folder / f"{name}.png")
    torch.save(training_file(RosinalityGenerator((6, 5, 4), 5, 2), RosinalityDiscriminator((6, 5, 4))), "tiny.pt")
    return tmp_path


@pytest.mark.parametrize("path", CALLS)
def test_a_success_has_the_common_keys(path: str, place: Path, run_cli: Callable[..., Any]) -> None:
    result = run_cli(*path.split(" "), *shlex.split(CALLS[path]), "--json")
    assert result.code in (0, 3), result.err
    assert json_document(result)["results"]
