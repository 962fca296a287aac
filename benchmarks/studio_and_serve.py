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
import shutil
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
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.used = time.monotonic()
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Status and body of an answer."""
        if time.monotonic() - self.used > 3:
            self.connection.close()  # the server closes what is idle for 5 seconds
        self.used = time.monotonic()
        self.connection.request(method, path, body, {**self.headers, **headers})
        answer = self.connection.getresponse()
        data = answer.read()
        self.used = time.monotonic()
        return answer.status, data

    def ask(self, path: str, body: bytes, kind: str = "application/json", **headers: str) -> bytes:
        """POST; the answer's body."""
        status, data = self.request("POST", path, body, **{"content-type": kind}, **headers)
        if status != 200:
            raise RuntimeError(f"{path} answered {status}: {data[:200]!r}")
        return data

    def send(self, path: str, field: str, name: str, data: bytes) -> dict[str, Any]:
        """POST one file as a form."""
        return dict(json.loads(self.ask(path, form(field, name, data), FORM)))


FORM = "multipart/form-data; boundary=b"


def form(field: str, name: str, data: bytes) -> bytes:
    """The body of a form that holds one file."""
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
    return head + data + b"\r\n--b--\r\n"


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


def drawn_direction(model: Model) -> bytes:
    """A direction file: latent codes move at random."""
    spec = model.spec
    rings = {r: np.zeros(spec.ring_shape(r), np.float32) for r in spec.pad_resolutions}
    wp = (0.1 * np.random.default_rng(0).standard_normal(spec.wp_shape)).astype(np.float32)
    direction = Direction(wp, np.zeros(spec.const_shape), rings, model.generator_hash, {"space": "latent"})
    with tempfile.TemporaryDirectory() as folder:
        direction.save(Path(folder) / "d.safetensors")
        return (Path(folder) / "d.safetensors").read_bytes()


class Session:
    """A session of the studio with photographs and one direction, over a connection of its own."""

    def __init__(self, port: int, token: str, photos: Sequence[bytes], direction: bytes) -> None:
        self.client = Client(port, token)
        self.base = f"/api/sessions/{json.loads(self.client.ask('/api/sessions', b'{}'))['session']}"
        added = [self.client.send(f"{self.base}/photos", "photo", "a.jpg", photo) for photo in photos]
        self.photos = [f"{self.base}/photos/{one['id']}" for one in added]
        self.direction = self.client.send(f"{self.base}/directions", "direction", "d.safetensors", direction)["id"]

    def state(self, strength: float) -> dict[str, Any]:
        """What the slider of the direction says."""
        return {"directions": {self.direction: round(strength, 4)}}

    def preview(self, strength: float) -> bytes:
        """The first photograph with the slider at `strength`."""
        return self.client.ask(f"{self.photos[0]}/preview", json.dumps(self.state(strength)).encode())

    def commit(self, strength: float) -> None:
        """Make that a step of the history."""
        step = {"state": self.state(strength), "label": f"to {strength:.3f}"}
        self.client.ask(f"{self.photos[0]}/state", json.dumps(step).encode())

    def moves(self, count: int) -> list[float]:
        """Seconds of slider moves, each to a place of its own, so that nothing can be answered from memory."""
        spent = []
        for i in range(count):
            started = time.perf_counter()
            self.preview(-1 + 2 * i / count)
            spent.append(time.perf_counter() - started)
        return spent


def slider(model: Model, extra: Sequence[str], moves: int) -> dict[str, list[float]]:
    """Seconds of slider moves in one session, in eight at once, and in the page as Chromium shows it."""
    photo, direction = demo_photographs(1), drawn_direction(model)
    with running("studio", "--no-browser", *extra) as (port, token, _):
        one = Session(port, token, photo, direction)
        one.moves(20)
        found = {"one session": one.moves(moves)}
        eight = [Session(port, token, photo, direction) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            found["8 sessions at once"] = [t for part in pool.map(lambda s: s.moves(moves // 8), eight) for t in part]
        found["one session, in Chromium, until the picture is drawn"] = in_browser(port, token, photo[0], moves // 2)
    return found


MOVES = """async (count) => {
    const { draft, store } = await import('/web/store.js');
    const id = store.directions[0].id;
    const spent = [];
    for (let i = 0; i < count; i += 1) {
        const started = performance.now();
        await draft((state) => { state.directions[id] = -1 + 2 * (i + 0.5) / count; });
        await new Promise(requestAnimationFrame);
        spent.push((performance.now() - started) / 1000);
    }
    return spent;
}"""


def in_browser(port: int, token: str, photo: bytes, moves: int) -> list[float]:
    """Seconds from a slider's event to the next frame after its picture; [] where no browser can be driven."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return []
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        return []
    with sync_playwright() as driver:
        page = driver.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_page()
        page.goto(f"http://127.0.0.1:{port}/?token={token}")
        page.wait_for_selector("body[data-ready]")
        page.set_input_files("#first", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo})
        page.wait_for_selector("body[data-steps='0']", timeout=120_000)
        page.evaluate(MOVES, 10)
        return list(page.evaluate(MOVES, moves))


def served(photos: Sequence[bytes], extra: Sequence[str], wanted: Sequence[np.ndarray]) -> tuple[float, int]:
    """Images per second for 32 clients that ask without pause, and how many answers are not their picture's."""
    with running("serve", "--max-requests", "64", "--timeout", "600", *extra) as (port, _, _process):
        warm = Client(port)
        for photo in photos[:4]:
            warm.send("/v1/invert", "image", "a.jpg", photo)
        ready = threading.Barrier(CLIENTS + 1)

        def work(number: int) -> int:
            client = Client(port)
            ready.wait()
            wrong = 0
            for i in range(number, len(photos), CLIENTS):
                data = client.ask("/v1/invert", form("image", "a.jpg", photos[i]), FORM, accept="image/png")
                wrong += not same(data, wanted[i])
            return wrong

        with ThreadPoolExecutor(CLIENTS) as pool:
            jobs = [pool.submit(work, number) for number in range(CLIENTS)]
            ready.wait()
            started = time.perf_counter()
            wrong = sum(job.result() for job in jobs)
            return len(photos) / (time.perf_counter() - started), wrong


def same(data: bytes, wanted: np.ndarray) -> bool:
    """Whether a picture file shows what is wanted: other batches may round a value the other way."""
    return bool(np.abs(np.asarray(Image.open(io.BytesIO(data)), int) - wanted).max() <= 2)


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
    if not spent:
        return f"| {name} | not measured: no browser | | | |"
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
    parser.add_argument("--photos", type=int, default=160, help="photographs that are inverted in each turn")
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
            *(latency_row(name, spent) for name, spent in found.items()),
            "",
            "Each move is to another place, so that no picture comes from memory. Memory, overload and random use:",
            "`benchmarks/studio_under_load.py`.",
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
