"""Pages of an evaluation and of a training run, made from invented numbers and drawn pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from padinv.evaluation.metrics import Metric
from padinv.evaluation.page import Evaluation, evaluation_page, groupings_of
from padinv.evaluation.results import Measured, report_on
from padinv.training.page import training_page
from padinv.training.run_folder import RunFolder


class Drawn:
    """A source of drawn pictures."""

    def __init__(self, names: list[str], draw: Any) -> None:
        self.names, self.draw = names, draw

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def read(self, index: int, size: int, resize: str) -> np.ndarray:
        pixels: np.ndarray = self.draw(index, size)
        return pixels


def sample_evaluation(folder: Path, names: list[str], draw: Any) -> str:
    """The page of two models on `names`; `draw(seed, size)` draws uint8 [S, S, 3]."""
    random = np.random.RandomState(0)
    metrics = [
        Metric("mse", "MSE", "lower", lambda x, y: x),
        Metric("psnr", "PSNR (dB)", "higher", lambda x, y: x),
        Metric("lpips_squeeze", "LPIPS squeeze", "lower", lambda x, y: x),
    ]
    results, subjects = [], []
    for k, name in enumerate(("faces128", "faces128, W+ only")):
        columns = {
            "mse": random.gamma(3, 0.005 + 0.004 * k, len(names)),
            "psnr": random.normal(24 - k, 2, len(names)),
            "lpips_squeeze": random.gamma(4, 0.02, len(names)),
            "seconds": np.full(len(names), 0.05),
        }
        conditions = {
            "model": {"name": name}, "data": {"name": "val.zip"}, "size": 128, "protocol": "paper", "padinv": "0.2.0",
        }  # fmt: skip
        missing = {"identity": "give a face-recognition network with --identity-weights"}
        results.append(Measured(conditions, names, columns, [], missing, folder / f"{k}.json"))
        subjects.append(
            SimpleNamespace(
                name=name, backend="cpu", spec=SimpleNamespace(image_size=128),
                reconstruct=lambda x, k=k: (np.roll(x, 6 * (k + 1), 3) * 0.9, 0.1),
            )
        )  # fmt: skip
    document = report_on(results[0], results[1], 200)
    groups = groupings_of(names)
    return evaluation_page(Evaluation(results, subjects, Drawn(names, draw), document, metrics, groups))  # type: ignore[arg-type]


def sample_training(folder: Path, draw: Any) -> str:
    """The page of a run with an iterative encoder."""
    run = RunFolder(folder / "church-256")
    run.samples.mkdir(parents=True)
    run.write_config({"images": 200_000, "lr": 0.0005, "arch": "reference", "schedule": "cosine"}, {})
    random = np.random.RandomState(1)
    for k in range(1, 101):
        noise = 1 + 0.1 * random.rand()
        terms = {"pix": 0.2 / k**0.6 * noise, "per": 0.5 / k**0.3 * noise, "reg": 0.01 * noise}
        run.append(run.metrics_file, {"kind": "train", "images": 2000 * k, **terms})
        run.append(run.speed_file, {"images": 2000 * k, "images_per_s": 70 + 5 * random.rand()})
        if k % 10 == 0:
            figures = {"mse": 0.1 / k**0.5, "mse_pass1": 0.14 / k**0.5, "lpips": 0.3 / k**0.2}
            run.append(run.metrics_file, {"kind": "val", "images": 2000 * k, **figures})
            grid = np.concatenate([np.concatenate([draw(i + r, 128) for i in range(8)], 1) for r in range(2)])
            Image.fromarray(grid).save(run.samples / f"{2000 * k:09d}.png")
    return training_page(run)
