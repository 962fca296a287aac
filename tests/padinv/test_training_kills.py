"""A training killed at any write, and run again, leaves the very bytes of one that never stopped."""

from __future__ import annotations

import builtins
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_containers import SUFFIX, WRITERS
from tiny_training import SPEC, picture_bytes, write_generator, write_pictures

from padinv.runtime import files
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.generator.config import GanConfig
from padinv.training.generator.run import GeneratorRunOptions, GeneratorTraining
from padinv.training.loop import Outcome
from padinv.training.pictures import Pictures

pytestmark = [
    pytest.mark.usefixtures("small_networks"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed training is a forked process"),
]
KILLED = -signal.SIGKILL


def count_writes(at: int | None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every moment before and after a file is put in place or a line is added; die at the `at`-th moment."""
    moments: list[str] = []
    real_replace, real_open = os.replace, builtins.open

    def moment(name: str) -> None:
        moments.append(name)
        if len(moments) - 1 == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def replace_(source: Any, target: Any) -> None:
        moment(f"before {Path(target).name}")
        real_replace(source, target)
        moment(f"after {Path(target).name}")

    def open_(file: Any, mode: str = "r", *args: Any, **settings: Any) -> Any:
        if mode == "a":
            moment(f"line of {Path(file).name}")
        return real_open(file, mode, *args, **settings)

    monkeypatch.setattr(files.os, "replace", replace_)
    monkeypatch.setattr(builtins, "open", open_)
    return moments


def killed_at(moment: int, run: Callable[[], Outcome], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run in a forked process that dies at a moment; how the process ended."""
    pid = os.fork()
    if pid == 0:
        try:
            count_writes(moment, monkeypatch)
            run()
        finally:
            os._exit(17)  # not reached by a process that was killed
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


TIMED = ("speed.jsonl", "report.html", ".lock")


def contents(folder: Path) -> dict[str, bytes]:
    """The run's files, but for speeds and TensorBoard's, which hold times."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {n: p.read_bytes() for n, p in found.items() if n not in TIMED and "tensorboard" not in n}


def kill_everywhere(
    make: Callable[[Path], Callable[[], Outcome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        moments = count_writes(None, patch)
        straight = make(tmp_path / "straight")()
    assert straight.ending == "finished"
    expected = contents(tmp_path / "straight")
    assert len(moments) > 15
    for k, name in enumerate(moments):
        out = tmp_path / f"{k}"
        with monkeypatch.context() as patch:
            assert killed_at(k, make(out), patch) == KILLED, name
        assert make(out)() == straight, name
        found = contents(out)
        assert found.keys() == expected.keys(), name
        assert [n for n in found if found[n] != expected[n]] == [], f"killed {name}"


def test_an_encoder_training_killed_at_any_write_ends_as_if_it_never_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = write_generator(tmp_path / "g.safetensors")
    data = write_pictures(tmp_path / "data.zip")
    config = TrainConfig(arch="fast", images=16, batch=4, lr=1e-3, ema=0.9, per=0.0, flips=True, seed=5)
    options = RunOptions(
        generator, data, tmp_path, val=data, val_count=3, eval_images=8, log_images=8, save_minutes=0.0
    )

    def make(out: Path) -> Callable[[], Outcome]:
        return lambda: Training(config, replace(options, out=out)).run()

    kill_everywhere(make, tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_training_killed_mid_epoch_ends_the_same_from_every_container(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder of a training that was killed twice, byte by byte that of an unbroken one on a folder."""
    generator = write_generator(tmp_path / "g.safetensors")
    pictures = {f"p{k:03d}.png": picture_bytes(k) for k in range(13)}
    config = TrainConfig(arch="fast", images=32, batch=4, lr=1e-3, ema=0.9, per=0.0, flips=True, seed=5)
    # Pictures are read from the container at every step.
    monkeypatch.setattr("padinv.training.encoder.run.Pictures", partial(Pictures, cache_bytes=0))
    folder = WRITERS["folder"](tmp_path / "folder", pictures)
    straight = RunOptions(generator, folder, tmp_path / "straight", save_minutes=0.0, workers=0)
    Training(config, straight).run()

    data = folder if kind == "folder" else WRITERS[kind](tmp_path / f"data{SUFFIX.get(kind, '')}", pictures)
    options = replace(straight, data=data, out=tmp_path / "killed")
    for steps in (2, 3):  # the first epoch ends within the fourth step
        assert killed_in_step(steps, Training(config, options)) == KILLED
    Training(config, options).run()
    for name in ("encoder.safetensors", "metrics.jsonl"):
        assert (options.out / name).read_bytes() == (straight.out / name).read_bytes(), name


def killed_in_step(after: int, training: Training) -> int:
    """Run in a forked process that dies in the step after so many of its own; how the process ended."""
    pid = os.fork()
    if pid == 0:
        left = [after]
        step = training.trainer.step

        def dying(images: torch.Tensor) -> dict[str, float]:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return step(images)

        training.trainer.step = dying  # type: ignore[method-assign]
        try:
            training.run()
        finally:
            os._exit(17)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_generator_training_killed_at_any_write_ends_as_if_it_never_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_pictures(tmp_path / "data.zip")
    config = GanConfig(SPEC, images=8, batch=4, discriminator="stylegan2", seed=3)
    options = GeneratorRunOptions(data, tmp_path, log_images=8, sample_images=4, save_minutes=0.0)

    def make(out: Path) -> Callable[[], Outcome]:
        return lambda: GeneratorTraining(config, replace(options, out=out)).run()

    kill_everywhere(make, tmp_path, monkeypatch)


def test_a_checkpoint_without_its_encoder_is_completed(tmp_path: Path) -> None:
    """As an older padinv left it, which wrote the checkpoint first."""
    generator = write_generator(tmp_path / "g.safetensors")
    data = write_pictures(tmp_path / "data.zip")
    config = TrainConfig(arch="fast", images=16, batch=4, lr=1e-3, per=0.0, seed=5)
    options = RunOptions(generator, data, tmp_path / "run", log_images=8)
    assert Training(config, options).run().ending == "finished"
    whole = (options.out / "encoder.safetensors").read_bytes()
    for damage in (lambda p: p.unlink(), lambda p: p.write_bytes(b"half")):
        damage(options.out / "encoder.safetensors")
        assert Training(config, options).run() == Outcome("finished", 16)
        assert (options.out / "encoder.safetensors").read_bytes() == whole


def test_leftovers_of_killed_runs_are_swept(tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "g.safetensors")
    data = write_pictures(tmp_path / "data.zip")
    options = RunOptions(generator, data, tmp_path / "run", log_images=8)
    options.out.mkdir()
    (options.out / ".padinv-abc.tmp.pt").write_bytes(b"half a checkpoint")
    Training(TrainConfig(arch="fast", images=8, batch=4, per=0.0), options).run()
    assert not list(options.out.glob(".padinv-*"))
