"""The two formats of `torch.save`: a zip archive (torch 1.6 and later), and a chain of pickles followed by numbers."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

from padinv.checkpoints.container.allowlist import TypeName, find
from padinv.checkpoints.container.lazy_tensors import ITEM_BYTES, Refused, Source, Span, Storage, index_limit
from padinv.checkpoints.container.unpickler import Unpickler

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
_STORAGE_COST = 600
_LOCAL = struct.Struct("<4s5H3L2H")


def _storage_key(value: Any) -> tuple[str, str, int, Any]:
    """(dtype, key, number of elements, view) of a persistent id."""
    if not isinstance(value, tuple) or len(value) not in (5, 6) or value[0] != "storage":
        raise Refused("refers to data of a kind that torch files do not have")
    kind, key, count = value[1], value[2], value[4]
    if not (isinstance(kind, TypeName) and kind.kind == "storage" and isinstance(key, str) and type(count) is int):
        raise Refused("refers to data of a kind that torch files do not have")
    if not 0 <= count < 1 << 48:
        raise Refused("has a tensor of impossible size")
    return kind.name, key, count, value[5] if len(value) == 6 else None


# -- zip


def read_zip(source: Source) -> Any:
    """The object in a zip-format torch file, its tensors as references.

    Raises:
        Refused: not such an archive, truncated, or not allowed.
    """
    try:
        with zipfile.ZipFile(_Directory(source)) as archive:  # type: ignore[arg-type]
            entries = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error) as error:
        raise Refused("is a zip archive that is cut short or damaged; download or copy it again") from error
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Refused(
            "is a zip archive, but not a torch file: it has no data.pkl; if it holds a checkpoint, unpack it first"
        )
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries:
        raise Refused("is a TorchScript program, not a checkpoint; save the network's state_dict() instead")
    order = entries.get(f"{root}byteorder")
    if order is not None and _record(source, order).bytes(16) != b"little":
        raise Refused("was written on a big-endian machine, which padinv does not read")
    # torch can be told to write no checksums; it then writes wrong ones everywhere, and none may be trusted.
    main = _record(source, entries[pickles[0]])
    trusted = source.checksum(main.start, main.length) == entries[pickles[0]].CRC
    version = entries.get(f"{root}version")
    if not trusted and version is not None:
        span = _record(source, version)
        if source.checksum(span.start, span.length) == version.CRC:
            raise Refused("is damaged (a checksum in it is wrong); download or copy it again")
    storages: dict[str, Storage] = {}

    def persistent(value: Any) -> Storage:
        dtype, key, count, _ = _storage_key(value)
        if key not in storages:
            entry = entries.get(f"{root}data/{key}")
            if entry is None:
                raise Refused(f"lacks the record data/{key[:20]} that it names")
            source.budget.spend(_STORAGE_COST, 1)
            storage = Storage(dtype, count)
            span = _record(source, entry)
            span.crc = entry.CRC if trusted else None
            storage.bind(span)
            storages[key] = storage
        return storages[key]

    return Unpickler(source, main.start, main.length, find, persistent).load()


class _Directory(io.RawIOBase):
    """The file as `zipfile` sees it, which reads the archive's directory whole: one of usual size, or none.

    What the archive says about that size is of no use: its several records may contradict each other.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.position = source, 0
        self.limit = max(index_limit(source.size), 1 << 17)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, self.source.size)[whence]
        if self.position < 0:
            raise OSError("before the file's beginning")
        return self.position

    def read(self, size: int = -1) -> bytes:
        size = min(max(size, 0) if size >= 0 else self.source.size, max(self.source.size - self.position, 0))
        if size > self.limit:
            raise Refused("is a zip archive with more records than any checkpoint has")
        data = self.source.read(self.position, size)
        self.position += size
        return data


def _record(source: Source, entry: zipfile.ZipInfo) -> Span:
    """Where a record's bytes lie; torch stores them as they are."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise Refused("is a compressed zip archive, which torch never writes; unpack it first")
    header = source.read(entry.header_offset, _LOCAL.size)
    magic, *_, name_length, extra_length = _LOCAL.unpack(header)
    if magic != b"PK\x03\x04":
        raise Refused("is a zip archive that is damaged; download or copy it again")
    start = entry.header_offset + _LOCAL.size + name_length + extra_length
    if start + entry.file_size > source.size:
        raise Refused("is a zip archive that is cut short; download or copy it again")
    return Span(source, start, entry.file_size)


# -- the old format


def is_legacy(source: Source, start: int = 0, length: int | None = None) -> bool:
    """Whether a torch file of the old format begins here."""
    head = source.read(start, min(64, source.size - start if length is None else length))
    return head[:1] == b"\x80" and LEGACY_MAGIC.to_bytes(10, "little") in head[:16]


def read_legacy(source: Source, start: int = 0, length: int | None = None) -> Any:
    """The object in an old-format torch file, its tensors as references.

    Raises:
        Refused: truncated, or not allowed.
    """
    stop = source.size if length is None else start + length
    roots: dict[str, Storage] = {}
    views: list[tuple[Storage, Storage, int]] = []

    def persistent(value: Any) -> Storage:
        dtype, key, count, view = _storage_key(value)
        source.budget.spend(_STORAGE_COST)
        root = roots.setdefault(key, Storage(dtype, count))
        if view is None:
            return root
        if not isinstance(view, tuple) or len(view) != 3 or not all(type(n) is int and n >= 0 for n in view[1:]):
            raise Refused("is damaged (a part of a storage has no place in it)")
        part = Storage(root.dtype, view[2])
        views.append((part, root, view[1]))
        return part

    def load(persistent_id: Any = None) -> Any:
        nonlocal start
        machine = Unpickler(source, start, stop - start, find, persistent_id)
        value = machine.load()
        start = machine.end
        return value

    if load() != LEGACY_MAGIC or load() != LEGACY_PROTOCOL:
        raise Refused("is a torch file of a version that this padinv does not read")
    system = load()
    if not isinstance(system, dict) or system.get("little_endian") is False:
        raise Refused("was written on a big-endian machine, which padinv does not read")
    result = load(persistent)
    keys = load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refused("is damaged (its list of storages is not one)")
    source.budget.spend(0, len(keys))
    for key in keys:
        if key not in roots:
            raise Refused("is damaged (its list of storages names one that it does not use)")
        (count,) = struct.unpack("<q", source.read(start, 8))
        storage = roots[key]
        if count != storage.count or start + 8 + count * ITEM_BYTES[storage.dtype] > stop:
            raise Refused("is cut short; download or copy it again")
        storage.bind(Span(source, start + 8, count * ITEM_BYTES[storage.dtype]))
        start += 8 + count * ITEM_BYTES[storage.dtype]
    for part, root, offset in views:
        item = ITEM_BYTES[root.dtype]
        if isinstance(root.span, Span) and (offset + part.count) * item <= root.span.length:
            part.bind(Span(source, root.span.start + offset * item, part.count * item))
    return result


def read_nested_storage(span: Span) -> Storage:
    """The storage that a plain pickle carries as an old-format torch file of its own.

    Raises:
        Refused: it is not such a file.
    """
    value = read_legacy(span.source, span.start, span.length)
    if not isinstance(value, Storage):
        raise Refused("is damaged (a storage in it is not one)")
    return value


def read_pickle(source: Source) -> Any:
    """The object in a plain pickle, its tensors as references.

    Raises:
        Refused: truncated, or not allowed.
    """
    return Unpickler(source, 0, source.size, find, nested=read_nested_storage).load()
