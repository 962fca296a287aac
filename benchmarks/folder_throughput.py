"""What `invert_folder` keeps of the speed of its sessions: images per second of both, in turns, in one process.

    python benchmarks/folder_throughput.py [--model BUNDLE ...] [--images ZIP] [--count 128] [--batch 8] [--threads 2]
        [--backend cpu] [--precision fp32] [--rounds 3]

The sessions alone take arrays that are in memory and leave arrays there, in batches of the same size and with the same
threads: encoder, spatial code where there is one, generator. The folder run finds, decodes, resizes, computes,
measures, compresses and writes, without report and sheet. Processor seconds say what it adds on a busy machine, too.
Writes benchmarks/results/folder_throughput-MODEL-BACKEND-PRECISION-MACHINE.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.folders.invert import invert_folder
from padinv.runtime.images import read_prepared, to_float
from padinv.runtime.model import Model

RESULTS = Path(__file__).resolve().parent / "results"


def unpack(archive: Path, count: int, folder: Path) -> list[Path]:
    """The first pictures of a ZIP, as files."""
    with zipfile.ZipFile(archive) as file:
        names = sorted(file.namelist())[:count]
        file.extractall(folder, names)
    return [folder / name for name in names]


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """(seconds, processor seconds) of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def one(model: Model, files: list[Path], batch: int, rounds: int, scratch: Path) -> dict[str, float]:
    """Medians of both ways, per image."""
    x = to_float(np.stack([read_prepared(file, model.spec.image_size).pixels for file in files]))

    def sessions() -> None:
        for start in range(0, len(x), batch):
            model.reconstruct(x[start : start + batch], batch)

    def folder() -> None:
        out = scratch / "out"
        invert_folder(
            files, out=out, model=model, batch_size=batch, align="never", report=False, sheet=False,
            on_event=lambda event: None,
        )  # fmt: skip
        shutil.rmtree(out)

    model.reconstruct(x[:batch], batch)  # sessions are opened
    found = [(measured(sessions), measured(folder)) for _ in range(rounds)]
    names = ("sessions_seconds", "sessions_processor", "folder_seconds", "folder_processor")
    values = zip(*(one + other for one, other in found), strict=True)
    result = {name: statistics.median(taken) / len(x) for name, taken in zip(names, values, strict=True)}
    return {**result, "share": statistics.median(one[0] / other[0] for one, other in found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a bundle; may be repeated; the built-in one if omitted")
    parser.add_argument("--images", type=Path, required=True, help="a ZIP of photographs")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine = this_machine()
    for bundle in arguments.model or [None]:
        how = {"backend": arguments.backend, "threads": arguments.threads, "precision": arguments.precision}
        model = Model.load(bundle, **how)
        with tempfile.TemporaryDirectory() as scratch:
            files = unpack(arguments.images, arguments.count, Path(scratch, "in"))
            found = one(model, files, arguments.batch, arguments.rounds, Path(scratch))
        name = model.bundle.name
        value = {"model": name, **how, "batch": arguments.batch, "images": len(files), **found}
        value = {**value, "load": machine.load, "machine": machine.to_dict()}
        stem = f"folder_throughput-{name}-{arguments.backend}-{arguments.precision}-{machine.slug}"
        (RESULTS / f"{stem}.json").write_text(json.dumps(value, indent=1) + "\n", "utf-8")
        print(json.dumps({key: one for key, one in value.items() if key != "machine"}), flush=True)


if __name__ == "__main__":
    main()
