"""Which pictures of a watched folder are new and complete."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from padinv.runtime.batch.engine import Event, Note
from padinv.runtime.batch.find_inputs import Found
from padinv.runtime.batch.watching import NewPictures, watch


def names(found: Sequence[Found]) -> list[str]:
    return [one.name for one in found]


def test_a_picture_is_given_once_and_only_when_it_has_stopped_growing(tmp_path: Path) -> None:
    pictures = NewPictures(tmp_path, tmp_path / "out")
    (tmp_path / "a.jpg").write_bytes(b"1")
    assert pictures.look() == []
    (tmp_path / "a.jpg").write_bytes(b"12")
    assert pictures.look() == []  # it grew
    assert names(pictures.look()) == ["a.jpg"]
    assert pictures.look() == []
    (tmp_path / "a.jpg").write_bytes(b"123")  # replaced
    assert pictures.look() == []
    assert names(pictures.look()) == ["a.jpg"]


def test_a_change_that_keeps_the_size_counts(tmp_path: Path) -> None:
    pictures = NewPictures(tmp_path, tmp_path / "out")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    pictures.look()
    os.utime(path, ns=(5, 5))
    assert pictures.look() == []
    assert names(pictures.look()) == ["a.jpg"]


def test_other_files_and_what_padinv_wrote_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "notes.txt", ".hidden.png", "deep/er/b.webp", "out/a.png.png", "empty.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"" if name == "empty.png" else b"x")
    pictures = NewPictures(tmp_path, tmp_path / "out")
    pictures.look()
    assert names(pictures.look()) == ["a.png", "deep/er/b.webp"]


def test_a_picture_that_comes_back_is_new(tmp_path: Path) -> None:
    pictures = NewPictures(tmp_path, tmp_path / "out")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    pictures.look()
    pictures.look()
    path.rename(tmp_path / "away.txt")
    assert pictures.look() == []
    (tmp_path / "away.txt").rename(path)
    assert pictures.look() == []
    assert names(pictures.look()) == ["a.jpg"]


def test_a_folder_that_goes_away_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "drive"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"1")
    pictures = NewPictures(folder, tmp_path / "out")
    pictures.look()
    folder.rename(tmp_path / "unplugged")
    with caplog.at_level(logging.WARNING, "padinv"):
        assert pictures.look() == pictures.look() == []
    assert len([one for one in caplog.records if "cannot be listed" in one.getMessage()]) == 1
    (tmp_path / "unplugged").rename(folder)
    pictures.look()
    assert names(pictures.look()) == ["a.jpg"]


def test_stopping_ends_after_the_batch_at_hand(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(b"x")
    stop = threading.Event()
    batches: list[list[str]] = []

    def process(files: Sequence[Found]) -> Generator[Event, None, None]:
        batches.append(names(files))
        yield Note("started")
        if len(batches) == 2:
            stop.set()
        yield Note("finished")

    pictures = NewPictures(tmp_path, tmp_path / "out")
    events = list(watch(pictures, process, stop, interval=0.01, batch_size=2))
    assert batches == [["0.jpg", "1.jpg"], ["2.jpg", "3.jpg"]]
    assert [one.text for one in events if isinstance(one, Note)] == ["started", "finished"] * 2
