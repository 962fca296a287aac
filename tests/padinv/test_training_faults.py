"""What goes wrong around a training: failed starts, damaged pictures, another data set, signals, older runs."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import picture_bytes, write_generator, write_pictures

from padinv.checkpoints import load_encoder, load_generator
from padinv.picture_sources import open_pictures
from padinv.runtime import locks
from padinv.runtime.errors import InputError, UsageError
from padinv.training.background_writer import BackgroundWriter, snapshot
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.loop import Outcome
from padinv.training.run_folder import RunFolder
from padinv.training.validation import evaluate, read_validation

pytestmark = pytest.mark.usefixtures("small_networks")

TINY = TrainConfig(arch="fast", images=16, batch=4, lr=1e-3, ema=0.9, per=0.0, seed=5)


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    generator = write_generator(tmp_path / "g.safetensors")
    return RunOptions(generator, write_pictures(tmp_path / "data.zip"), tmp_path / "run", eval_images=8, log_images=8)


class Listener:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def start(self, done: int, total: int) -> None: ...
    def advance(self, done: int, terms: Any) -> None: ...
    def finish(self) -> None: ...


def test_a_failed_start_does_not_block_the_corrected_command(options: RunOptions, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_text("hello")
    with pytest.raises(InputError, match=r"none of the 1 pictures in .* can be read: .*a\.png is not a PNG"):
        Training(TINY, replace(options, data=broken)).run()
    assert Training(replace(TINY, lr=2e-3), options).run() == Outcome("finished", 16)


def test_a_run_killed_before_its_first_checkpoint_may_begin_with_other_settings(options: RunOptions) -> None:
    folder = RunFolder(options.out)
    folder.create()
    folder.write_config({"lr": 1.0, "batch": 99}, {})
    folder.append(folder.metrics_file, {"kind": "train", "images": 8, "pix": 9.0})
    assert Training(TINY, options).run() == Outcome("finished", 16)
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert [line["images"] for line in lines] == [8, 16]
    assert lines[0]["pix"] < 9


def damaged_archive(path: Path, damaged: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(6):
            archive.writestr(f"p{k}.png", picture_bytes(k))
        for name, data in damaged.items():
            archive.writestr(name, data)
    return path


def test_a_damaged_validation_picture_is_skipped_and_the_next_one_taken(options: RunOptions, tmp_path: Path) -> None:
    val = damaged_archive(tmp_path / "val.zip", {"a-cut.png": picture_bytes(9)[:200]})
    listener = Listener()
    outcome = Training(TINY, replace(options, val=val, val_count=4), listener).run()
    assert outcome == Outcome("finished", 16, skipped=1)
    assert sum("a-cut.png" in text and text.startswith("skipped: ") for text in listener.messages) == 1
    encoder = load_encoder(options.out / "encoder.safetensors")
    generator = load_generator(options.generator)
    source = open_pictures(val)
    images = torch.stack([torch.from_numpy(source.read(k, 32)).permute(2, 0, 1) for k in (1, 2, 3, 4)])
    records = [json.loads(line) for line in (options.out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["mse"] == pytest.approx(evaluate(encoder, generator, images, None)["mse"], rel=1e-4)
    assert records[-1]["mse_without_average"] != records[-1]["mse"]


def test_validation_pictures_are_shared_between_processes(options: RunOptions, tmp_path: Path) -> None:
    source = open_pictures(damaged_archive(tmp_path / "val.zip", {"p1x.png": b"hello"}))
    whole, skipped = read_validation(source, 16, 5)
    parts = [read_validation(source, 16, 5, rank=rank, world=2) for rank in range(2)]
    assert len(whole) == 5
    assert torch.equal(whole[0::2], parts[0][0])
    assert torch.equal(whole[1::2], parts[1][0])
    assert skipped == parts[0][1] == parts[1][1]
    assert len(skipped) == 1
    empty, _ = read_validation(source, 16, 1, rank=1, world=2)
    assert empty.shape == (0, 3, 16, 16)
    figures = evaluate(load_encoder_of(options), load_generator(options.generator), whole.repeat(4, 1, 2, 2), None)
    assert figures["mse"] > 0


def load_encoder_of(options: RunOptions) -> Any:
    Training(replace(TINY, images=4), replace(options, out=options.out / "small")).run()
    return load_encoder(options.out / "small" / "encoder.safetensors")


def test_another_data_set_with_the_same_names_is_refused(options: RunOptions, tmp_path: Path) -> None:
    Training(replace(TINY, images=8), options).run()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for k in range(13):
            archive.writestr(f"p{k:03d}.png", picture_bytes(k + 100))
    with pytest.raises(UsageError, match=r"was begun with another configuration \(contents '\w{16}' -> '\w{16}'\)"):
        Training(TINY, replace(options, data=tmp_path / "other.zip")).run()
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        archive.extractall(unpacked)
    assert Training(TINY, replace(options, data=unpacked)).run() == Outcome("finished", 16)


def test_a_run_that_is_older_than_a_setting_resumes(options: RunOptions) -> None:
    """Its record has no checksums, and not every setting that exists today."""
    Training(replace(TINY, images=8), options).run()
    file = options.out / "config.json"
    document = json.loads(file.read_text())
    for name in ("contents", "clip", "warmup"):
        del document["identity"][name]
    file.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=r"\(clip 0\.0 -> 0\.5\)"):
        Training(replace(TINY, clip=0.5), options).run()
    assert Training(TINY, options).run() == Outcome("finished", 16)


def test_the_starting_weights_may_be_spelled_in_another_way(
    options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Training(TINY, options).run()
    second = replace(options, out=tmp_path / "second", init=options.out, time_limit=0.0)
    Training(TINY, second).run()
    monkeypatch.chdir(tmp_path)
    relative = replace(second, init=Path("second/../run"), time_limit=None)
    assert Training(TINY, relative).run() == Outcome("finished", 16)


def test_a_file_system_without_locks_does_not_stop_a_training(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks, "_acquire", refuse)
    with caplog.at_level(logging.WARNING, "padinv"):
        assert Training(TINY, options).run() == Outcome("finished", 16)
    assert caplog.text.count("without locks") == 1


def test_the_best_encoder_is_kept_beside_the_last(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([0.5, 0.2, 0.4, 0.3])
    monkeypatch.setattr("padinv.training.encoder.run.errors", lambda *a: {"mse": torch.tensor([next(figures)])})
    options = replace(options, val=options.data, eval_images=4)
    Training(replace(TINY, ema=0.0), options).run()
    from padinv.checkpoints.native import read_header

    best = read_header(options.out / "encoder-best.safetensors")
    last = read_header(options.out / "encoder.safetensors")
    assert best is not None
    assert last is not None
    assert best["record"]["images"] == 8
    assert best["record"]["figures"]["mse"] == pytest.approx(0.2)
    assert last["record"]["images"] == 16


def test_checkpoints_in_the_background_are_the_same(options: RunOptions, tmp_path: Path) -> None:
    often = replace(options, save_minutes=0.0)
    Training(TINY, replace(often, background_save=True)).run()
    Training(TINY, replace(often, out=tmp_path / "other", background_save=False)).run()
    for name in ("checkpoint.pt", "encoder.safetensors", "metrics.jsonl"):
        assert (options.out / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_the_background_writer_raises_what_its_work_raised() -> None:
    writer = BackgroundWriter(True)

    def fail() -> None:
        raise OSError("disk full")

    writer.submit(fail)
    with pytest.raises(OSError, match="disk full"):
        writer.wait()
    writer.wait()
    state = {"a": [torch.ones(2), 3], "b": (torch.zeros(1),)}
    copy = snapshot(state)
    state["a"][0].fill_(7)
    assert copy["a"][0].tolist() == [1, 1]
    assert copy["a"][1] == 3


TRAIN = ["train", "--arch", "fast", "--batch", "4", "--per", "0"]


def test_skipped_pictures_exit_with_3(options: RunOptions, tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    data = damaged_archive(tmp_path / "d.zip", {"bad.png": b"hello"})
    common = [*TRAIN, "--generator", options.generator, "--data", data, "--out", options.out]
    result = run_cli(*common, "--steps", "2")
    assert result.code == 3
    assert "done after 8 images (1 picture skipped)" in result.err
    assert "bad.png" in result.err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_saves_unless_nohup_was_asked(ignored: bool, options: RunOptions) -> None:
    """A real process, a real SIGHUP; under `nohup` the training goes on."""
    steps = "400" if ignored else "100000"
    command = [sys.executable, "-m", "padinv.cli.main", *TRAIN, "--generator", str(options.generator)]
    command += ["--data", str(options.data), "--out", str(options.out), "--steps", steps, "--log-images", "4"]
    process = subprocess.Popen(
        ["nohup", *command] if ignored else command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    metrics = options.out / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    if ignored:
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "all kept; the same command resumes" in err
    assert (options.out / "checkpoint.pt").exists()


def test_trackers_take_numbers_and_pictures_and_stay_offline(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accelerate.tracking

    from padinv.training import trackers

    taken: dict[str, list[Any]] = {"log": [], "images": [], "config": [], "finish": []}

    class Tracker:
        name = "wandb"

        def __init__(self, run_name: str, **settings: Any) -> None:
            taken["config"].append((run_name, settings))

        def start(self) -> None: ...

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            taken["config"].append(values)

        def log(self, values: dict[str, float], step: int) -> None:
            taken["log"].append((step, values))

        def log_images(self, values: dict[str, Any], step: int) -> None:
            taken["images"].append((step, values))

        def finish(self) -> None:
            taken["finish"].append(True)

    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "wandb", Tracker)
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_MODE", "")
    del os.environ["WANDB_MODE"]
    Training(TINY, replace(options, trackers=("wandb",))).run()
    assert os.environ["WANDB_MODE"] == "offline"
    assert taken["config"][0] == ("padinv", {"name": "run", "dir": str(options.out)})
    assert taken["config"][1]["lr"] == 1e-3
    assert {step for step, _ in taken["log"]} == {8, 16}
    assert all(name.startswith("train/") for _, values in taken["log"] for name in values)
    assert [step for step, _ in taken["images"]] == [8, 16]
    assert taken["images"][0][1]["reconstructions"][0].shape[-1] == 3
    assert taken["finish"] == [True]


def test_a_missing_tracker_is_named_before_anything_is_written(options: RunOptions) -> None:
    from padinv.runtime.errors import MissingPackageError

    with pytest.raises(UsageError, match="the trackers are wandb, trackio, mlflow"):
        Training(TINY, replace(options, trackers=("aim",)))
    with pytest.raises(MissingPackageError, match=r"--track wandb needs the package 'wandb'.*padinv\[wandb\]"):
        Training(TINY, replace(options, trackers=("wandb",)))
    assert not options.out.exists()


def test_all_missing_files_are_named_at_once(options: RunOptions, tmp_path: Path) -> None:
    config = replace(TINY, id=0.1, per=0.8, lpips="squeeze")
    gone = replace(
        options,
        generator=tmp_path / "no-generator",
        init=tmp_path / "no-init",
        face_weights=tmp_path / "no-face",
        lpips_weights=tmp_path / "no-lpips",
        data=tmp_path / "no-data",
        val="no-val.zip",
    )
    with pytest.raises(InputError) as error:
        Training(config, gone)
    for name in ("no-generator", "no-init", "no-face", "no-lpips", "no-data", "no-val.zip"):
        assert f"{name} does not exist" in str(error.value), name
    assert not options.out.exists()


def test_speed_and_waiting_stand_in_a_file_of_their_own(options: RunOptions) -> None:
    Training(TINY, options).run()
    lines = [json.loads(line) for line in (options.out / "speed.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [8, 16]
    assert all(line["images_per_s"] > 0 and 0 <= line["share_waiting_for_data"] <= 1 for line in lines)


def test_images_much_larger_than_needed_are_said_before_they_starve_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from padinv.training import pictures

    source = open_pictures(write_pictures(tmp_path / "d.zip"))
    assert pictures.size_hint(source, 8) is None  # they fit in memory, and are decoded once
    monkeypatch.setattr(pictures, "CACHE_BYTES", 0)
    assert "have 32 px and the model reads 8" in str(pictures.size_hint(source, 8))
    assert "padinv dataset" in str(pictures.size_hint(source, 8))
    assert pictures.size_hint(source, 24) is None
    assert "have 32 px and the model reads 64, so they are enlarged" in str(pictures.size_hint(source, 64))
