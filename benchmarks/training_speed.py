"""Images per second of a training, of two versions of padinv in turn; and what its steps wait for pictures.

    python benchmarks/training_speed.py --faces faces/train64.zip --weights squeezenet1_1.pth \
        --before 4b9d59c --out benchmarks/results/training_speed.md

Trains the preset `faces64` for some steps from a generator at random weights (64 px, 96 channels): this version, and
the version of `--before` (a commit), in turn, each in a process of its own. Then trains this version
from 256 px PNG files that are decoded at every step, with one and two `--workers` on the same two cores.
Required: no slower than before; steps wait for pictures less than 5 % of the time.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from result_file import write_result

from padinv.runtime.benchmark.machine import this_machine

ROOT = Path(__file__).resolve().parent.parent
# The packages install inside the namespace padinv; a checkout has them beside it.
INSIDE = ("cli", "export", "runtime")
GENERATOR = """
import sys, torch
from padinv.checkpoints.native import save_generator
from padinv.models.generator import Generator
from padinv.runtime.spec import ModelSpec
torch.manual_seed(0)
spec = ModelSpec(64, (96, 96, 96, 64, 32), z_dim=64, w_dim=96, mapping_layers=4)
save_generator(sys.argv[1], Generator(spec).eval())
"""
# Decoded pictures are kept where they fit in memory; this training must read them at every step.
UNCACHED = """
import sys
from functools import partial
from padinv.training.pictures import Pictures
from padinv.training.encoder import run
run.Pictures = partial(Pictures, cache_bytes=0)
from padinv.cli.main import main
sys.argv = ["padinv", *sys.argv[1:]]
main()
"""


def unpack(commit: str, folder: Path) -> Path:
    """A commit's code as a package that can be imported from `folder`; 'now': this checkout's."""
    where = folder / commit
    if commit == "now":
        where.mkdir()
        (where / "padinv").mkdir()
        for child in (*(ROOT / "padinv").iterdir(), *(ROOT / name for name in INSIDE)):
            (where / "padinv" / child.name).symlink_to(child)
        return where
    data = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(where, filter="data")
    for name in INSIDE:
        (where / name).rename(where / "padinv" / name)
    return where


def write_pictures(source: Path, path: Path, count: int, side: int | None = None) -> Path:
    """The first pictures of an archive in another one: as they are, or as PNG of another side with some grain."""
    noise = np.random.default_rng(0)
    with zipfile.ZipFile(source) as theirs, zipfile.ZipFile(path, "w") as ours:
        names = [name for name in sorted(theirs.namelist()) if name.endswith((".png", ".jpg", ".webp"))][:count]
        for k, name in enumerate(names):
            if side is None:
                ours.writestr(name, theirs.read(name))
                continue
            image = (
                Image.open(io.BytesIO(theirs.read(name))).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            )
            pixels = np.asarray(image, np.float32) + noise.normal(0, 2, (side, side, 3))
            buffer = io.BytesIO()
            Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
            ours.writestr(f"{k:05d}.png", buffer.getvalue())
    return path


def train(code: Path, options: dict[str, Any], program: list[str], record: int, threads: int) -> list[dict[str, float]]:
    """Run `padinv train` of a version; its records of speed after the first, in which caches fill."""
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, *program, "train", *arguments, "--log-images", str(record)]
    run = subprocess.run(command, env=environment, cwd=code, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}\n{run.stderr[-2000:]}")
    out = Path(options["out"])
    file = out / "speed.jsonl" if (out / "speed.jsonl").exists() else out / "metrics.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return [entry for entry in records if "images_per_s" in entry][1:]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="ZIP archive of 64 px faces")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet's weights, for LPIPS")
    parser.add_argument("--before", required=True, help="a commit")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    given = parser.parse_args()
    machine = this_machine()
    batch = 16
    record = batch * max(1, given.steps // 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        versions = {"before": unpack(given.before, folder), "now": unpack("now", folder)}
        generator = folder / "g.safetensors"
        environment = {**os.environ, "PYTHONPATH": str(versions["before"])}
        subprocess.run([sys.executable, "-c", GENERATOR, str(generator)], env=environment, check=True)
        small = write_pictures(given.faces, folder / "small.zip", 320)
        large = write_pictures(given.faces, folder / "large.zip", 200, side=256)
        base = {"generator": generator, "preset": "faces64", "lpips-weights": given.weights, "batch": batch}
        base |= {"steps": given.steps, "eval-images": 10**6}
        speeds: dict[str, list[float]] = {"before": [], "now": []}
        for turn in range(given.rounds):
            for version, code in versions.items():
                options = {**base, "data": small, "out": folder / f"{version}{turn}"}
                found = train(code, options, ["-m", "padinv.cli.main"], record, given.threads)
                speeds[version] += [entry["images_per_s"] for entry in found]
                print(version, [round(entry["images_per_s"], 2) for entry in found], flush=True)
        waits = {}
        for workers in given.workers:
            options = {**base, "data": large, "out": folder / f"large{workers}", "workers": workers}
            found = train(versions["now"], options, ["-c", UNCACHED], record, given.threads)
            waits[workers] = (
                statistics.mean(entry["share_waiting_for_data"] for entry in found),
                statistics.median(entry["images_per_s"] for entry in found),
            )
            print("workers", workers, waits[workers], flush=True)
        size = large.stat().st_size / 200 / 1000
    medians = {version: statistics.median(values) for version, values in speeds.items()}
    text = [
        "# Speed of training",
        "",
        f"`python benchmarks/training_speed.py --before {given.before}`: preset faces64, {batch} images per step, a",
        f"generator at random weights (64 px, 96 channels), {given.threads} threads. Versions ran in turn, "
        f"{given.rounds} times {given.steps} steps each;",
        f"medians over records of {record} images, the first record of each run left out.",
        "",
        "| version | images per second | all records |",
        "|---|---|---|",
        *(
            f"| {given.before if version == 'before' else 'now'} | {medians[version]:.2f} | "
            f"{', '.join(f'{value:.2f}' for value in values)} |"
            for version, values in speeds.items()
        ),
        "",
        f"Now to before: {medians['now'] / medians['before']:.3f}.",
        "",
        f"From 256 px PNG files ({size:.0f} kB each) that are decoded and reduced to 64 px at every step,",
        "on the same two cores:",
        "",
        "| `--workers` | share of the time that steps waited for pictures | images per second |",
        "|---|---|---|",
        *(f"| {workers} | {100 * share:.2f} % | {speed:.2f} |" for workers, (share, speed) in waits.items()),
    ]
    write_result(text, machine, given.out)


if __name__ == "__main__":
    main()
