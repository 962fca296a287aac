"""Sources of pictures: every container gives the same pictures in the same order, in little memory."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import pickle
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import fsspec
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_containers import SUFFIX, WRITERS, write_folder, write_lmdb, write_parquet, write_tar_shards, write_zip
from tiny_training import picture_bytes

from padinv.picture_sources import open_pictures
from padinv.picture_sources.opening import expand_braces
from padinv.picture_sources.packed_names import PackedNames
from padinv.picture_sources.source import evenly
from padinv.picture_sources.tar_shards import tar_members
from padinv.runtime.errors import InputError
from padinv.training.pictures import Pictures, StepBatches, batches

NAMES = [f"{k // 5:05d}/img{k * 7 % 13:08d}.png" for k in range(13)]  # not in order


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    return {name: picture_bytes(k, 24) for k, name in enumerate(NAMES)}


@pytest.mark.parametrize("kind", list(WRITERS))
def test_every_container_gives_the_same_pictures_in_the_same_order(
    kind: str, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    path = WRITERS[kind](tmp_path / f"data{SUFFIX.get(kind, '')}", pictures)
    source = open_pictures(path)
    assert [source.name(k) for k in range(len(source))] == sorted(pictures)
    assert [source.data(k) for k in range(len(source))] == [pictures[name] for name in sorted(pictures)]
    expected = hashlib.sha256("\0".join(sorted(pictures)).encode()).hexdigest()[:16]
    assert source.fingerprint() == expected
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.read(4, 16), source.read(4, 16))


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "folder"])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_every_container_are_bit_equal(
    kind: str, workers: int, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    folder = open_pictures(write_folder(tmp_path / "folder", pictures))
    other = open_pictures(WRITERS[kind](tmp_path / f"data{SUFFIX.get(kind, '')}", pictures))
    order = StepBatches(len(folder), 4, seed=3, start=2, flips=True)
    one = iter(batches(Pictures(folder, 16, cache_bytes=0), order, 0))
    two = iter(batches(Pictures(other, 16, cache_bytes=0), order, workers))
    for _ in range(5):
        assert torch.equal(next(one).images, next(two).images)


def test_identity_is_the_same_in_a_folder_an_archive_and_shards(pictures: dict[str, bytes], tmp_path: Path) -> None:
    found = {
        open_pictures(WRITERS[kind](tmp_path / f"{kind}{SUFFIX.get(kind, '')}", pictures)).contents()
        for kind in ("folder", "zip", "tar", "lmdb")
    }
    assert len(found) == 1


@pytest.mark.parametrize("kind", list(WRITERS))
def test_another_data_set_with_the_same_names_has_another_identity(
    kind: str, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    """One byte of one picture, at the same size, is enough."""
    other = dict(pictures)
    data = bytearray(other[NAMES[6]])
    data[-20] ^= 1
    other[NAMES[6]] = bytes(data)
    one, two = (
        open_pictures(WRITERS[kind](tmp_path / f"{name}{SUFFIX.get(kind, '')}", files))
        for name, files in (("one", pictures), ("two", other))
    )
    assert one.fingerprint() == two.fingerprint()
    assert one.contents() != two.contents()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab/0é.", max_size=20).map(str.encode), max_size=60))
def test_names_are_sorted_as_python_sorts_them(names: list[bytes]) -> None:
    packed = PackedNames()
    for name in names:
        packed.append(name)
    order = packed.sort()
    assert list(packed) == sorted(names)
    if order is not None:
        assert [names[k] for k in order] == sorted(names)
    kept = packed.drop_repeated()
    assert list(packed) == sorted(set(names))
    if kept is not None:
        assert [sorted(names)[k] for k in kept] == sorted(set(names))
    assert packed.digest() == hashlib.sha256(b"\0".join(sorted(set(names)))).hexdigest()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 30), wanted=st.integers(1, 12))
def test_a_sample_is_spread_over_everything(count: int, wanted: int) -> None:
    places = evenly(count, wanted)
    assert len(places) == min(count, wanted)
    assert 0 <= places[0] <= places[-1] < count
    if wanted > 1 and count > 1:
        assert (places[0], places[-1]) == (0, count - 1)


# -- folders -----------------------------------------------------------------------------------------------------------


def test_folders_and_archives_pass_over_what_is_not_a_photograph(tmp_path: Path) -> None:
    good = {"a.png": picture_bytes(0), "deep/er/c.PNG": picture_bytes(1)}
    noise = [
        "@eaDir/a.png",
        ".ipynb_checkpoints/a.png",
        ".hidden.png",
        "__MACOSX/._a.png",
        "$RECYCLE.BIN/x.png",
        "n.txt",
    ]
    everything = {**good, **dict.fromkeys(noise, picture_bytes(2))}
    for path in (write_folder(tmp_path / "folder", everything), write_zip(tmp_path / "a.zip", everything)):
        source = open_pictures(path)
        assert [source.name(k) for k in range(len(source))] == sorted(good)


def test_folders_pass_over_results_and_samples_and_follow_links(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a.png": picture_bytes(0)})
    elsewhere = write_folder(tmp_path / "elsewhere", {"b.png": picture_bytes(1)})
    (root / "linked").symlink_to(elsewhere)
    (root / "loop").symlink_to(root)
    (root / "nowhere").symlink_to(tmp_path / "gone")
    write_folder(root / "out", {"r.png": picture_bytes(2), "results.jsonl": b'{"padinv": 1}\n'})
    run = {"config.json": b"{}", "generator.safetensors": b"", "samples/000000016.png": picture_bytes(3)}
    write_folder(root / "run", run)
    source = open_pictures(root)
    assert [source.name(k) for k in range(len(source))] == ["a.png", "linked/b.png"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_a_note(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a.png": picture_bytes(0), "closed/b.png": picture_bytes(1)})
    (root / "closed").chmod(0)
    source = open_pictures(root)
    (root / "closed").chmod(0o755)
    assert len(source) == 1
    assert "closed cannot be listed (Permission denied)" in source.notes[0]  # type: ignore[attr-defined]


# -- archives ----------------------------------------------------------------------------------------------------------


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bz2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_archives_of_every_method_and_shape_are_read(method: int, tmp_path: Path) -> None:
    names = [f"é{k}.png" if k % 2 else f"plain{k}.png" for k in range(40)]
    random.Random(4).shuffle(names)
    files = {name: picture_bytes(k, 12) for k, name in enumerate(names)}
    path = tmp_path / "a.zip"
    path.write_bytes(b"#!/bin/sh\n")  # something in front, as in an archive that unpacks itself
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.comment = b"a comment " * 9
        for name, data in files.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=name.endswith("0.png")) as member:
                member.write(data)
    with zipfile.ZipFile(path) as archive:
        expected = {name: archive.read(name) for name in sorted(archive.namelist())}
    source = open_pictures(path)
    assert {source.name(k): source.data(k) for k in range(len(source))} == expected == files
    assert [source.name(k) for k in range(len(source))] == sorted(files)


def test_a_name_that_is_repeated_counts_once_and_the_last_wins(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.png", picture_bytes(0))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("b.png", picture_bytes(1))
        archive.writestr("a.png", picture_bytes(2))
    source = open_pictures(tmp_path / "a.zip")
    assert [source.data(k) for k in range(len(source))] == [picture_bytes(2), picture_bytes(1)]


def test_zip64_directories_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 500)
    path = write_zip(tmp_path / "a.zip", {f"{k}.png": picture_bytes(k) for k in range(9)})
    assert b"PK\x06\x06" in path.read_bytes()
    source = open_pictures(path)
    assert [source.data(k) for k in range(9)] == [picture_bytes(k) for k in range(9)]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_archives_end_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(3):
            archive.writestr(f"{k}.png", picture_bytes(k, 8))
    raw = bytearray(buffer.getvalue())
    good = [picture_bytes(k, 8) for k in range(3)]
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(raw[: data.draw(st.integers(1, len(raw)))] if data.draw(st.booleans()) else raw)
    with contextlib.suppress(InputError):  # any other exception fails the test
        source = open_pictures(path)
        for k in range(len(source)):
            with contextlib.suppress(InputError):
                assert source.data(k) in good


@pytest.mark.parametrize(
    "form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"]
)
def test_tar_headers_of_every_form_are_read(form: int, tmp_path: Path) -> None:
    long = "d" * 80 + "/" + "x" * 60 + ".png"  # beyond 100 bytes: a prefix, a long-name entry, or a pax record
    files = {
        "./b.png": picture_bytes(0),
        long: picture_bytes(1),
        "é.png" if form != tarfile.USTAR_FORMAT else "e.png": b"x",
    }
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        folder = tarfile.TarInfo("sub")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5
            archive.addfile(info, io.BytesIO(data))
    source = open_pictures(tmp_path / "a.tar")
    found = {source.name(k): source.data(k) for k in range(len(source))}
    assert found == {name.removeprefix("./"): data for name, data in files.items()}


def test_shards_are_named_by_folder_pattern_or_range(pictures: dict[str, bytes], tmp_path: Path) -> None:
    folder = write_tar_shards(tmp_path / "shards", pictures)
    ways = [folder, f"{folder}/*.tar", f"{folder}/train-{{000000..000002}}.tar", f"{folder}/train-00000{{0,1,2}}.tar"]
    assert {open_pictures(way).contents() for way in ways} == {open_pictures(folder).contents()}
    assert len(open_pictures(folder / "train-000000.tar")) == 5
    with pytest.raises(InputError, match=r"train-000003\.tar does not exist \(1 of 4 shards are missing\)"):
        open_pictures(f"{folder}/train-{{000000..000003}}.tar")
    assert expand_braces("a{0..1}{x,y}") == ["a0x", "a0y", "a1x", "a1y"]


def test_cut_compressed_and_foreign_archives_end_in_a_sentence(pictures: dict[str, bytes], tmp_path: Path) -> None:
    shard = write_tar_shards(tmp_path / "shards", pictures) / "train-000000.tar"
    whole = shard.read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1500])
    (tmp_path / "flipped.tar").write_bytes(whole[:3] + b"\xff" + whole[4:])
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(shard, "x.png")
    (tmp_path / "b.zip").write_bytes(b"no archive")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no table PAR1")
    for name, words in {
        "cut.tar": "is cut off in the file at byte",
        "flipped.tar": "the header at byte 0 is damaged",
        "a.tar.gz": "decompress it first",
        "b.zip": "is not a readable ZIP archive",
        "c.parquet": "is not a readable parquet",
    }.items():
        with pytest.raises(InputError, match=words):
            open_pictures(tmp_path / name)
    with open(shard, "rb") as file:
        assert len(list(tar_members(file))) == 10


# -- databases, tables, remote places ----------------------------------------------------------------------------------


def test_lsun_keys_and_other_keys_are_read(tmp_path: Path) -> None:
    keys = [hashlib.sha1(bytes([k])).hexdigest() for k in range(50)]
    source = open_pictures(
        write_lmdb(tmp_path / "church_lmdb", {key: picture_bytes(k, 8) for k, key in enumerate(keys)})
    )
    assert [source.name(k) for k in range(50)] == sorted(keys)
    assert source.data(7) == picture_bytes(keys.index(sorted(keys)[7]), 8)
    other = open_pictures(write_lmdb(tmp_path / "other", {"é 1": picture_bytes(1), "ZZ": picture_bytes(2)}))
    assert [other.name(k) for k in range(2)] == ["ZZ", "é 1"]


def test_a_database_that_is_damaged_or_empty_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match="is not a readable LMDB database"):
        open_pictures(tmp_path / "a")
    with lmdb.open(str(tmp_path / "b")) as env, env.begin(write=True) as transaction:
        transaction.put(b"count", b"0")
    with pytest.raises(InputError, match="holds no picture"):
        open_pictures(tmp_path / "b")


def test_tables_without_paths_come_by_row(tmp_path: Path) -> None:
    data = [picture_bytes(k) for k in range(7)]
    pyarrow.parquet.write_table(pa.table({"jpg": data, "other": data}), tmp_path / "a.parquet", row_group_size=2)
    source = open_pictures(tmp_path / "a.parquet")
    assert [source.data(k) for k in range(7)] == data
    assert source.name(3) == "a.parquet/1/1"
    pyarrow.parquet.write_table(pa.table({"caption": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="no column of encoded pictures"):
        open_pictures(tmp_path / "b.parquet")
    pyarrow.parquet.write_table(pa.table({"image": [{"bytes": None, "path": "x.png"}]}, pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])), tmp_path / "c.parquet")  # fmt: skip
    with pytest.raises(InputError, match=r"x\.png in .* has no bytes"):
        open_pictures(tmp_path / "c.parquet").data(0)


def test_remote_archives_are_fetched_once(
    pictures: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADINV_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    for shard in write_tar_shards(tmp_path / "shards", pictures).iterdir():
        memory.pipe(f"/bucket/{shard.name}", shard.read_bytes())
    url = "memory://bucket/train-{000000..000002}.tar"
    source = open_pictures(url)
    assert [source.data(k) for k in range(len(source))] == [pictures[name] for name in sorted(pictures)]
    fetched = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "remote").iterdir()}
    assert len(fetched) == 3
    open_pictures(url)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "remote").iterdir()} == fetched
    table = write_parquet(tmp_path / "table", pictures, files=1) / "data" / "train-00000-of-00001.parquet"
    memory.pipe("/bucket/a.parquet", table.read_bytes())
    assert open_pictures("memory://bucket/a.parquet").fingerprint() == source.fingerprint()
    with pytest.raises(InputError, match=r"memory://bucket/none\.tar cannot be read"):
        open_pictures("memory://bucket/none.tar")


def test_what_a_kind_of_address_needs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library may be missing, or raise errors of its own."""
    registry = importlib.import_module("fsspec.registry")
    lake = {"class": "nothing.Here", "err": "Install lakefs to access lakes"}
    monkeypatch.setitem(registry.known_implementations, "lake", lake)
    with pytest.raises(InputError, match=r"lake://a/b\.tar cannot be read: Install lakefs to access lakes"):
        open_pictures("lake://a/b.tar")

    class Locked(fsspec.AbstractFileSystem):
        def info(self, path: str, **settings: object) -> dict[str, object]:
            raise RuntimeError("no credentials")

    monkeypatch.setitem(registry._registry, "locked", Locked)
    with pytest.raises(InputError, match=r"locked://a/b\.tar cannot be read: no credentials"):
        open_pictures("locked://a/b.tar")


