"""Experiment trackers besides TensorBoard, through HF accelerate; nothing leaves the machine unless asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.errors import MissingPackageError, UsageError

TRACKERS = ("wandb", "trackio", "mlflow")
# Modes in which each of them keeps everything on this machine; a variable that is set already wins.
_OFFLINE = {"wandb": ("WANDB_MODE", "offline"), "mlflow": ("MLFLOW_TRACKING_URI", "file:{folder}")}
PROJECT = "padinv"


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that some trackers can be opened.

    Raises:
        UsageError: there is no such tracker.
        MissingPackageError: its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"the trackers are {', '.join(TRACKERS)} (TensorBoard is always on), not {name!r}")
        if find_spec(name) is None:
            raise MissingPackageError(name, name, f"--track {name}")


class Trackers:
    """Open trackers of one run.

    Args:
        names: of `TRACKERS`.
        folder: the run folder; its name is the run's name, offline files go below it.
        config: the run's settings.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        check_trackers(names)
        self._open = [_start(name, folder) for name in names]
        plain = {n: value if isinstance(value, (bool, int, float, str)) else str(value) for n, value in config.items()}
        for tracker in self._open:
            tracker.store_init_configuration(plain)

    def log(self, values: Mapping[str, float], images: int) -> None:
        """Numbers by name, at so many training images."""
        for tracker in self._open:
            tracker.log(dict(values), step=images)

    def log_image(self, name: str, pixels: np.ndarray, images: int) -> None:
        """A picture, uint8 RGB [H, W, 3], for trackers that take pictures."""
        for tracker in self._open:
            if hasattr(tracker, "log_images"):
                tracker.log_images({name: [pixels]}, step=images)

    def close(self) -> None:
        """Write what is still open."""
        for tracker in self._open:
            tracker.finish()


def _start(name: str, folder: Path) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if name in _OFFLINE:
        variable, value = _OFFLINE[name]
        os.environ.setdefault(variable, value.format(folder=(folder / "mlruns").resolve()))
    settings: dict[str, Any] = {"name": folder.name}
    if name == "wandb":
        settings["dir"] = str(folder)
    if name == "mlflow":
        settings = {"run_name": folder.name, "logging_dir": str(folder)}
    tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, **settings)
    if hasattr(tracker, "start"):  # older accelerate starts them at once
        tracker.start()
    return tracker
