"""An interruption while writes are waiting for a free thread ends the run; it once waited for them for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from padinv.runtime.batch.engine import Product, Task, run
from padinv.runtime.batch.ownership import Origin
from padinv.runtime.batch.results_log import ResultsLog

COUNT = 40


def encode(origin: Origin) -> bytes:
    time.sleep(0.02)
    return b"\x89PNG\r\n\x1a\n"


class Interrupted:
    """A step whose second batch is interrupted while the files of the first one are waiting to be written."""

    def __init__(self) -> None:
        self.batches = 0

    def read(self, task: Task) -> Any:
        return None

    def process(self, batch: Sequence[tuple[Task, Any]]) -> Sequence[Product]:
        self.batches += 1
        if self.batches == 2:
            time.sleep(0.05)  # some files are written, some are being written, and some wait
            raise KeyboardInterrupt
        return [Product({"image": (f"{task.name}.png", encode)}) for task, _ in batch]


def test_an_interruption_does_not_wait_for_cancelled_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.runtime.batch.engine.seal", lambda data: data)
    tasks = [Task("test", f"{i:02d}", f"{i:02d}", {}, {}, {"image": f"{i:02d}.png"}) for i in range(COUNT)]
    ended = threading.Event()
    written: list[int] = []

    def work() -> None:
        with ResultsLog(tmp_path / "out") as log:
            with pytest.raises(KeyboardInterrupt):
                list(run(Interrupted(), tasks, log, batch_size=COUNT // 2))
            written.append(len(log.records))
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    assert ended.wait(20), "the run hangs"
    on_disk = len(list((tmp_path / "out").glob("*.png")))
    assert written == [on_disk]
    assert 0 < on_disk < COUNT // 2
