"""The page of a training run: made from its files alone, and no reason to stop a training."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from padinv.training.page import GRIDS, training_page, write_training_page
from padinv.training.run_folder import RunFolder

HOSTILE = '"><img src=x onerror=alert(1)>'


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run of ten evaluations, with a torn line at the end of its log."""
    run = RunFolder(tmp_path / "run")
    run.samples.mkdir(parents=True)
    run.write_config({"images": 5000, "lr": 0.001, "init": HOSTILE}, {})
    for k in range(1, 11):
        images = 400 * k
        run.append(run.metrics_file, {"kind": "train", "images": images, "pix": 1 / k, "adv": float(k)})
        run.append(run.metrics_file, {"kind": "val", "images": images, "mse": 0.1 / k, "mse_pass1": 0.2 / k})
        run.append(run.speed_file, {"images": images, "images_per_s": 50.0, "share_waiting_for_data": 0.0})
        Image.new("RGB", (2400, 300), (20 * k, 0, 0)).save(run.samples / f"{images:09d}.png")
    with open(run.metrics_file, "a") as file:
        file.write('{"kind": "val", "ima')
    return run


def test_curves_best_figures_and_sample_grids_are_on_the_page(folder: RunFolder) -> None:
    text = training_page(folder)
    assert "4,000 of 5,000 training images" in text
    for title in ("MSE", "pix", "adv", "images per second"):
        assert f"<b>{title}</b>" in text
    assert "last pass</span>" in text
    assert "pass 1</span>" in text
    assert "<b>0.0100</b><span>MSE, best, at 4,000 images" in text
    assert text.count('alt="Sample grid after') == GRIDS
    assert "Sample grid after 400 images" in text
    assert "Sample grid after 4,000 images" in text
    assert HOSTILE not in text
    assert "src=x onerror" in text  # as text, in the configuration
    assert "http" not in text.replace("Content-Security-Policy", "").replace("http-equiv", "")


def test_a_new_run_has_a_page_without_curves(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert "0 training images" in training_page(RunFolder(tmp_path / "run"))


def test_what_stands_in_the_way_is_left_alone_and_stops_nothing(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    page = folder.path / "report.html"
    page.write_text("mine")
    assert write_training_page(folder) is None
    assert page.read_text() == "mine"
    page.unlink()
    assert write_training_page(folder) == page
    with caplog.at_level(logging.WARNING, logger="padinv"):
        page.unlink()
        (folder.path / "other").mkdir()
        folder.path = folder.path / "config.json"  # a file, below which nothing can be written
        assert write_training_page(folder) is None
    assert "the training itself is not affected" in caplog.text


def test_a_damaged_grid_does_not_stop_the_page(folder: RunFolder) -> None:
    (folder.samples / "000000400.png").write_bytes(b"torn")
    assert "Sample grid after 400 images" in training_page(folder)


def test_long_logs_stay_small_on_the_page(folder: RunFolder) -> None:
    with open(folder.metrics_file, "w") as file:
        for k in range(20_000):
            file.write(json.dumps({"kind": "train", "images": k, "pix": float(np.sin(k))}) + "\n")
    for path in folder.samples.iterdir():
        path.unlink()
    assert len(training_page(folder)) < 60_000
