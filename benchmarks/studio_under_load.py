"""Whether the studio and `padinv serve` stay right and small: many edits, many sessions, random use, overload, SIGTERM.

    python benchmarks/studio_under_load.py [--minutes 5] [--write benchmarks/results/studio_under_load.md]

Nothing here is a time, so it may run on a busy machine. `studio_and_serve.py` measures times.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from studio_and_serve import (
    CLIENTS,
    FORM,
    Client,
    Session,
    demo_photographs,
    drawn_direction,
    expected,
    form,
    memory_mib,
    report,
    running,
    same,
)

from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.model import Model

USERS = 4


def many_edits(port: int, token: str, process: Any, made: Sequence[Any], edits: int) -> str:
    """Memory before and after slider moves that all become steps of the history."""
    session = Session(port, token, made[0][:1], made[1])
    for i in range(edits + 20):
        if i == 20:
            before = memory_mib(process)
        session.preview(i / edits)
        session.commit(i / edits)
    return f"{edits} edits: {before:.0f} MiB before, {memory_mib(process):.0f} MiB after."


def eight_sessions(port: int, token: str, made: Sequence[Any], moves: int) -> str:
    """Pictures of eight sessions with photographs of their own, asked for at once, beside those asked for alone."""
    sessions = [Session(port, token, [made[0][i]], made[1]) for i in range(8)]
    strengths = [-1 + 2 * i / moves for i in range(moves)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: [one.preview(s) for s in strengths], sessions))
    wrong = sum(one.preview(strengths[i]) != shown[i] for one, shown in zip(sessions, together, strict=True)
                for i in range(0, moves, 3))  # fmt: skip
    different = len({shown[0] for shown in together})
    return (
        f"8 sessions at once, {8 * moves} moves: {wrong} of {8 * len(range(0, moves, 3))} pictures differ when asked "
        f"for alone; {different} sessions show pictures of their own."
    )


class RandomUser:
    """Does what a person at the page can do, in any order."""

    def __init__(self, session: Session, seed: int, photos: Sequence[bytes]) -> None:
        self.session, self.rng, self.extra = session, np.random.default_rng(seed), photos
        self.masks: list[str | None] = [None]
        self.counts: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []

    def one_of(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def state(self) -> dict[str, Any]:
        """Directions, and in half of the cases something borrowed."""
        state: dict[str, Any] = self.session.state(float(self.rng.normal()))
        if self.rng.random() < 0.5:
            other = self.one_of(self.session.photos).rsplit("/", 1)[1]
            layers = sorted({int(i) for i in self.rng.integers(0, 8, 3)})
            state["blend"] = {"photo": other, "layers": layers, "resolutions": [self.one_of([4, 8, 16])],
                              "mask": self.one_of(self.masks[-20:])}  # fmt: skip
        return state

    def act(self) -> None:
        """One thing; an answer that is neither a result nor a sentence is a problem."""
        kind = self.one_of(
            ["preview"] * 6 + ["state"] * 3 + ["undo", "redo", "placing", "mask", "export", "way", "add", "pair"]
        )
        status, data = getattr(self, f"_{kind}")(self.one_of(self.session.photos))
        self.counts[kind] += 1
        if status not in (200, 400, 422) or (status != 200 and "error" not in json.loads(data)):
            self.problems.append(f"{kind}: {status} {data[:200]!r}")

    def _post(self, path: str, body: Any) -> tuple[int, bytes]:
        return self.session.client.request(
            "POST", path, json.dumps(body).encode(), **{"content-type": "application/json"}
        )

    def _send(self, path: str, field: str, data: bytes) -> tuple[int, bytes]:
        return self.session.client.request("POST", path, form(field, "a.png", data), **{"content-type": FORM})

    def _preview(self, photo: str) -> tuple[int, bytes]:
        return self._post(f"{photo}/preview", self.state())

    def _state(self, photo: str) -> tuple[int, bytes]:
        return self._post(f"{photo}/state", {"state": self.state(), "label": "random"})

    def _undo(self, photo: str) -> tuple[int, bytes]:
        return self._post(f"{photo}/history/undo", {})

    def _redo(self, photo: str) -> tuple[int, bytes]:
        return self._post(f"{photo}/history/redo", {})

    def _placing(self, photo: str) -> tuple[int, bytes]:
        square = {"right": float(self.rng.uniform(-0.2, 0.2)), "turn": float(self.rng.uniform(-10, 10))}
        return self._post(f"{photo}/placing", {"face": 1, "square": square})

    def _mask(self, photo: str) -> tuple[int, bytes]:
        shade = np.zeros((64, 64), np.uint8)
        shade[: int(self.rng.integers(1, 64))] = 255
        out = io.BytesIO()
        Image.fromarray(shade).save(out, "PNG")
        status, data = self._send(f"{self.session.base}/masks", "mask", out.getvalue())
        if status == 200:
            self.masks.append(json.loads(data)["id"])
        return status, data

    def _export(self, photo: str) -> tuple[int, bytes]:
        return self.session.client.request(
            "GET", f"{photo}/export/{self.one_of(['picture', 'photo', 'edit', 'inversion'])}"
        )

    def _way(self, photo: str) -> tuple[int, bytes]:
        other = self.one_of(self.session.photos).rsplit("/", 1)[1]
        return self.session.client.request("GET", f"{photo}/way.png?photo={other}&steps=3")

    def _add(self, photo: str) -> tuple[int, bytes]:
        """Add a photograph, and remove it."""
        status, data = self._send(f"{self.session.base}/photos", "photo", self.one_of(self.extra))
        if status == 200:
            self.session.client.request("DELETE", f"{self.session.base}/photos/{json.loads(data)['id']}")
        return status, data

    def _pair(self, photo: str) -> tuple[int, bytes]:
        """Learn a direction from another picture as A', and remove it."""
        status, data = self._send(f"{photo}/pair", "edited", self.one_of(self.extra))
        if status == 200:
            self.session.client.request("DELETE", f"{self.session.base}/directions/{json.loads(data)['id']}")
        return status, data


