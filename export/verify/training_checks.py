"""Encoder training in every precision, through the command line: fifty small steps on one GPU and on all of them, and
two hundred steps of the paper's church setting at 256 px.

Without a GPU the church setting is tried with a few steps at 32 px, so that what it needs is known to be there.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from padinv.checkpoints.native import save_generator
from padinv.export.verify.checks import CheckError, Checks, Figures, NotHereError
from padinv.losses.weight_files import find_cached
from padinv.models.discriminator import Discriminator
from padinv.models.generator import Generator
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(32, (64, 64, 64, 64), z_dim=64, w_dim=64, mapping_layers=2)
CHURCH_SPEC = ModelSpec(256, (512, 512, 512, 512, 512, 256, 128))  # configuration F, as the paper's church generator
STEPS, CHURCH_STEPS, FEW_STEPS, BATCH, PICTURES = 50, 200, 4, 8, 64
TIMEOUT = 600  # seconds; a start of torch and accelerate is part of it
PRECISIONS = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}
CHURCH_PRECISIONS = {"float32": [], "TF32": ["--tf32"], "bf16": ["--mixed-precision", "bf16"]}


class Setting(NamedTuple):
    """What is trained."""

    generator: Path
    data: Path
    options: list[str]
    steps: int


def check_training(checks: Checks, folder: Path) -> None:
    """Train under the processor or one GPU, and under all GPUs where there are several."""
    found: list[Setting] = []

    def prepare() -> tuple[str, Figures]:
        options = ["--arch", "fast", "--per", "0", "--batch", str(BATCH), "--lr", "1e-3"]
        found.append(_setting(folder / "small", SPEC, options, STEPS))
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
                processes = 1 if place in ("cpu", "1 GPU") else gpus
                return _train(found[0], ["--mixed-precision", precision], out, processes, thorough=True)

            checks.run("training", f"{STEPS} steps on {place} in {title}", train)
    check_church(checks, folder, large=gpus > 0)


def check_church(checks: Checks, folder: Path, *, large: bool) -> None:
    """Train the preset `church` in float32, TF32 and bf16: as it is where `large`, else a few steps at 32 px."""
    found: list[Setting] = []

    def prepare() -> tuple[str, Figures]:
        # The perceptual loss belongs to the setting, but its weights may not be here.
        lpips = find_cached("lpips-alex") is not None
        options = ["--preset", "church", *([] if lpips else ["--per", "0"])]
        options += [] if large else ["--arch", "fast", "--batch", "4"]
        spec, steps = (CHURCH_SPEC, CHURCH_STEPS) if large else (SPEC, FEW_STEPS)
        found.append(_setting(folder / "church", spec, options, steps, discriminator=True))
        return f"{spec.resolution} px, {'with' if lpips else 'without'} LPIPS", {"lpips": lpips}

    if not checks.run("training", "preparation of the preset church", prepare):
        return
    for title, options in CHURCH_PRECISIONS.items():

        def train(title: str = title, options: list[str] = options) -> tuple[str, Figures]:
            if title == "TF32" and not large:
                raise NotHereError("TF32 needs a GPU")
            return _train(found[0], options, folder / f"church-{title}", 1, thorough=False)

        checks.run("training", f"{found[0].steps} steps of the preset church in {title}", train)


def _setting(folder: Path, spec: ModelSpec, options: list[str], steps: int, discriminator: bool = False) -> Setting:
    """A generator at random weights, synthetic images, and what to train with them."""
    folder.mkdir()
    torch.manual_seed(3)
    network = Generator(spec).eval()
    with torch.no_grad():
        network.w_avg.copy_(network.mapping(torch.randn(256, spec.z_dim)).mean(0))
    critic = Discriminator(spec.image_size, spec.channels) if discriminator else None
    save_generator(folder / "generator.safetensors", network, critic)
    _write_pictures(folder / "data.zip", spec.image_size)
    return Setting(folder / "generator.safetensors", folder / "data.zip", options, steps)


def _train(setting: Setting, more: list[str], out: Path, processes: int, *, thorough: bool) -> tuple[str, Figures]:
    """Train; where `thorough`, the loss must fall, and the same command again must find the run finished."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [*start, "padinv", "train", "--generator", str(setting.generator), "--data", str(setting.data)]
    command += ["--out", str(out), "--steps", str(setting.steps), *setting.options, *more, "--workers", "0"]
    command += ["--log-images", str(max(1, setting.steps // 5) * BATCH * processes)]
    _run(command, processes)
    losses = [record["pix"] for record in _records(out / "metrics.jsonl") if "pix" in record]
    if not losses or not all(map(math.isfinite, losses)):
        raise CheckError(f"the pixel losses are {losses}", {"losses": losses})
    if thorough and not losses[-1] < losses[0]:
        raise CheckError(f"the pixel loss rose from {losses[0]:.4f} to {losses[-1]:.4f}", {"losses": losses})
    if not (out / "encoder.safetensors").is_file():
        raise CheckError(f"the training ended without {out.name}/encoder.safetensors")
    speeds = _records(out / "speed.jsonl")
    rate = statistics.median(record["images_per_s"] for record in speeds[1:] or speeds)
    figures: Figures = {"losses": losses, "images_per_second": rate, "processes": processes}
    line = f"pixel loss {losses[0]:.4f} to {losses[-1]:.4f}, {rate:,.0f} images/s"
    if "gpu_gib" in speeds[-1]:
        figures["gpu_gib"] = speeds[-1]["gpu_gib"]
        line += f", {figures['gpu_gib']:.1f} GiB of GPU memory"
    if thorough:
        _run(command, processes)
        line += "; the same command again: done"
    return line, figures


def _records(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


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


def _write_pictures(path: Path, side: int) -> None:
    """Smooth colourful images in a ZIP archive."""
    noise = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(PICTURES):
            coarse = noise.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            buffer = BytesIO()
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG")
            archive.writestr(f"{k:03d}.png", buffer.getvalue())
