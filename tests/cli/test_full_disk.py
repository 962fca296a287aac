"""A full disk and a limit on file sizes, in every writer and every verb: one sentence, nothing half-written."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_bundle import SPEC, write_tiny_bundle

from padinv.checkpoints.native import save_generator
from padinv.datasets.archives import write_tar, write_zip
from padinv.models.generator import Generator
from padinv.runtime.batch.engine import Task
from padinv.runtime.batch.results_log import ResultsLog, new_record
from padinv.runtime.editing.direction import Direction
from padinv.runtime.errors import OutputError
from padinv.runtime.files import write_bytes, write_json, write_text
from padinv.runtime.images.png_metadata import save_png
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.reports.animation import save_animation
from padinv.runtime.reports.html import page, write_page
from padinv.training.run_folder import RunFolder

NOISE = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), np.uint8)


def inversion(count: int = 60) -> Inversion:
    return Inversion(
        *(np.ones((count, *SPEC.latent_shapes[name]), np.float32) for name in ("wp", "const")),
        {r: np.ones((count, *SPEC.latent_shapes[f"pad_{r}"]), np.float32) for r in SPEC.pad_resolutions},
        "aa" * 32,
    )


def direction() -> Direction:
    one = inversion(1)
    return Direction(
        np.repeat(one.wp[0], 400, axis=1), one.const[0], {r: ring[0] for r, ring in one.rings.items()}, "aa" * 32
    )


def add_records(path: Path) -> None:
    task = Task("invert", "x" * 100, "", {}, {}, {})
    with ResultsLog(path.parent) as log:
        for i in range(400):
            log.add([{**new_record(task, {}, {}), "name": f"{i}" * 50}])


WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: write_bytes(path, bytes(40_000)),
    "text": lambda path: write_text(path, "text" * 10_000),
    "json": lambda path: write_json(path, list(range(10_000))),
    "png": lambda path: save_png(path, NOISE[0], {}),
    "animation": lambda path: save_animation(path, NOISE),
    "inversion": lambda path: inversion().save(path),
    "direction": lambda path: direction().save(path),
    "page": lambda path: write_page(path, page("title", "body" * 10_000)),
    "log": add_records,
    "zip": lambda path: write_zip(path, [("a.png", bytes(40_000))]),
    "tar": lambda path: write_tar(path, [("a.png", bytes(40_000))]),
    "network": lambda path: save_generator(path, Generator(SPEC)),
    "checkpoint": lambda path: RunFolder(path.parent).save_checkpoint({"tensor": torch.zeros(20_000)}),
}


@contextlib.contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many KiB, or makes it larger."""
    place = tmp_path / "disk"
    place.mkdir()

    def resize(kilobytes: int) -> Path:
        options = f"size={kilobytes}k" + (",remount" if os.path.ismount(place) else "")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("a small file system can be mounted by root alone")
        return place

    yield resize
    if os.path.ismount(place):
        subprocess.run(["umount", "-l", place], check=True)


def temporary_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_says_that_the_disk_is_full(small_disk: Callable[[int], Path], writer: str) -> None:
    target = small_disk(12) / "file.bin"
    with pytest.raises(OutputError, match=r"cannot write .*: (No space left on device|.*is the disk full)"):
        WRITERS[writer](target)
    assert not target.exists()
    assert temporary_files(target.parent) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_says_that_a_file_is_too_large(tmp_path: Path, writer: str) -> None:
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "file.bin"
    with (
        file_size_limit(4096),
        pytest.raises(OutputError, match=r"cannot write .*: (File too large|.*is the disk full)"),
    ):
        WRITERS[writer](target)
    assert not target.exists()
    assert temporary_files(target.parent) == []


def test_an_overwritten_file_survives_a_full_disk(small_disk: Callable[[int], Path]) -> None:
    target = small_disk(12) / "file.bin"
    write_bytes(target, b"old")
    for writer in ("bytes", "inversion", "network", "checkpoint"):
        with pytest.raises(OutputError):
            WRITERS[writer](target)
        assert target.read_bytes() == b"old"


