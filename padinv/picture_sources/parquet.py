"""Parquet files, and folders as Hugging Face `datasets` saves or downloads them (parquet or Arrow files)."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from padinv.picture_sources.packed_names import PackedNames
from padinv.picture_sources.source import PictureSource, printable
from padinv.runtime.errors import InputError, MissingPackageError, UsageError

CACHED_BYTES = 256 << 20  # decoded row groups kept in one process
SAMPLED = 16  # pictures of a large source whose checksums are taken: each costs a row group


class Group(NamedTuple):
    """Rows that are read together: a row group of a parquet file, or a record batch of an Arrow file."""

    file: int
    number: int
    rows: int


def import_pyarrow() -> Any:
    """The package `pyarrow`, with its parquet and IPC parts.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError("pyarrow", "data", "reading parquet or Arrow files") from error
    return pyarrow


class ParquetSource(PictureSource):
    """The pictures of parquet or Arrow files.

    The column is the one called `image`, or the only one that holds pictures: bytes, or a struct of `bytes` and `path`
    as Hugging Face data sets have it. Where every picture has a path of its own the order is by path, else by row.
    A parquet file is read by whole row groups; the last ones are kept in memory, 256 MiB at most. For training on many
    pictures in random order `padinv dataset` makes an archive of them first.

    Args:
        path: what the person named.
        files: .parquet or .arrow files, in order.

    Raises:
        InputError: a file is damaged, or holds no column of pictures.
        MissingPackageError: the package `pyarrow` is not installed.
    """

    def __init__(self, path: Path | str, files: Sequence[Path]) -> None:
        self.path = path
        self._files = list(files)
        self._open: dict[int, Any] = {}
        self._cache: OrderedDict[int, Any] = OrderedDict()
        self._cached = 0
        self._owner = os.getpid()
        pyarrow = import_pyarrow()
        try:
            self.column, self._nested = self._find_column(pyarrow)
            self._groups = [Group(k, n, rows) for k in range(len(self._files)) for n, rows in self._rows(k)]
            self._begins = np.cumsum([0, *(group.rows for group in self._groups)])
            self._names, self._order = self._read_names()
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path} is not a readable parquet or Arrow data set ({reason})") from error
        if not len(self):
            raise InputError(f"{path} holds no picture")

    # -- opening ------------------------------------------------------------------------------------------------------

    def _reader(self, number: int) -> Any:
        if self._owner != os.getpid():
            self._open, self._cache, self._cached, self._owner = {}, OrderedDict(), 0, os.getpid()
        if number not in self._open:
            pyarrow, path = import_pyarrow(), self._files[number]
            if path.suffix == ".arrow":
                source = pyarrow.memory_map(str(path))
                try:
                    self._open[number] = pyarrow.ipc.open_file(source)
                except pyarrow.ArrowInvalid:  # `datasets` writes the streaming format
                    source.seek(0)
                    self._open[number] = list(pyarrow.ipc.open_stream(source))
            else:
                self._open[number] = pyarrow.parquet.ParquetFile(path, memory_map=False)
        return self._open[number]

    def _schema(self, number: int) -> Any:
        reader = self._reader(number)
        if isinstance(reader, list):
            return reader[0].schema if reader else None
        return reader.schema_arrow if hasattr(reader, "schema_arrow") else reader.schema

    def _find_column(self, pyarrow: Any) -> tuple[str, bool]:
        types = pyarrow.types
        found: dict[str, bool] = {}
        for field in self._schema(0) or ():
            kind = field.type
            if types.is_struct(kind) and any(kind.field(k).name == "bytes" for k in range(kind.num_fields)):
                found[field.name] = True
            elif types.is_binary(kind) or types.is_large_binary(kind):
                found[field.name] = False
        if not found:
            raise InputError(
                f"{self._files[0]} has no column of encoded pictures (bytes, or a struct of bytes and path)"
            )
        for name in ("image", "img", "jpg", "png", "webp", "picture", "bytes"):
            if name in found:
                return name, found[name]
        if len(found) > 1:
            names = ", ".join(found)
            raise UsageError(f"{self._files[0]} has several columns of bytes ({names}); call the pictures' one 'image'")
        return next(iter(found.items()))

    def _rows(self, number: int) -> list[tuple[int, int]]:
        reader = self._reader(number)
        if isinstance(reader, list):
            return [(k, batch.num_rows) for k, batch in enumerate(reader)]
        if hasattr(reader, "num_row_groups"):
            return [(k, reader.metadata.row_group(k).num_rows) for k in range(reader.num_row_groups)]
        return [(k, reader.get_batch(k).num_rows) for k in range(reader.num_record_batches)]

    def _read_names(self) -> tuple[PackedNames | None, np.ndarray | None]:
        """The pictures' paths in order, and rank -> row; None where they have none, or not each its own."""
        names = PackedNames()
        for group in range(len(self._groups)) if self._nested else ():
            column = self._column(group, f"{self.column}.path")
            paths = [] if column is None else column.to_pylist()
            if not all(paths) or len(paths) != self._groups[group].rows:
                return None, None
            for path in paths:
                names.append(str(path).encode())
        order = names.sort()
        if not len(names) or names.drop_repeated() is not None:
            return None, None
        return names, order

    def _column(self, group: int, name: str) -> Any:
        """A column of a row group as one Arrow array; of a struct, 'column.field' is one field. None: no such field."""
        file, number, _ = self._groups[group]
        reader = self._reader(file)
        outer, _, inner = name.partition(".")
        if hasattr(reader, "read_row_group"):
            table = reader.read_row_group(number, columns=[name])
        elif isinstance(reader, list):
            table = reader[number].select([outer])
        else:
            table = reader.get_batch(number).select([outer])
        if outer not in table.schema.names:
            return None
        column = table.column(outer)
        column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
        if not inner:
            return column
        return column.field(inner) if any(f.name == inner for f in column.type) else None

    # -- pictures -----------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}, "_cache": OrderedDict(), "_cached": 0, "_owner": -1}

    def __len__(self) -> int:
        return int(self._begins[-1])

    def name(self, index: int) -> str:
        if self._names is not None:
            return self._names[index].decode()
        group = int(np.searchsorted(self._begins, index, "right")) - 1
        row = index - int(self._begins[group])
        return f"{self._files[self._groups[group].file].name}/{self._groups[group].number}/{row}"

    def label(self, index: int) -> str:
        return f"{printable(self.name(index))} in {self.path}"

    def names_digest(self) -> str:
        if self._names is not None:
            return self._names.digest()
        names = PackedNames()
        for k in range(len(self)):
            names.append(f"{k:012d}".encode())
        names.sort()
        return names.digest()

    def sizes(self) -> np.ndarray | None:
        return None

    def sample_count(self) -> int:
        return SAMPLED if len(self) > 1_000 else len(self)

    def data(self, index: int) -> bytes:
        pyarrow = import_pyarrow()
        row = index if self._order is None else int(self._order[index])
        group = int(np.searchsorted(self._begins, row, "right")) - 1
        try:
            value = self._cached_column(group)[row - int(self._begins[group])]
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"{self.label(index)} cannot be read: {reason}") from error
        if not value.is_valid:
            raise InputError(f"{self.label(index)} has no bytes; pictures that are kept beside the table are not read")
        return bytes(value.as_buffer())

    def _cached_column(self, group: int) -> Any:
        self._reader(self._groups[group].file)  # also empties the cache after a fork
        if group not in self._cache:
            column = self._column(group, f"{self.column}.bytes" if self._nested else self.column)
            self._cache[group] = column
            self._cached += column.nbytes
            while self._cached > CACHED_BYTES and len(self._cache) > 1:
                self._cached -= self._cache.popitem(last=False)[1].nbytes
        self._cache.move_to_end(group)
        return self._cache[group]
