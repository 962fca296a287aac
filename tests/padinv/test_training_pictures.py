"""Training pictures: sources, order, caching, damage."""

from __future__ import annotations

import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_training import picture_bytes, write_pictures

from padinv.picture_sources import PictureSource, open_pictures, printable
from padinv.runtime.errors import InputError
from padinv.training.pictures import Pictures, StepBatches, batches, to_float, to_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    (root / "deep" / "er").mkdir(parents=True)
    for k, name in enumerate(("b.png", "a.PNG", "deep/er/c.png")):
        (root / name).write_bytes(picture_bytes(k))
    (root / "notes.txt").write_text("not a picture")
    return root


def names_of(source: PictureSource) -> list[str]:
    return [source.name(k) for k in range(len(source))]


def test_folder_and_archive_hold_the_same(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder).as_posix())
        archive.writestr("__MACOSX/._b.png", b"finder's")
    one, other = open_pictures(folder), open_pictures(tmp_path / "a.zip")
    assert names_of(one) == names_of(other) == ["a.PNG", "b.png", "deep/er/c.png"]
    for k in range(3):
        assert np.array_equal(one.read(k, 16), other.read(k, 16))
    assert one.fingerprint() == other.fingerprint()


def test_pixels_of_the_right_size_are_kept(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    pictures = Pictures(open_pictures(tmp_path), 32)
    assert torch.equal(pictures[0], torch.from_numpy(pixels).permute(2, 0, 1))
    assert Pictures(open_pictures(tmp_path), 8)[0].shape == (3, 8, 8)


@pytest.mark.parametrize("cache_bytes", [1 << 30, 0])
def test_damaged_pictures_are_named_once_and_left_out(folder: Path, cache_bytes: int) -> None:
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("hello")
    whole = picture_bytes(9)
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    pictures = Pictures(open_pictures(folder), 16, cache_bytes)
    good = {pictures[k].numpy().tobytes() for k in range(len(pictures)) for _ in range(2)}
    assert len(pictures) == (3 if cache_bytes else 6)
    assert len(good) == 3  # streamed, a damaged picture's place is taken by a good one
    assert len(pictures.bad) == 3
    assert {Path(text.split(" ")[0]).name for text in pictures.bad} == {"empty.png", "text.png", "cut.png"}


def test_batches_carry_the_names_of_damaged_pictures(folder: Path) -> None:
    (folder / "bad.png").write_text("hello")
    pictures = Pictures(open_pictures(folder), 16, cache_bytes=0)
    loader = iter(batches(pictures, StepBatches(4, 4, seed=0)))
    first, second = next(loader), next(loader)
    assert [Path(text.split(" ")[0]).name for text in first.bad] == ["bad.png"]
    assert first.images.shape == (4, 3, 16, 16)
    assert second.bad == []


def test_a_damaged_archive_member_is_named(tmp_path: Path) -> None:
    path = write_pictures(tmp_path / "a.zip", 3)
    data = bytearray(path.read_bytes())
    start = data.index(picture_bytes(1))
    data[start + 60] ^= 0xFF
    path.write_bytes(data)
    pictures = Pictures(open_pictures(path), 16)
    assert len(pictures) == 2
    assert "p001.png in " in pictures.bad[0]
    assert "cannot be unpacked" in pictures.bad[0]


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_pictures(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"holds no picture \(.*\.jpg"):
        open_pictures(empty)
    (empty / "a.png").write_text("text")
    with pytest.raises(InputError, match=r"none of the 1 pictures in .* can be read: .*a\.png is not a PNG"):
        Pictures(open_pictures(empty), 16)
    with pytest.raises(InputError, match=r"none of the 1 pictures in .* can be read: .*a\.png is not a PNG"):
        Pictures(open_pictures(empty), 16, 0)[0]
    (tmp_path / "a.tar").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"a\.tar is not a readable tar archive"):
        open_pictures(tmp_path / "a.tar")


