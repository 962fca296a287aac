"""How `padinv invert` scales with the number of files: time per file, peak memory, a second run over finished files.

    python benchmarks/folder_scale.py [--counts 1000,10000,100000] [--scratch FOLDER]

Every input is a hard link to one of 64 small pictures, and the model is the tests' tiny one, so that what is measured
is everything around the model: finding files, decoding, encoding results, writing, the log, and the report. Processor
seconds are less sensitive to other programs than seconds, so both are given. Writes
benchmarks/results/folder_scale.md and .json. A scratch folder in memory (/dev/shm) leaves the disk's waits out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.benchmark.machine import this_machine

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "folder_scale.md"
PICTURES, SIZE = 64, 16
PER_FOLDER = 1000  # a flat folder of 100,000 names would measure the file system
FLAGS = {"default": [], "without report and sheet": ["--no-report", "--no-sheet"]}


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    processor: float
    peak_mib: float


def make_inputs(folder: Path, count: int) -> None:
    """`count` hard links to a few small pictures."""
    masters = folder.parent / "masters"
    if not masters.exists():
        masters.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for k in range(PICTURES):
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(masters / f"{k}.png")
    for k in range(count):
        place = folder / f"{k // PER_FOLDER:04d}"
        if k % PER_FOLDER == 0:
            place.mkdir(parents=True)
        os.link(masters / f"{k % PICTURES}.png", place / f"{k:06d}.png")


def measured(command: list[str]) -> Cost:
    """Run a command to its end."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} exited with {process.returncode}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def tiny_bundle(folder: Path) -> Path:
    """The model of padinv's own tests: its networks take microseconds."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from tiny_bundle import write_tiny_bundle

    write_tiny_bundle(folder)
    return folder


def one(count: int, flags: list[str], model: Path, scratch: Path) -> tuple[Cost, Cost]:
    """(first run, second run) over `count` files."""
    inputs, out = scratch / f"in-{count}", scratch / "out"
    if not inputs.exists():
        make_inputs(inputs, count)
    command = [sys.executable, "-m", "padinv", "invert", str(inputs), "--out", str(out), "--model", str(model)]
    command += ["--align", "never", "--threads", "1", "--quiet", *flags]
    first = measured(command)
    second = measured(command)
    done = sum(1 for _ in (out / "results.jsonl").open("rb"))
    if done != count:
        raise SystemExit(f"{done} of {count} files were inverted")
    shutil.rmtree(out)
    return first, second


def table(rows: list[tuple[str, int, Cost, Cost]]) -> str:
    head = "| | files | first run, s | processor ms per file | peak MiB | second run, s | its peak MiB |\n"
    lines = [
        f"| {name} | {count:,} | {first.seconds:.1f} | {1000 * first.processor / count:.2f} | {first.peak_mib:.0f} | "
        f"{second.seconds:.1f} | {second.peak_mib:.0f} |"
        for name, count, first, second in rows
    ]
    return head + "|---" * 7 + "|\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000,10000,100000")
    parser.add_argument("--flags", choices=tuple(FLAGS), action="append")
    parser.add_argument("--scratch", type=Path, help="where inputs and results go; a temporary folder if omitted")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    counts = [int(part) for part in arguments.counts.split(",")]
    machine = this_machine()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        scratch = Path(name)
        model = tiny_bundle(scratch / "model")
        rows = []
        for flags in arguments.flags or FLAGS:
            for count in counts:
                first, second = one(count, FLAGS[flags], model, scratch)
                rows.append((flags, count, first, second))
                print(json.dumps([flags, count, first.__dict__, second.__dict__]), flush=True)
    text = [
        "# `padinv invert` over many small files",
        "",
        f"`benchmarks/folder_scale.py`: {SIZE} px pictures, the tests' tiny model, one thread of the model.",
        "",
        *(f"- {line}" for line in machine.lines()),
        "",
        table(rows),
    ]
    arguments.result.write_text("\n".join(text), "utf-8")
    found = [
        {"flags": name, "files": count, "first": first.__dict__, "second": second.__dict__}
        for name, count, first, second in rows
    ]
    value = {"machine": machine.to_dict(), "load": machine.load, "rows": found}
    arguments.result.with_suffix(".json").write_text(json.dumps(value, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