# -- memory ------------------------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys, time
from padinv.picture_sources import open_pictures
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024
before = peak()
start = time.process_time()
source = open_pictures(sys.argv[1])
seconds = time.process_time() - start
source.data(len(source) // 2)
print(len(source), seconds, peak() - before, peak())
"""


def measure(path: Path) -> tuple[int, float, float, float]:
    """(pictures, processor seconds to open, MiB that opening added, MiB of the process at its peak), in a fresh one."""
    run = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    count, seconds, added, peak = map(float, run.stdout.split())
    return int(count), seconds, added, peak


def many_keys(path: Path, count: int) -> Path:
    with lmdb.open(str(path), map_size=1 << 32, sync=False) as env, env.begin(write=True) as transaction:
        keys = sorted(hashlib.sha1(str(k).encode()).hexdigest().encode() for k in range(count))
        picture = picture_bytes(0, 2)
        transaction.cursor().putmulti(((key, picture) for key in keys), append=True)
    return path


def many_members(path: Path, count: int) -> Path:
    """An archive that is not in order, so that names must be sorted."""
    picture = picture_bytes(0, 2)
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(count):
            archive.writestr(zipfile.ZipInfo(f"{k % 1000:05d}/img{k:08d}.png"), picture)
    return path


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")


@needs_proc
def test_a_hundred_thousand_pictures_open_in_little_memory(tmp_path: Path) -> None:
    for path in (many_keys(tmp_path / "a", 100_000), many_members(tmp_path / "a.zip", 100_000)):
        count, seconds, added, _ = measure(path)
        assert count == 100_000
        assert seconds < 5
        assert added < 45


@pytest.mark.slow
@needs_proc
def test_a_million_pictures_open_in_two_seconds_and_200_mb(tmp_path: Path) -> None:
    count, seconds, added, peak = measure(many_keys(tmp_path / "a", 1_000_000))
    print(f"LMDB: {count:,} pictures in {seconds:.2f} s, {added:.0f} MiB added, {peak:.0f} MiB in all")
    assert count == 1_000_000
    assert seconds < 2
    assert peak < 200


@pytest.mark.slow
@needs_proc
def test_three_million_pictures_of_an_archive_take_less_than_200_mb(tmp_path: Path) -> None:
    count, seconds, added, peak = measure(many_members(tmp_path / "a.zip", 3_000_000))
    print(f"ZIP: {count:,} pictures in {seconds:.1f} s, {added:.0f} MiB added, {peak:.0f} MiB in all")
    assert count == 3_000_000
    assert peak < 200
