"""Metrics to JSONL and to trackers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch

from padinv.training.page import write_training_page
from padinv.training.run_folder import RunFolder
from padinv.training.trackers import Trackers


class MetricLog:
    """Averages loss terms between two records, and writes both forms of log; a context manager.

    What it holds is part of the checkpoint, so that the record after a resumed part averages the same steps as in a
    run that was never stopped. Speeds depend on the machine and stand in a file of their own.

    Args:
        folder: the run's.
        images: training images so far; what TensorBoard holds beyond is hidden.
        state: of `state_dict`, in a resumed run.
        trackers: that take the same numbers and pictures.
    """

    def __init__(
        self,
        folder: RunFolder,
        images: int,
        state: Mapping[str, Any] | None = None,
        *,
        trackers: Trackers | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.trackers = folder, trackers
        self.writer = SummaryWriter(str(folder.tensorboard), purge_step=images + 1, flush_secs=30)
        self.sums: dict[str, tuple[float, int]] = {n: (t, c) for n, (t, c) in (state or {}).get("sums", {}).items()}
        self.since = time.monotonic()
        self.waited = 0.0
        self.images = images

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.writer.close()
        if self.trackers is not None:
            self.trackers.close()

    def state_dict(self) -> dict[str, Any]:
        """The sums since the last record."""
        return {"sums": {name: list(pair) for name, pair in self.sums.items()}}

    def add(self, values: Mapping[str, float]) -> None:
        """Take in the terms of one step; some, like 'r1', do not come at every step."""
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def add_wait(self, seconds: float) -> None:
        """Take in how long a step waited for its images."""
        self.waited += seconds

    def write_losses(self, images: int) -> None:
        """Write the averages since the last record, and the speed."""
        now = time.monotonic()
        self._write("train", images, {name: total / count for name, (total, count) in self.sums.items()})
        seconds = max(now - self.since, 1e-9)
        speeds = {"images_per_s": (images - self.images) / seconds, "share_waiting_for_data": self.waited / seconds}
        if torch.cuda.is_available():  # of this process, since it began
            speeds["gpu_gib"] = torch.cuda.max_memory_allocated() / (1 << 30)
        rounded = {name: float(f"{value:.4g}") for name, value in speeds.items()}
        self.folder.append(self.folder.speed_file, {"images": images, **rounded})
        self._track({f"train/{name}": value for name, value in speeds.items()}, images)
        self.sums, self.since, self.waited, self.images = {}, now, 0.0, images

    def write_figures(self, images: int, figures: Mapping[str, float]) -> None:
        """Write an evaluation."""
        if figures:
            self._write("val", images, figures)

    def write_page(self) -> None:
        """Write `report.html` of the run; that does not count as training time."""
        with self.paused():
            write_training_page(self.folder)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside does not count as training time."""
        began = time.monotonic()
        yield
        self.since += time.monotonic() - began

    def _write(self, kind: str, images: int, values: Mapping[str, float]) -> None:
        rounded = {k: float(f"{v:.6g}") for k, v in values.items()}
        self.folder.append(self.folder.metrics_file, {"kind": kind, "images": images, **rounded})
        self._track({f"{kind}/{name}": value for name, value in values.items()}, images)

    def write_image(self, name: str, pixels: np.ndarray, images: int) -> None:
        """Show a picture, uint8 RGB [H, W, 3], where curves are shown."""
        self.writer.add_image(name, pixels, images, dataformats="HWC")
        if self.trackers is not None:
            self.trackers.log_image(name, pixels, images)

    def _track(self, values: Mapping[str, float], images: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, images)
        if self.trackers is not None:
            self.trackers.log(values, images)
