"""How fast the studio answers a slider, and how many pictures `padinv serve` inverts for many clients.

    python benchmarks/studio_and_serve.py [--model BUNDLE] [--write benchmarks/results/studio_and_serve.md]

Servers run as they do for people: `padinv serve` in a process of its own, over sockets on this machine. Its throughput
stands beside that of the folder pipeline (`padinv invert`) on the same photographs; both are measured in turns.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.demo_pictures import demo_folder
from padinv.runtime.editing import Direction
from padinv.runtime.model import Model

START = "from padinv.cli.main import main; main()"
CLIENTS = 32


@contextmanager
def running(*words: str) -> Iterator[tuple[int, str, subprocess.Popen[str]]]:
    """A server of ours: its port, its token ('' without one), and its process."""
    command = [sys.executable, "-u", "-c", START, *words, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)/(?:\?token=(\S+))?", line)
        if found is None:
            raise SystemExit(f"the server did not start: {line}")
        yield int(found[1]), found[2] or "", process
    finally:
        process.terminate()
        process.wait(60)


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int, token: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    def ask(self, path: str, body: bytes, kind: str = "application/json", **headers: str) -> bytes:
        """POST; the answer's body."""
        self.connection.request("POST", path, body, {**self.headers, "content-type": kind, **headers})
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {data[:200]!r}")
        return data

    def send(self, path: str, field: str, name: str, data: bytes) -> dict[str, Any]:
        """POST one file as a form."""
        head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        return dict(json.loads(self.ask(path, head + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")))


def memory_mib(process: subprocess.Popen[str]) -> float:
    """Resident memory of a process."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


def demo_photographs(count: int) -> list[bytes]:
    """JPEG photographs with a face of 260 pixels in 640 x 480, made from the demo pictures; all of them differ."""
    faces = [Image.open(path).convert("RGB") for path in sorted(demo_folder().glob("*.png"))]
    made = []
    for i in range(count):
        photo = Image.new("RGB", (640, 480), (90 + i % 80, 120, 150 - i % 60))
        photo.paste(faces[i % len(faces)].resize((260, 260)), (150 + i % 40, 90 + i % 30))
        out = io.BytesIO()
        photo.save(out, "JPEG", quality=92)
        made.append(out.getvalue())
    return made


def slider(model: Model, extra: Sequence[str], moves: int) -> dict[str, Any]:
    """Latency of slider moves in one session, memory after as many edits, and latency in eight sessions at once."""
    spec = model.spec
    rng = np.random.default_rng(0)
    rings = {r: np.zeros(spec.ring_shape(r), np.float32) for r in spec.pad_resolutions}
    wp = (0.1 * rng.standard_normal(spec.wp_shape)).astype(np.float32)
    direction = Direction(wp, np.zeros(spec.const_shape), rings, model.generator_hash, {"space": "latent"})
    with tempfile.TemporaryDirectory() as folder:
        direction.save(Path(folder) / "d.safetensors")
        data = (Path(folder) / "d.safetensors").read_bytes()
    photo = demo_photographs(1)[0]

    with running("studio", "--no-browser", *extra) as (port, token, process):

        def session() -> tuple[Client, str, str]:
            client = Client(port, token)
            base = f"/api/sessions/{json.loads(client.ask('/api/sessions', b'{}'))['session']}"
            pid = client.send(f"{base}/photos", "photo", "a.jpg", photo)["id"]
            did = client.send(f"{base}/directions", "direction", "d.safetensors", data)["id"]
            return client, f"{base}/photos/{pid}", did

        def move(client: Client, path: str, did: str, count: int, commit: bool) -> list[float]:
            spent = []
            for i in range(count):
                state = {"directions": {did: round(-1 + 2 * (i % 40) / 40, 3)}}
                started = time.perf_counter()
                client.ask(f"{path}/preview", json.dumps(state).encode())
                spent.append(time.perf_counter() - started)
                if commit:
                    client.ask(f"{path}/state", json.dumps({"state": state, "label": f"move {i}"}).encode())
            return spent

        client, path, did = session()
        move(client, path, did, 20, True)
        before = memory_mib(process)
        alone = move(client, path, did, moves, True)
        after = memory_mib(process)
        eight = [session() for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            crowded = [t for one in pool.map(lambda s: move(*s, moves // 8, False), eight) for t in one]
    return {"alone": alone, "crowded": crowded, "before": before, "after": after}


def served(photos: Sequence[bytes], extra: Sequence[str], wanted: Sequence[np.ndarray]) -> tuple[float, int]:
    """Images per second for 32 clients that ask without pause, and how many answers are not their picture's."""
    with running("serve", "--max-requests", "64", *extra) as (port, _, _process):
        warm = Client(port)
        for photo in photos[:4]:
            warm.send("/v1/invert", "image", "a.jpg", photo)
        ready = threading.Barrier(CLIENTS + 1)

        def work(number: int) -> int:
            client = Client(port)
            head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
            ready.wait()
            wrong = 0
            for i in range(number, len(photos), CLIENTS):
                body = head + photos[i] + b"\r\n--b--\r\n"
                data = client.ask("/v1/invert", body, "multipart/form-data; boundary=b", accept="image/png")
                made = np.asarray(Image.open(io.BytesIO(data)), int)
                wrong += int(np.abs(made - wanted[i]).max() > 2)
            return wrong

        with ThreadPoolExecutor(CLIENTS) as pool:
            jobs = [pool.submit(work, number) for number in range(CLIENTS)]
            ready.wait()
            started = time.perf_counter()
            wrong = sum(job.result() for job in jobs)
            return len(photos) / (time.perf_counter() - started), wrong


def piped(folder: Path, extra: Sequence[str], out: Path) -> float:
    """Images per second of `padinv invert` on a folder, as it says itself."""
    command = [sys.executable, "-c", START, "invert", str(folder), "--out", str(out), "--no-report", "--json", *extra]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return float(made["written"]) / float(made["seconds"])


def expected(photos: Sequence[bytes], folder: Path, extra: Sequence[str]) -> list[np.ndarray]:
    """What `padinv invert` makes of each photograph."""
    out = folder.parent / "expected"
    command = [sys.executable, "-c", START, "invert", str(folder), "--out", str(out), "--no-report", *extra]
    subprocess.run(command, check=True, capture_output=True)
    return [np.asarray(Image.open(out / f"{i:05d}.jpg.png"), int) for i in range(len(photos))]


def latency_row(name: str, spent: Sequence[float]) -> str:
    """A line of the table of latencies, in milliseconds."""
    figures = (np.median(spent), np.percentile(spent, 95), max(spent))
    return f"| {name} | {len(spent)} | {' | '.join(f'{1000 * value:.1f} ms' for value in figures)} |"


def report(measure: Callable[[], list[str]], write: Path | None) -> None:
    """Print the result, and write it."""
    text = "\n".join(measure()) + "\n"
    sys.stdout.write(text)
    if write is not None:
        write.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a model bundle; the built-in model if left out")
    parser.add_argument("--moves", type=int, default=500, help="slider moves")
    parser.add_argument("--photos", type=int, default=384, help="photographs that are inverted in each turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of both pipelines")
    parser.add_argument("--write", type=Path, help="file of the result")
    options = parser.parse_args()
    extra = ["--model", options.model] if options.model else []

    def measure() -> list[str]:
        machine = this_machine()
        model = Model.load(options.model)
        found = slider(model, extra, options.moves)
        photos = demo_photographs(options.photos)
        rates: dict[str, list[float]] = {"serve": [], "folder": []}
        wrong = 0
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "photos"
            folder.mkdir()
            for i, photo in enumerate(photos):
                (folder / f"{i:05d}.jpg").write_bytes(photo)
            wanted = expected(photos, folder, extra)
            for turn in range(options.turns):
                rates["folder"].append(piped(folder, extra, Path(place) / f"out-{turn}"))
                rate, bad = served(photos, extra, wanted)
                rates["serve"].append(rate)
                wrong += bad
        medians = {name: float(np.median(values)) for name, values in rates.items()}
        rows = [("one session", found["alone"]), ("8 sessions at once", found["crowded"])]
        return [
            "# Studio and serve",
            "",
            f"Written by `benchmarks/studio_and_serve.py`, model {model.bundle.name} "
            f"({model.spec.resolution} px, generator {model.generator_hash[:12]}).",
            "",
            *(f"- {line}" for line in machine.lines()),
            "",
            "## A slider move, from the request to the whole picture at the client",
            "",
            "| | moves | median | 95th percentile | slowest |",
            "|---|---|---|---|---|",
            *(latency_row(name, spent) for name, spent in rows),
            "",
            f"Memory of the studio's process: {found['before']:.0f} MiB before and {found['after']:.0f} MiB after "
            f"{options.moves} edits.",
            "",
            f"## Inverting {options.photos} JPEG photographs of 640 x 480 pixels",
            "",
            "| | images per second, alternating | median |",
            "|---|---|---|",
            f"| `padinv serve`, {CLIENTS} clients | {', '.join(f'{rate:.1f}' for rate in rates['serve'])} "
            f"| {medians['serve']:.1f} |",
            f"| `padinv invert` on the folder | {', '.join(f'{rate:.1f}' for rate in rates['folder'])} "
            f"| {medians['folder']:.1f} |",
            "",
            f"serve reaches {medians['serve'] / medians['folder']:.0%} of the folder pipeline. Its clients run on",
            "the same processor, and decode and check each answer.",
            "",
            f"Answers that were not their own picture's: {wrong} of {options.turns * options.photos}.",
        ]

    report(measure, options.write)


if __name__ == "__main__":
    main()
