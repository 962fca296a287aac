"""Several real processes (gloo): every picture once in an epoch, the launcher's settings, validation together."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from epoch_of_process import __file__ as EPOCH
from picture_containers import SUFFIX, WRITERS
from several_commands import __file__ as RUNNER
from tiny_training import picture_bytes, write_generator, write_pictures

from padinv.checkpoints import load_encoder, load_generator
from padinv.picture_sources import open_pictures
from padinv.training.validation import evaluate, read_validation


def launch(processes: int, *command: str, **environment: str) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    run = subprocess.run(
        [*launcher, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.parametrize(("processes", "kind"), [(2, "tar"), (4, "lmdb")])
def test_every_picture_comes_once_in_an_epoch(processes: int, kind: str, tmp_path: Path) -> None:
    pictures = {f"{k:05d}.png": picture_bytes(k, 20) for k in range(24)}
    data = WRITERS[kind](tmp_path / f"data{SUFFIX.get(kind, '')}", pictures)
    launch(processes, EPOCH, str(data), "3", str(tmp_path / "seen.json"))
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(seen) == processes
    source = open_pictures(data)
    expected = sorted(
        hashlib.sha256(torch.from_numpy(source.read(k, 16)).permute(2, 0, 1).contiguous().numpy()).hexdigest()
        for k in range(24)
    )
    share = 24 // processes
    for epoch in range(2):
        parts = [mine[epoch * share : (epoch + 1) * share] for mine in seen]
        assert sorted(digest for part in parts for digest in part) == expected


def test_two_processes_obey_the_launcher_and_measure_together(tmp_path: Path) -> None:
    """Its settings arrive in the environment; --dry-run estimates in every process and waits for none."""
    generator = write_generator(tmp_path / "g.safetensors")
    data = write_pictures(tmp_path / "data.zip")
    train = ["train", "--generator", str(generator), "--data", str(data), "--arch", "fast", "--per", "0"]
    train += ["--batch", "2", "--seed", "7", "--val", str(data), "--val-count", "5"]
    commands = [
        [*train, "--out", str(tmp_path / "dry"), "--steps", "2", "--dry-run"],
        [*train, "--out", str(tmp_path / "run"), "--steps", "2"],
        [*train, "--out", str(tmp_path / "no"), "--steps", "2", "--accumulate", "4"],
        [*train, "--out", str(tmp_path / "global"), "--steps", "1", "--mixed-precision", "bf16"],
    ]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    environment = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "3", "ACCELERATE_MIXED_PRECISION": "bf16"}
    launch(2, RUNNER, str(tmp_path / "codes.json"), str(tmp_path / "commands.json"), **environment)
    assert json.loads((tmp_path / "codes.json").read_text()) == [0, 0, 2, 0]
    assert not (tmp_path / "dry").exists()
    assert not (tmp_path / "no").exists()
    identity = json.loads((tmp_path / "run" / "config.json").read_text())["identity"]
    assert (identity["accumulate"], identity["mixed_precision"], identity["processes"]) == (3, "bf16", 2)
    assert identity["images"] == 2 * 2 * 3 * 2  # steps, batch, passes, processes

    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    figures = next(record for record in records if record["kind"] == "val")
    encoder = load_encoder(tmp_path / "run" / "encoder.safetensors")
    images, _ = read_validation(open_pictures(data), 32, 5)
    assert figures["mse"] == pytest.approx(evaluate(encoder, load_generator(generator), images, None)["mse"], rel=1e-4)
