"""Trackers with their own packages, where those are installed: numbers and pictures arrive, offline."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# A process of its own: the packages keep their settings and services until a process ends.
PROGRAM = """
import socket, sys
from pathlib import Path
import numpy as np

real = socket.socket.connect
def connect(self, address):
    local = not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1", "localhost")
    if not local:
        open(sys.argv[3], "a").write(f"{address}\\n")
        raise OSError("no network here")
    return real(self, address)
socket.socket.connect = connect

from accelerate.state import PartialState
from padinv.training.trackers import Trackers

PartialState(cpu=True)
trackers = Trackers([sys.argv[1]], Path(sys.argv[2]), {"lr": 0.001, "pad_resolutions": [4, 8]})
for images in (8, 16):
    trackers.log({"train/pix": 1.0 / images}, images)
    trackers.log_image("reconstructions", np.full((8, 16, 3), images, np.uint8), images)
trackers.close()
"""


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow"])
def test_numbers_and_pictures_stay_on_this_machine(name: str, tmp_path: Path) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    run, calls = tmp_path / "runs" / "first", tmp_path / "calls"
    run.mkdir(parents=True)
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))}
    environment = {**kept, "HF_HOME": str(tmp_path / "hf"), "TRACKIO_DIR": str(tmp_path / "trackio")}
    command = [sys.executable, "-c", PROGRAM, name, str(run), str(calls)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not calls.exists() or calls.read_text() == ""
    {"wandb": check_wandb, "trackio": check_trackio, "mlflow": check_mlflow}[name](tmp_path)


def check_wandb(root: Path) -> None:
    (folder,) = (root / "runs" / "first" / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))
    assert len(list(folder.glob("files/media/images/reconstructions_*.png"))) == 2


def check_trackio(root: Path) -> None:
    (database,) = (root / "trackio").glob("padinv*.db")
    with sqlite3.connect(database) as connection:
        rows = [str(row) for row in connection.execute("select * from metrics")]
    assert sum("train/pix" in row and "0.0625" in row for row in rows) == 1
    assert len(list((root / "trackio").rglob("*.png"))) == 2


def check_mlflow(root: Path) -> None:
    with sqlite3.connect(root / "runs" / "mlflow.db") as connection:
        metrics = list(connection.execute("select key, value, step from metrics order by step"))
        settings = dict(connection.execute("select key, value from params"))
    assert metrics == [("train/pix", 0.125, 8), ("train/pix", 0.0625, 16)]
    assert settings["lr"] == "0.001"
    assert len(list((root / "runs" / "mlruns").rglob("images/reconstructions*.png"))) == 2