def test_an_unpacking_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(20 << 20))
        archive.writestr("good.png", picture_bytes(0))
    pictures = Pictures(open_pictures(tmp_path / "bomb.zip"), 16)
    assert len(pictures) == 1
    assert "bomb.png in " in pictures.bad[0]
    assert "unpacks to 20 MiB" in pictures.bad[0]


def test_hostile_names_do_no_harm(tmp_path: Path) -> None:
    names = ["../../evil.png", "/etc/evil.png", "red\x1b[31m\n.png", "x" * 5000 + ".png"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k, name in enumerate(names):
            archive.writestr(name, picture_bytes(k))
    source = open_pictures(tmp_path / "a.zip")
    assert len(Pictures(source, 16)) == 4
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip"]
    for k in range(4):
        label = source.label(k)
        assert label.isprintable()
        assert len(label) < 400
    assert printable("a\x1b\u202eb") == "a??b"


def test_encrypted_members_are_skipped(tmp_path: Path) -> None:
    path = write_pictures(tmp_path / "a.zip", 2)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # the flag that says: encrypted
    path.write_bytes(data)
    pictures = Pictures(open_pictures(path), 16)
    assert len(pictures) == 1
    assert "p000.png" in pictures.bad[0]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    batch=st.integers(1, 9),
    seed=st.integers(0, 1 << 40),
    start=st.integers(0, 50),
    world=st.integers(1, 3),
)
def test_order_depends_on_seed_and_step_alone(count: int, batch: int, seed: int, start: int, world: int) -> None:
    fresh = StepBatches(count, batch, seed, 0, True)
    long_way = [fresh.at(step) for step in range(start + 3)]
    resumed = iter(StepBatches(count, batch, seed, start, True))
    assert [next(resumed) for _ in range(3)] == long_way[start:]
    # Many processes share what one would do with a batch as large as all of theirs.
    together = StepBatches(count, batch * world, seed, 0, True).at(start)
    parts = [StepBatches(count, batch, seed, 0, True, rank, world).at(start) for rank in range(world)]
    assert [item for part in parts for item in part] == together


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    order = StepBatches(12, 4, seed=1, flips=True)
    epochs = [[item for step in range(3 * e, 3 * e + 3) for item in order.at(step)] for e in range(40)]
    for epoch in epochs:
        assert sorted(index for index, _ in epoch) == list(range(12))
    assert len({tuple(index for index, _ in epoch) for epoch in epochs}) == 40
    mirrored = Counter(flip for epoch in epochs for _, flip in epoch)
    assert 0.4 < mirrored[True] / 480 < 0.6
    assert not any(flip for step in range(9) for _, flip in StepBatches(12, 4, seed=1).at(step))
    assert StepBatches(12, 4, seed=2).at(0) != StepBatches(12, 4, seed=1).at(0)


@pytest.mark.parametrize(("cache_bytes", "workers"), [(1 << 30, 0), (0, 0), (0, 2)])
def test_batches_are_the_same_however_they_are_read(tmp_path: Path, cache_bytes: int, workers: int) -> None:
    source = open_pictures(write_pictures(tmp_path / "a.zip"))
    pictures = Pictures(source, 16, cache_bytes)
    order = StepBatches(len(pictures), 4, seed=3, start=2, flips=True)
    loader = iter(batches(pictures, order, workers))
    for step in range(2, 6):
        expected = []
        for index, flip in order.at(step):
            pixels = torch.from_numpy(source.read(index, 16)).permute(2, 0, 1)
            expected.append(pixels.flip(2) if flip else pixels)
        assert torch.equal(next(loader).images, torch.stack(expected))


def test_a_source_travels_to_other_processes(tmp_path: Path) -> None:
    source = open_pictures(write_pictures(tmp_path / "a.zip"))
    source.read(0, 16)  # opens the archive
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.read(1, 16), source.read(1, 16))


def test_range_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16)
    floats = to_float(pixels)
    assert floats.min() == -1
    assert floats.max() == 1
    assert np.array_equal(np.asarray(to_image(floats[0])), pixels[0].permute(1, 2, 0).numpy())
    assert np.asarray(to_image(torch.full((3, 2, 2), 7.0))).max() == 255