def random_use(port: int, token: str, process: Any, made: Sequence[Any], minutes: float) -> list[str]:
    """Four people who do anything for some minutes: what was done, what went wrong, and memory."""
    users = [RandomUser(Session(port, token, made[0][2 * i : 2 * i + 2], made[1]), i, made[0]) for i in range(USERS)]
    until, memory = time.monotonic() + 60 * minutes, []

    def use(user: RandomUser) -> None:
        while time.monotonic() < until:
            user.act()

    threads = [threading.Thread(target=use, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(60 * minutes / 40)
        memory.append(memory_mib(process))
    counts = sum((user.counts for user in users), collections.Counter())
    problems = [problem for user in users for problem in user.problems]
    quarters = np.array_split(memory[len(memory) // 10 :], 4)
    growth = ", ".join(f"{np.median(part):.0f}" for part in quarters)
    return [
        f"{sum(counts.values())} random actions by {USERS} people in {minutes:g} minutes: "
        + ", ".join(f"{number} {kind}" for kind, number in counts.most_common()) + ".",
        f"Answers that were neither a result nor a sentence: {len(problems)}{': ' + problems[0] if problems else ''}.",
        f"Memory, median of each quarter of the time after the first tenth: {growth} MiB.",
    ]  # fmt: skip


def overloaded(photos: Sequence[bytes], wanted: Sequence[np.ndarray], extra: Sequence[str]) -> str:
    """32 clients at a service that takes 8 requests: what they are told, and memory."""
    with running("serve", "--max-requests", "8", "--timeout", "600", *extra) as (port, _, process):
        Client(port).send("/v1/invert", "image", "a.jpg", photos[0])
        before = memory_mib(process)

        def work(number: int) -> tuple[collections.Counter[int], int]:
            client, told, wrong = Client(port), collections.Counter[int](), 0
            for i in range(number, len(photos), CLIENTS):
                headers = {"content-type": FORM, "accept": "image/png"}
                while True:
                    status, data = client.request("POST", "/v1/invert", form("image", "a.jpg", photos[i]), **headers)
                    told[status] += 1
                    if status != 429:
                        break
                    time.sleep(0.25)
                wrong += status != 200 or not same(data, wanted[i])
            return told, wrong

        with ThreadPoolExecutor(CLIENTS) as pool:
            results = list(pool.map(work, range(CLIENTS)))
        after = memory_mib(process)
    told = sum((one for one, _ in results), collections.Counter())
    statuses = ", ".join(f"{number} times {status}" for status, number in sorted(told.items()))
    return (
        f"32 clients, `--max-requests 8`, {len(photos)} photographs, asked again after 429: {statuses}; "
        f"{sum(wrong for _, wrong in results)} wrong answers; {before:.0f} MiB before, {after:.0f} MiB after."
    )


def stopped(photos: Sequence[bytes], wanted: Sequence[np.ndarray], extra: Sequence[str]) -> str:
    """SIGTERM while 32 requests are in progress: what becomes of them."""
    with running("serve", "--max-requests", "64", "--timeout", "600", *extra) as (port, _, process):
        watcher = Client(port)
        headers = {"content-type": FORM, "accept": "image/png"}

        def work(i: int) -> bool:
            status, data = Client(port).request("POST", "/v1/invert", form("image", "a.jpg", photos[i]), **headers)
            return status == 200 and same(data, wanted[i])

        with ThreadPoolExecutor(CLIENTS) as pool:
            jobs = [pool.submit(work, i) for i in range(CLIENTS)]
            while b"padinv_requests_in_progress 32.0" not in watcher.request("GET", "/metrics")[1]:
                if any(job.done() for job in jobs):
                    break  # a fast machine: some are answered before the last one is sent
            unanswered = sum(not job.done() for job in jobs)
            process.send_signal(signal.SIGTERM)
            right = sum(job.exception() is None and job.result() for job in jobs)
        code = process.wait(120)
    return f"SIGTERM with {unanswered} of 32 requests in progress: {right} of 32 answered rightly; exit code {code}."


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a model bundle; the built-in model if left out")
    parser.add_argument("--edits", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=5, help="of random use")
    parser.add_argument("--write", type=Path, help="file of the result")
    options = parser.parse_args()
    extra = ["--model", options.model] if options.model else []

    def measure() -> list[str]:
        model = Model.load(options.model)
        photos = demo_photographs(64)
        made = (photos, drawn_direction(model))
        with running("studio", "--no-browser", *extra) as (port, token, process):
            lines = [
                many_edits(port, token, process, made, options.edits),
                eight_sessions(port, token, made, 30),
                *random_use(port, token, process, made, options.minutes),
            ]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "photos"
            folder.mkdir()
            for i, photo in enumerate(photos):
                (folder / f"{i:05d}.jpg").write_bytes(photo)
            wanted = expected(photos, folder, extra)
        return [
            "# Studio and serve under load",
            "",
            f"Written by `benchmarks/studio_under_load.py`, model {model.bundle.name} "
            f"({model.spec.resolution} px, generator {model.generator_hash[:12]}). No figure here is a time.",
            "",
            *(f"- {line}" for line in this_machine().lines()),
            "",
            "## Studio",
            "",
            *(f"- {line}" for line in lines),
            "",
            "## Serve",
            "",
            f"- {overloaded(photos, wanted, extra)}",
            f"- {stopped(photos, wanted, extra)}",
        ]

    report(measure, options.write)


if __name__ == "__main__":
    main()
