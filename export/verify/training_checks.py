"""Fifty steps of encoder training in every precision, through the command line, on one GPU and on all of them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from padinv.checkpoints.native import save_generator
from padinv.export.verify.checks import CheckError, Checks, Figures, NotHereError
from padinv.models.generator import Generator
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(32, (64, 64, 64, 64), z_dim=64, w_dim=64, mapping_layers=2)
STEPS, BATCH, PICTURES = 50, 8, 64
TIMEOUT = 150  # seconds; a start of torch and accelerate is part of it
PRECISIONS = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}


def check_training(checks: Checks, folder: Path) -> None:
    """Train under the processor or one GPU, and under all GPUs where there are several."""
    generator, data = folder / "generator.safetensors", folder / "data.zip"

    def prepare() -> tuple[str, Figures]:
        torch.manual_seed(3)
        network = Generator(SPEC).eval()
        with torch.no_grad():
            network.w_avg.copy_(network.mapping(torch.randn(256, SPEC.z_dim)).mean(0))
        save_generator(generator, network)
        _write_pictures(data)
        return f"a 32 px generator at random weights and {PICTURES} synthetic images", {}

    if not checks.run("training", "preparation", prepare):
        return
    gpus = torch.cuda.device_count()
    places = ["cpu"] if gpus == 0 else (["1 GPU"] if gpus == 1 else ["1 GPU", f"{gpus} GPUs"])
    for place in places:
        for precision, title in PRECISIONS.items():

            def train(place: str = place, precision: str = precision) -> tuple[str, Figures]:
                if place == "cpu" and precision == "fp16":
                    raise NotHereError("fp16 needs a GPU")
                out = folder / f"run-{place.replace(' ', '-')}-{precision}"
                return _train(generator, data, out, precision, 1 if place in ("cpu", "1 GPU") else gpus)

            checks.run("training", f"{STEPS} steps on {place} in {title}", train)


def _train(generator: Path, data: Path, out: Path, precision: str, processes: int) -> tuple[str, Figures]:
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [*start, "padinv", "train", "--generator", str(generator), "--data", str(data), "--out", str(out)]
    command += ["--arch", "fast", "--per", "0", "--steps", str(STEPS), "--batch", str(BATCH), "--lr", "1e-3"]
    command += ["--mixed-precision", precision, "--log-images", str(10 * BATCH * processes), "--workers", "0"]
    _run(command, processes)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    losses = [record["pix"] for record in records if "pix" in record]
    if len(losses) < 2 or not all(map(math.isfinite, losses)):
        raise CheckError(f"the pixel losses are {losses}", {"losses": losses})
    if losses[-1] >= losses[0]:
        raise CheckError(f"the pixel loss rose from {losses[0]:.4f} to {losses[-1]:.4f}", {"losses": losses})
    if not (out / "encoder.safetensors").is_file():
        raise CheckError(f"the training ended without {out.name}/encoder.safetensors")
    rate = max(record.get("images_per_s", 0.0) for record in records)
    _run(command, processes)  # the same command again finds the run finished
    line = f"pixel loss {losses[0]:.4f} to {losses[-1]:.4f}, {rate:,.0f} images/s; the same command again: done"
    return line, {"losses": losses, "images_per_second": rate, "processes": processes}


def _run(command: list[str], processes: int) -> None:
    import padinv

    root = str(Path(padinv.__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if processes == 1 and torch.cuda.device_count() > 1:
        environment["CUDA_VISIBLE_DEVICES"] = "0"
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"the training took more than {TIMEOUT} seconds and was stopped") from error
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
        raise CheckError(f"padinv train ended with code {done.returncode}: {' | '.join(last)}")


def _write_pictures(path: Path) -> None:
    """Smooth colourful images in a ZIP archive."""
    noise = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(PICTURES):
            coarse = noise.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            buffer = BytesIO()
            size = (SPEC.resolution, SPEC.resolution)
            Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, "PNG")
            archive.writestr(f"{k:03d}.png", buffer.getvalue())