@pytest.fixture
def inputs(tmp_path: Path, picture) -> Path:
    (tmp_path / "in").mkdir()
    for i in range(6):
        picture(20, 20, seed=i).save(tmp_path / "in" / f"{i}.png")
    points = ",".join(map(str, (7, 8, 13, 8, 10, 11, 8, 14, 12, 14)))
    (tmp_path / "points.csv").write_text("".join(f"{i}.png,{points}\n" for i in range(6)))
    write_tiny_bundle(tmp_path / "bundle")
    return tmp_path


VERBS: dict[str, tuple[int, list[str]]] = {
    "invert": (36, ["invert", "IN", "--no-report", "--batch", "2"]),
    "blend": (28, ["blend", "IN/0.png", "IN", "--save-inversions", "--no-sheet", "--batch", "2"]),
    "custom-edit": (28, ["custom-edit", "--pair", "IN/0.png", "--pair", "IN/1.png", "--target", "IN", "--space", "both",
                         "--no-sheet", "--save-inversions", "--batch", "2"]),
    "interpolate": (48, ["interpolate", "--from-average", "IN", "--space", "both", "--no-sheet"]),
    "align": (20, ["align", "IN", "--landmarks", "POINTS", "--size", "32", "--no-sheet"]),
    "generate": (28, ["generate", "--seeds", "0-5", "--save-inversions", "--batch", "2"]),
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_keeps_what_is_finished_and_goes_on_later(
    small_disk: Callable[[int], Path], inputs: Path, run_cli, verb: str
) -> None:
    size, arguments = VERBS[verb]
    out = small_disk(size) / "out"
    places = {"IN": str(inputs / "in"), "POINTS": str(inputs / "points.csv")}
    for name, path in places.items():
        arguments = [one.replace(name, path) if one.startswith(name) else one for one in arguments]
    model = [] if verb == "align" else ["--model", inputs / "bundle"]
    call = [*arguments, "--out", out, "--threads", 1, *model]
    full = run_cli(*call)
    assert full.code == 1, full.out
    assert full.err.count("\n") == 1, full.err
    assert "error: cannot write" in full.err
    assert "No space left on device" in full.err
    assert temporary_files(out) == []
    for path in out.rglob("*.png"):
        with Image.open(path) as image:
            image.load()
    for path in out.rglob("*.safetensors"):
        Inversion.load(path)
    small_disk(4096)
    rest = run_cli(*call)
    assert rest.code == 0, rest.err
    assert len(list(out.glob("*.png"))) >= 6


def test_a_report_that_cannot_be_written_is_exit_code_3(inputs: Path, run_cli, monkeypatch) -> None:
    real = os.replace

    def replace(source, target):
        if str(target).endswith("report.html"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr("padinv.runtime.files.os.replace", replace)
    out = inputs / "out"
    result = run_cli("invert", inputs / "in", "--out", out, "--model", inputs / "bundle", "--threads", 1)
    assert result.code == 3
    assert "report.html: No space left on device; the results themselves are complete" in result.err
    assert "6 inverted" in result.out
    assert len(list(out.glob("*.safetensors"))) == 6


def test_a_batch_that_does_not_fit_into_memory_is_halved(inputs: Path, run_cli, monkeypatch) -> None:
    real = Model.reconstruct

    def reconstruct(self, x, batch_size=16, **more):
        if len(x) > 3:
            raise MemoryError
        return real(self, x, batch_size, **more)

    monkeypatch.setattr(Model, "reconstruct", reconstruct)
    out = inputs / "out"
    result = run_cli("invert", inputs / "in", "--out", out, "--model", inputs / "bundle", "--batch", 6)
    assert result.code == 0, result.err
    assert result.err.count("not enough memory for 6 images at once, so the batch size is now 3") == 1
    assert len(list(out.glob("*.safetensors"))) == 6
