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
# With these each of them keeps everything on this machine, reports of its own use and errors included; a variable that
# is set already wins. {runs} is the folder of all runs, so that they can be compared.
_OFFLINE = {
    "wandb": {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"},
    "trackio": {"HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"},
    # Its other local store, a folder of files, is refused by newer versions.
    "mlflow": {"MLFLOW_TRACKING_URI": "sqlite:///{runs}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"},
}
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
        """A picture, uint8 RGB [H, W, 3]."""
        for tracker in self._open:
            _log_image(tracker, name, pixels, images)

    def close(self) -> None:
        """Write what is still open."""
        for tracker in self._open:
            tracker.finish()


def _start(name: str, folder: Path) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    runs = folder.resolve().parent
    for variable, value in _OFFLINE[name].items():
        os.environ.setdefault(variable, value.format(runs=runs.as_posix()))
    settings: dict[str, Any] = {"name": folder.name}
    if name == "wandb":
        settings["dir"] = str(folder)
    if name == "trackio":
        settings |= {"resume": "allow", "embed": False}
    if name == "mlflow":
        settings = {"run_name": folder.name, "logging_dir": (runs / "mlruns").as_uri()}
    tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, **settings)
    if hasattr(tracker, "start"):  # older accelerate starts them at once
        tracker.start()
    return tracker


def _log_image(tracker: Any, name: str, pixels: np.ndarray, images: int) -> None:
    """accelerate hands pictures on to W&B alone; the others have functions of their own."""
    if tracker.name == "trackio":
        import trackio

        tracker.log({name: trackio.Image(pixels)}, step=images)
    elif tracker.name == "mlflow":
        import mlflow

        mlflow.log_image(pixels, key=name, step=images)
    else:
        tracker.log_images({name: [pixels]}, step=images)
