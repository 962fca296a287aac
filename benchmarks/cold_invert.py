"""How long `padinv invert one.png` takes from nothing: process start, model load, inversion, report.

    python benchmarks/cold_invert.py [--runs 7] [--model BUNDLE]

Prints wall-clock seconds of each run, beside a bare `python -c pass` on the same machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from padinv.runtime.demo_pictures import demo_folder


def seconds(command: list[str]) -> float:
    """Wall-clock time of a command that must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--model", type=Path, help="bundle; the built-in model if left out")
    arguments = parser.parse_args()
    picture = demo_folder() / "eileen-collins.png"
    model = ["--model", str(arguments.model)] if arguments.model else []
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        bare, cold = [], []
        for run in range(arguments.runs):
            bare.append(seconds([sys.executable, "-c", "pass"]))
            out = f"{folder}/{run}"
            call = [sys.executable, "-c", "from padinv.cli.main import main; main()"]
            cold.append(seconds([*call, "invert", str(picture), "--out", out, *model]))
    for name, times in (("python -c pass", bare), ("padinv invert one.png", cold)):
        print(f"{name:22} median {statistics.median(times):.2f} s, first {times[0]:.2f} s, worst {max(times):.2f} s")


if __name__ == "__main__":
    main()
