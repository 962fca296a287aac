"""Memory and time of opening very large picture containers: an LMDB of 1,000,000 pictures, a ZIP of 3,000,000.

    python benchmarks/training_data.py --work FOLDER --out benchmarks/results/training_data.md

Makes the containers of tiny pictures in FOLDER (kept, and used again by the next call), opens each in fresh processes,
and measures from the process's own peak of resident memory (Linux): in the process that opens it, and in a worker that
receives the opened source as the training's decoding processes do. Required: LMDB in under 2 s and 200 MB, ZIP under
200 MB in each process.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from functools import partial
from pathlib import Path

import lmdb
from PIL import Image
from result_file import write_result

from padinv.runtime.benchmark.machine import this_machine

LIMIT_MB, LIMIT_SECONDS = 200.0, 2.0
OPEN = """
import json, multiprocessing, sys, time
from padinv.picture_sources import open_pictures

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024 / 1e6

def work(source, pipe):
    source.data(len(source) - 1)
    pipe.send((memory("VmHWM"), memory("VmRSS")))

if __name__ == "__main__":
    before = memory("VmHWM")
    started, used = time.perf_counter(), time.process_time()
    source = open_pictures(sys.argv[1])
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    source.data(len(source) // 2)
    here = {"seconds": seconds, "processor_seconds": processor, "pictures": len(source), "idle_mb": before,
            "peak_mb": memory("VmHWM"), "resident_mb": memory("VmRSS")}
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe()
    worker = context.Process(target=work, args=(source, sender))
    worker.start()
    here["worker_peak_mb"], here["worker_resident_mb"] = receiver.recv()
    worker.join()
    print(json.dumps(here))
"""


def picture() -> bytes:
    """A PNG of 2 x 2 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (200, 100, 50)).save(buffer, "PNG")
    return buffer.getvalue()


def make_lmdb(path: Path, count: int) -> None:
    """LSUN's layout: a SHA-1 per key."""
    data = picture()
    keys = sorted(hashlib.sha1(str(k).encode()).hexdigest().encode() for k in range(count))
    with lmdb.open(str(path), map_size=1 << 32, sync=False) as env, env.begin(write=True) as transaction:
        transaction.cursor().putmulti(((key, data) for key in keys), append=True)


def make_zip(path: Path, count: int, *, shuffled: bool = False) -> None:
    """NVIDIA's layout: a thousand pictures per folder, in the order of names or not.

    `zipfile` would take 600 bytes of memory and 40 microseconds for each member.
    """
    data = picture()
    crc, size = zlib.crc32(data), len(data)
    with path.open("wb") as file, tempfile.TemporaryFile() as directory:
        for k in range(count):
            name = b"%05d/img%08d.png" % (k % 1000 if shuffled else k // 1000, k)
            head = struct.pack("<5H3L2H", 20, 0, 0, 0, 33, crc, size, size, len(name), 0)
            directory.write(b"PK\x01\x02\x14\x03" + head + struct.pack("<3H2L", 0, 0, 0, 0, file.tell()) + name)
            file.write(b"PK\x03\x04" + head + name + data)
        begin, length = file.tell(), directory.tell()
        directory.seek(0)
        shutil.copyfileobj(directory, file)
        end = struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, length, begin)
        locator = struct.pack("<LQL", 0, begin + length, 1)
        file.write(b"PK\x06\x06" + end + b"PK\x06\x07" + locator)
        file.write(b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0))


def measure(path: Path, program: Path) -> dict[str, float]:
    """One opening, in a process of its own."""
    command = [sys.executable, str(program), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout)
    return found


def lines(name: str, runs: list[dict[str, float]]) -> list[str]:
    """Rows of the table for one container; of several runs the worst."""
    worst = {key: max(run[key] for run in runs) for key in runs[0]}
    times = [f"{worst[key]:.2f}" for key in ("seconds", "processor_seconds")]
    sizes = [f"{worst[key]:.0f}" for key in ("peak_mb", "resident_mb", "worker_peak_mb", "idle_mb")]
    pictures = f"{worst['pictures']:,.0f}"
    return [f"| {' | '.join([name, pictures, *times, *sizes])} |"]


def main() -> None:
    """Make what is missing, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only-make", action="store_true", help="make the containers, measure nothing")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    program = arguments.work / "open_one.py"
    program.write_text(OPEN)
    rows = []
    for name, file, count, make in (
        ("LMDB", "million.lmdb", 1_000_000, make_lmdb),
        ("ZIP, in the order of names", "three_million_sorted.zip", 3_000_000, make_zip),
        ("ZIP, in another order", "three_million.zip", 3_000_000, partial(make_zip, shuffled=True)),
    ):
        path, done = arguments.work / file, arguments.work / f"{file}.done"
        if not done.exists():
            make(path, count)
            done.touch()
        if not arguments.only_make:
            rows += lines(name, [measure(path, program) for _ in range(arguments.runs)])
    if arguments.only_make:
        return
    machine = this_machine()
    text = [
        "# Opening very large picture containers",
        "",
        f"`python benchmarks/training_data.py`; the worst of {arguments.runs} runs, files in the page cache.",
        "MB are 10^6 bytes of resident memory, interpreter and libraries (the column idle) included.",
        "",
        "| container | pictures | seconds | processor s | peak MB | resident MB | peak MB of a worker | idle MB |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    write_result(text, machine, arguments.out)


if __name__ == "__main__":
    main()
