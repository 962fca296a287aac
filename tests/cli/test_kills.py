"""Every verb is killed at random moments and run again; its folder must be that of a run that was never killed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_server import KillServer, kill_server
from tiny_bundle import write_tiny_bundle

VERBS = {
    "invert": ("invert", "IN", "--paste-back", "--no-report", "--batch", 2),
    "invert to webp": ("invert", "IN", "--format", "webp", "--no-report", "--batch", 2),
    "blend": ("blend", "IN/0.png", "IN", "--save-inversions", "--style-mixing", "--batch", 2),
    "custom-edit": (
        *("custom-edit", "--pair", "IN/0.png", "--pair", "IN/1.png", "--target", "IN", "--space", "both"),
        *("--save", "WORK/direction.safetensors", "--save-inversions", "--paste-back", "--batch", 2),
    ),
    "interpolate": (
        *("interpolate", "--from-average", "IN", "--steps", 3, "--space", "both"),
        *("--frames", "--save-inversions", "--grid", 2),
    ),
    "align": ("align", "IN", "--landmarks", "POINTS", "--size", 24),
    "generate": ("generate", "--seeds", "0-5", "--save-inversions", "--batch", 2),
}


@pytest.fixture(scope="module")
def server() -> Iterator[KillServer]:
    with kill_server() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in memory where there is one: every write waits for the disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def inputs(place: Path, picture) -> Path:
    """Pictures, a model and landmarks, all tiny."""
    folder = place / "inputs"
    (folder / "in" / "sub").mkdir(parents=True)
    for i, name in enumerate(["0.png", "1.png", "2.png", "sub/3.png", "sub/4.png"]):
        picture(24, 20, seed=i).save(folder / "in" / name)
    write_tiny_bundle(folder / "bundle")
    points = ",".join(map(str, (7, 8, 13, 8, 10, 11, 8, 14, 12, 14)))
    (folder / "points.csv").write_text("".join(f"{name}.png,{points}\n" for name in "01234"))
    return folder


def contents(folder: Path) -> dict[str, object]:
    """Every file's bytes, and of log and page everything but what a clock says."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "results.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[path.name] = [{k: v for k, v in record.items() if k != "seconds"} for record in records]
        elif path.name == "report.html":
            found[path.name] = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", path.read_text())
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def command(verb: str, inputs: Path, work: Path) -> list[object]:
    places = {"IN": inputs / "in", "POINTS": inputs / "points.csv", "WORK": work}
    arguments = [
        next((str(one).replace(key, str(path), 1) for key, path in places.items() if str(one).startswith(key)), one)
        for one in VERBS[verb]
    ]
    model = [] if verb == "align" else ["--model", inputs / "bundle"]
    return [*arguments, *model, "--out", work / "out", "--threads", 1]


def check(server: KillServer, verb: str, inputs: Path, place: Path, kills: int, seed: int = 0) -> None:
    work = place / "work"
    call = command(verb, inputs, work)
    work.mkdir()
    whole = server.run(*call)
    assert whole.code == 0, whole.text
    expected = contents(work)
    assert any(name.startswith("out/") for name in expected)
    rng = random.Random(seed)
    for _ in range(kills):
        shutil.rmtree(work)
        work.mkdir()
        for _ in range(rng.choice([1, 1, 2])):  # some are killed twice
            if rng.random() < 0.8:
                moment = {"kill_at": rng.randint(1, whole.events)}
            else:
                moment = {"kill_after": rng.random() * whole.seconds}
            server.run(*call, **moment)
        again = server.run(*call)
        assert again.code == 0, f"killed at {moment}: {again.text}"
        assert contents(work) == expected, f"killed at {moment}"


@pytest.mark.parametrize("verb", VERBS)
def test_a_killed_run_continues_to_the_same_folder(server: KillServer, inputs: Path, place: Path, verb: str) -> None:
    check(server, verb, inputs, place, kills=10)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_hundred_kills(server: KillServer, inputs: Path, place: Path, verb: str) -> None:
    check(server, verb, inputs, place, kills=100, seed=1)


def test_the_server_really_kills(server: KillServer, inputs: Path, place: Path) -> None:
    killed = server.run(*command("invert", inputs, place), kill_at=8)
    assert killed.code == -9
    assert (place / "out").exists()
