"""The same pictures in every container that padinv reads, written by other libraries than padinv reads them with."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import lmdb
import pyarrow as pa
import pyarrow.parquet


def write_folder(path: Path, pictures: Mapping[str, bytes]) -> Path:
    for name, data in pictures.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_zip(path: Path, pictures: Mapping[str, bytes]) -> Path:
    """NVIDIA's layout: stored members and a `dataset.json` with labels."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in pictures.items():
            archive.writestr(name, data)
        archive.writestr("dataset.json", json.dumps({"labels": [[name, 0] for name in pictures]}))
    return path


def write_lmdb(path: Path, pictures: Mapping[str, bytes]) -> Path:
    with lmdb.open(str(path), map_size=1 << 28) as env, env.begin(write=True) as transaction:
        for name, data in pictures.items():
            transaction.put(name.encode(), data)
        transaction.put(b"length", str(len(pictures)).encode())
    return path


def write_tar_shards(
    path: Path, pictures: Mapping[str, bytes], shards: int = 3, form: int = tarfile.PAX_FORMAT
) -> Path:
    """WebDataset: `train-000000.tar`, ..., each picture beside its label."""
    path.mkdir()
    names = list(pictures)
    for k in range(shards):
        with tarfile.open(path / f"train-{k:06d}.tar", "w", format=form) as archive:
            for name in names[k::shards]:
                for member, data in ((name, pictures[name]), (str(Path(name).with_suffix(".cls")), b"0")):
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, pictures: Mapping[str, bytes], files: int = 2) -> Path:
    """A downloaded Hugging Face data set: `data/train-00000-of-00002.parquet`."""
    (path / "data").mkdir(parents=True)
    names = list(pictures)
    for k in range(files):
        images = [{"bytes": pictures[name], "path": name} for name in names[k::files]]
        table = pa.table({"label": list(range(len(images))), "image": images})
        pyarrow.parquet.write_table(table, path / "data" / f"train-{k:05d}-of-{files:05d}.parquet", row_group_size=3)
    return path


def write_arrow(path: Path, pictures: Mapping[str, bytes]) -> Path:
    """What `datasets.Dataset.save_to_disk` leaves."""
    path.mkdir()
    images = [{"bytes": data, "path": name} for name, data in pictures.items()]
    table = pa.table({"image": images})
    file = str(path / "data-00000-of-00001.arrow")
    with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    (path / "dataset_info.json").write_text("{}")
    (path / "state.json").write_text("{}")
    return path


WRITERS = {
    "folder": write_folder,
    "zip": write_zip,
    "lmdb": write_lmdb,
    "tar": write_tar_shards,
    "parquet": write_parquet,
    "arrow": write_arrow,
}
SUFFIX = {"zip": ".zip"}
