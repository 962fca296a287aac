"""Time and peak memory of importing a 1024 px generator, one source after the other.

    python benchmarks/import_memory.py

Makes checkpoints with random weights in the layout of each source (about 120 MB each, in a temporary folder), imports
each without samples in a process of its own (Linux), and prints the seconds it took from the process's start, the peak
of resident memory above that of the same interpreter with torch loaded, and the ratio of that to the file's size.
Required: under 15 s, ratio under 3.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))
from source_genforce import GenForceGenerator
from source_nvidia import NvidiaGenerator, dump
from source_rosinality import RosinalityGenerator

CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64, 32)  # StyleGAN2's configuration F at 1024 px
LIMIT_SECONDS, LIMIT_RATIO = 15.0, 3.0

# VmHWM is this process's own peak; ru_maxrss would start from that of the process that forked it.
PEAK = """
def peak_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
"""
IDLE = f"{PEAK}\nimport torch\nprint(peak_kib())"
IMPORT = f"""{PEAK}
import json, sys, time
import torch
from padinv.checkpoints.convert import import_generator
start = time.perf_counter()
record = import_generator(sys.argv[1], sys.argv[2]).record
seconds = time.perf_counter() - start
print(json.dumps({{"seconds": seconds, "kib": peak_kib(), "sha256": record["sha256"]}}))
"""


def write_files(folder: Path) -> dict[str, Path]:
    """One checkpoint a source: name -> path."""
    files = {}
    rosinality = RosinalityGenerator(CHANNELS, 512, 8)
    centre = torch.zeros(512)
    files["rosinality .pt (zip)"] = folder / "r.pt"
    torch.save({"g_ema": rosinality.state_dict(), "latent_avg": centre}, files["rosinality .pt (zip)"])
    files["rosinality .pt (old format)"] = folder / "o.pt"
    torch.save(
        {"g_ema": rosinality.state_dict(), "latent_avg": centre},
        files["rosinality .pt (old format)"],
        _use_new_zipfile_serialization=False,
    )
    del rosinality
    files["NVIDIA .pkl"] = folder / "n.pkl"
    dump(files["NVIDIA .pkl"], NvidiaGenerator(CHANNELS, 512, 512, 8, clamp=256.0).pickled())
    for name, hammer in (("Hammer .pth", True), ("GenForce .pth", False)):
        files[name] = folder / f"{int(hammer)}.pth"
        torch.save({"generator": GenForceGenerator(CHANNELS, 512, 512, 8, hammer).state_dict()}, files[name])
    return files


def run(*arguments: str) -> str:
    """Standard output of this interpreter with these arguments."""
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Measure every source; 1 when one misses a limit."""
    print(f"python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, {platform.system()}")
    idle = int(run("-c", IDLE))
    print(f"interpreter with torch: {idle / 1024:.0f} MiB")
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source, path in write_files(folder).items():
            start = time.perf_counter()
            result = json.loads(run("-c", IMPORT, str(path), str(folder / "out.safetensors")))
            whole = time.perf_counter() - start
            size = path.stat().st_size
            above = (result["kib"] - idle) * 1024
            missed |= whole > LIMIT_SECONDS or above > LIMIT_RATIO * size
            print(
                f"{source:28s} {size / 2**20:6.1f} MiB  import {result['seconds']:5.2f} s, with start {whole:5.2f} s  "
                f"peak {above / 2**20:6.1f} MiB above = {above / size:.2f} x the file"
            )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
