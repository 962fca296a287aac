"""Archives of training pictures: what is in them, in what order, and that a kill changes nothing."""

from __future__ import annotations

import json
import os
import signal
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_containers import write_folder, write_lmdb
from PIL import Image
from tiny_training import picture_bytes

from padinv.datasets import DatasetSettings, prepare_dataset
from padinv.datasets.pictures import archive_name
from padinv.picture_sources import open_pictures
from padinv.runtime import files
from padinv.runtime.errors import InputError, OutputError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 pictures, one of them twice, and one that is damaged."""
    pictures = {f"{k // 5}/p{k:02d}.png": picture_bytes(k, 40) for k in range(12)}
    return write_folder(tmp_path / "photos", {**pictures, "1/twice.png": picture_bytes(3, 40), "2/cut.png": b"hello"})


def read(path: Path, size: int) -> dict[str, np.ndarray]:
    source = open_pictures(path)
    return {source.name(k): source.read(k, size) for k in range(len(source))}


def test_a_zip_holds_the_pictures_resized_and_says_how_it_was_made(folder: Path, tmp_path: Path) -> None:
    source = open_pictures(folder)
    summary = prepare_dataset(source, tmp_path / "a.zip", DatasetSettings(size=16))
    assert (summary.pictures, len(summary.skipped), len(summary.duplicates)) == (12, 1, 1)
    assert summary.duplicates == [("1/twice.png", "0/p03.png")]
    assert "cut.png is not a PNG" in summary.skipped[0]
    found = read(tmp_path / "a.zip", 16)
    assert list(found) == [f"{k // 5}/p{k:02d}.png" for k in range(12)]
    for k in range(12):
        name = f"{k // 5}/p{k:02d}.png"
        index = next(i for i in range(len(source)) if source.name(i) == name)
        assert np.array_equal(found[name], source.read(index, 16))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        manifest = json.loads(archive.read("dataset.json"))
    assert manifest["labels"] is None
    assert manifest["padinv"]["resize"] == "lanczos"
    assert manifest["padinv"]["pictures"] == 12
    assert "12 pictures" in (tmp_path / "a.html").read_text() or "<td>12</td>" in (tmp_path / "a.html").read_text()
    assert Image.open(tmp_path / "a-contact-sheet.png").width > 100
    assert not (tmp_path / "a.zip.partial").exists()


def test_area_resizing_averages_the_pixels_that_a_pixel_covers(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    (tmp_path / "one").mkdir()
    Image.fromarray(pixels).save(tmp_path / "one" / "a.png")
    prepare_dataset(open_pictures(tmp_path / "one"), tmp_path / "a.zip", DatasetSettings(size=8, resize="area"))
    mean = pixels.reshape(8, 4, 8, 4, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(read(tmp_path / "a.zip", 8)["a.png"] - mean).max() < 1  # Pillow rounds after each of two passes


def test_a_split_goes_by_the_order_of_names(folder: Path, tmp_path: Path) -> None:
    settings = DatasetSettings(size=8, split=9, shard=4)
    summary = prepare_dataset(open_pictures(folder), tmp_path / "a.zip", settings)
    assert (summary.pictures, summary.val_pictures) == (9, 3)
    names = [f"{k // 5}/p{k:02d}.png" for k in range(12)]
    assert list(read(tmp_path / "a.zip", 8)) == names[:9]
    assert list(read(tmp_path / "a-val.zip", 8)) == names[9:]
    assert (tmp_path / "a.txt").read_text().split() == names[:9]
    assert (tmp_path / "a-val.txt").read_text().split() == names[9:]
    source = open_pictures(folder)
    with pytest.raises(UsageError, match=r"a split after \d+ of \d+ pictures leaves none for validation"):
        prepare_dataset(source, tmp_path / "b.zip", replace(settings, split=len(source)))


@pytest.mark.parametrize("out", ["a.zip", "shards"])
def test_workers_and_parts_do_not_change_a_byte(out: str, folder: Path, tmp_path: Path) -> None:
    one = tmp_path / "one" / out
    two = tmp_path / "two" / out
    prepare_dataset(open_pictures(folder), one, DatasetSettings(size=8, shard=5))
    prepare_dataset(open_pictures(folder), two, DatasetSettings(size=8, shard=5), workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_tar_shards_of_a_database_read_back(tmp_path: Path) -> None:
    data = write_lmdb(tmp_path / "church_lmdb", {f"{k:040x}": picture_bytes(k, 24) for k in range(7)})
    summary = prepare_dataset(open_pictures(data), tmp_path / "shards", DatasetSettings(size=8, shard=3))
    assert summary.pictures == 7
    names = sorted(p.name for p in (tmp_path / "shards").iterdir())
    assert names == ["dataset.json", "shards-000000.tar", "shards-000001.tar", "shards-000002.tar"]
    assert list(read(tmp_path / "shards", 8)) == [f"{k:040x}.png" for k in range(7)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed command is a forked process")
@pytest.mark.parametrize("out", ["a.zip", "shards"])
def test_a_kill_at_any_write_changes_nothing(
    out: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DatasetSettings(size=8, shard=5, split=10)
    real = os.replace

    def run(target: Path, at: int | None) -> int:
        moments = 0

        def moment() -> None:
            nonlocal moments
            moments += 1
            if moments - 1 == at:
                os.kill(os.getpid(), signal.SIGKILL)

        def replace(source: Any, destination: Any) -> None:
            moment()
            real(source, destination)
            moment()

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", replace)
            prepare_dataset(open_pictures(folder), target, settings)
        return moments

    count = run(tmp_path / "straight" / out, None)
    expected = tree(tmp_path / "straight")
    for at in range(count):
        target = tmp_path / str(at) / out
        pid = os.fork()
        if pid == 0:
            try:
                run(target, at)
            finally:
                os._exit(17)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        summary = prepare_dataset(open_pictures(folder), target, settings)
        assert (summary.pictures, summary.val_pictures) == (10, 2)
        assert tree(tmp_path / str(at)) == expected


def test_an_archive_that_exists_is_left_alone(folder: Path, tmp_path: Path) -> None:
    source, out = open_pictures(folder), tmp_path / "a.zip"
    first = prepare_dataset(source, out, DatasetSettings(size=8))
    before = out.stat().st_mtime_ns
    again = prepare_dataset(source, out, DatasetSettings(size=8))
    assert again.existed
    assert (again.pictures, again.skipped, again.duplicates) == (first.pictures, first.skipped, first.duplicates)
    assert again.statistics == first.statistics
    with pytest.raises(OutputError, match="was not made from these pictures with these settings"):
        prepare_dataset(source, out, DatasetSettings(size=16))
    assert out.stat().st_mtime_ns == before
    (tmp_path / "b.zip").write_bytes(b"mine")
    with pytest.raises(OutputError, match="left alone"):
        prepare_dataset(source, tmp_path / "b.zip", DatasetSettings(size=8))
    assert (tmp_path / "b.zip").read_bytes() == b"mine"


def test_nothing_usable_leaves_nothing(tmp_path: Path) -> None:
    source = open_pictures(write_folder(tmp_path / "bad", {"a.png": b"hello"}))
    with pytest.raises(InputError, match=r"none of the 1 pictures in .* can be used: .*a\.png is not a PNG"):
        prepare_dataset(source, tmp_path / "a.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["bad"]
    with pytest.raises(UsageError, match="resize is one of lanczos, area"):
        DatasetSettings(resize="cubic")


def test_statistics_are_those_of_the_pixels(folder: Path, tmp_path: Path) -> None:
    summary = prepare_dataset(open_pictures(folder), tmp_path / "a.zip", DatasetSettings(size=16, shard=5))
    pixels = np.stack(list(read(tmp_path / "a.zip", 16).values())).reshape(-1, 3) / 255
    assert summary.statistics.channel_means() == pytest.approx(pixels.mean(axis=0))
    assert summary.statistics.channel_deviations() == pytest.approx(pixels.std(axis=0))
    assert summary.statistics.sizes == {"40 x 40": 12}
    assert summary.statistics.pictures == 12


def test_names_stay_inside_the_archive_and_apart() -> None:
    assert archive_name("../../etc/x.png") == "etc/x.png"
    assert archive_name("/a/b.jpg") == "a/b.jpg.png"
    assert archive_name("a.jpg.png") == "a.jpg.png.png"
    assert archive_name("00ff") == "00ff.png"
    assert archive_name("a\x1b[31m.png").isprintable()


def test_the_command(
    folder: Path, tmp_path: Path, run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_cli("dataset", folder, "--size", 16, "--split", 8, "--workers", 1)
    assert result.code == 3
    assert "12 pictures in" in result.out
    assert "1 duplicate left out; 1 skipped" in result.out
    assert "next: padinv train --generator G.safetensors --data photos-16.zip --val photos-16-val.zip" in result.out
    assert "skipped: " in result.err
    assert (tmp_path / "photos-16.zip").exists()
    again = run_cli("dataset", folder, "--size", 16, "--split", 8, "--json")
    document = json.loads(again.out)
    assert document["existed"] is True
    assert (document["pictures"], document["val_pictures"]) == (8, 4)
    assert run_cli("dataset", tmp_path / "nowhere").code == 1
