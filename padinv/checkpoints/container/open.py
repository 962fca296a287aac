"""From a file to its contents: what kind of file it is, by its bytes, and the object in it, tensors as references."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padinv.checkpoints.container.lazy_tensors import (
    ITEM_BYTES,
    Refused,
    Source,
    Span,
    Storage,
    TensorRef,
    contiguous_strides,
)
from padinv.checkpoints.container.torch_files import is_legacy, read_legacy, read_pickle, read_zip
from padinv.checkpoints.container.unpickler import Opaque
from padinv.runtime import text as safe_text
from padinv.runtime.errors import InputError, is_out_of_memory
from padinv.runtime.foreign_files import foreign_file
from padinv.runtime.safetensors_file import DamagedFileError, SafetensorsFile, is_safetensors

_SAFETENSORS_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
}  # fmt: skip
_MAX_SENTENCE = 500

# What a damaged file can make the parser's own arithmetic raise. The parser has no other side effects.
_DAMAGE = (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error, RecursionError)


@dataclass(frozen=True)
class Contents:
    """What a file holds: the format of its container, and the object in it."""

    container: str  # 'torch (zip)', 'torch (old format)', 'pickle', 'safetensors'
    root: Any


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a checkpoint is read into one InputError that names the file.

    Raises:
        InputError: in place of Refused, a damaged file's errors, and an operating system's.
    """
    try:
        yield
    except Refused as refusal:
        raise InputError(f"{path} {printable(str(refusal))}") from refusal
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not a checkpoint file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged: what it holds makes no sense; download or copy it again") from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(f"{path} needs more memory than there is, so it was not read") from error


def printable(text: str) -> str:
    """A sentence that quotes names out of a file, fit for a terminal: one line, no control characters, not endless."""
    text = text if len(text) <= _MAX_SENTENCE else text[: _MAX_SENTENCE - 4] + " ..."
    return safe_text.printable(text)


@contextmanager
def open_contents(path: Path) -> Iterator[tuple[Source, Contents]]:
    """Open a checkpoint file; its tensors can be read while the context lasts.

    Raises:
        InputError: missing, empty, a web page, of an unknown kind, or damaged.
    """
    with reading(path):
        source = Source(path)
    try:
        with reading(path):
            contents = read_contents(source)
        yield source, contents
    finally:
        source.close()


def read_contents(source: Source) -> Contents:
    """Recognise the container by its first bytes and read the object in it.

    Raises:
        Refused: nothing that padinv reads.
    """
    if source.size == 0:
        raise Refused("is empty (0 bytes); the download or copy did not finish")
    head = source.read(0, min(source.size, 4096))
    if page := web_page(head):
        raise Refused(page)
    if head.startswith(b"version https://git-lfs"):
        raise Refused("is a Git LFS pointer, not the file itself; fetch it with: git lfs pull")
    what = foreign_file(head)
    if what is not None and ".npz" in what:
        raise Refused(f"{what}; it is not a checkpoint")
    if head.startswith(b"PK"):
        return Contents("torch (zip)", read_zip(source))
    if head.startswith(b"\x80"):
        if is_legacy(source):
            return Contents("torch (old format)", read_legacy(source))
        return Contents("pickle", read_pickle(source))
    if is_safetensors(head):
        return Contents("safetensors", read_safetensors(source))
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        raise Refused("is a compressed or packed archive; unpack it, and import the checkpoint inside")
    if what is not None:
        raise Refused(f"{what}; it is not a checkpoint")
    raise Refused("is neither a file of padinv's nor a checkpoint (not a torch file, a pickle or a safetensors file)")


def web_page(head: bytes) -> str | None:
    """Why a file that begins like this is a web page; None where it is none."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not (text.startswith((b"<!doctype html", b"<html", b"<?xml")) or b"<html" in text[:512]):
        return None
    title = re.search(rb"<title[^>]*>\s*([^<]{1,80})", head, re.IGNORECASE)
    name = title.group(1).decode("utf-8", "replace").strip() if title else ""
    called = f" ('{''.join(c for c in name if c.isprintable())}')" if name else ""
    return (
        f"is a web page{called}, not a checkpoint: the site wanted a login or a confirmation; "
        "download the file in a browser, then import that"
    )


def read_safetensors(source: Source) -> dict[str, TensorRef | Opaque]:
    """The tensors of any safetensors file, as references.

    Raises:
        Refused: damaged.
    """
    try:
        entries = SafetensorsFile(source.file).entries
    except DamagedFileError as error:
        raise Refused(str(error)) from error
    tensors: dict[str, TensorRef | Opaque] = {}
    for name, entry in entries.items():
        dtype = _SAFETENSORS_TYPES.get(entry.dtype)
        if dtype is None:
            tensors[name] = Opaque(f"a tensor of type {entry.dtype}")
            continue
        storage = Storage(dtype, entry.length // ITEM_BYTES[dtype])
        storage.bind(Span(source, entry.start, entry.length))
        tensors[name] = TensorRef(storage, dtype, 0, entry.shape, contiguous_strides(entry.shape))
    return tensors
