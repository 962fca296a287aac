"""From a file to its contents: what kind of file it is, by its bytes, and the object in it, tensors as references."""

from __future__ import annotations

import json
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
from padinv.runtime.errors import InputError

_SAFETENSORS_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_MAX_SENTENCE = 500
_MAX_SAFETENSORS_HEADER = 100_000_000  # the format's own limit

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
    except MemoryError as error:
        raise InputError(f"{path} asks for more memory than there is; it is damaged, or no checkpoint") from error
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged: what it holds makes no sense; download or copy it again") from error


def printable(text: str) -> str:
    """A sentence that quotes names out of a file, fit for a terminal: one line, no control characters, not endless."""
    text = text if len(text) <= _MAX_SENTENCE else text[: _MAX_SENTENCE - 4] + " ..."
    return "".join(c if c.isprintable() else "?" for c in text)


@contextmanager
def open_contents(path: Path) -> Iterator[tuple[Source, Contents]]:
    """Open a checkpoint file; its tensors can be read while the context lasts.

    Raises:
        InputError: missing, empty, a web page, of an unknown kind, or damaged.
    """
    with reading(path):
        if path.is_dir():
            raise Refused("is a folder, not a checkpoint file")
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
    head = bytes(source.view(0, min(source.size, 4096)))
    if page := web_page(head):
        raise Refused(page)
    if head.startswith(b"version https://git-lfs"):
        raise Refused("is a Git LFS pointer, not the file itself; fetch it with: git lfs pull")
    if head.startswith(b"PK"):
        return Contents("torch (zip)", read_zip(source))
    if head.startswith(b"\x80"):
        if is_legacy(source):
            return Contents("torch (old format)", read_legacy(source))
        return Contents("pickle", read_pickle(source))
    if len(head) > 9 and head[8:9] == b"{":
        return Contents("safetensors", read_safetensors(source))
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        raise Refused("is a compressed or packed archive; unpack it, and import the checkpoint inside")
    raise Refused("is neither a file of padinv's nor a checkpoint (no torch file, no pickle, no safetensors)")


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


def read_safetensors(source: Source) -> dict[str, TensorRef]:
    """The tensors of any safetensors file, as references.

    Raises:
        Refused: damaged, or of types that no network has.
    """
    (length,) = struct.unpack("<Q", source.view(0, 8))
    if length > min(_MAX_SAFETENSORS_HEADER, source.size - 8):
        raise Refused("is a safetensors file that is cut short or damaged")
    header = json.loads(bytes(source.view(8, length)))
    if not isinstance(header, dict):
        raise Refused("is a safetensors file with a damaged header")
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = _SAFETENSORS_TYPES.get(str(entry["dtype"]))
        if dtype is None:
            raise Refused(f"holds numbers of type {str(entry['dtype'])[:10]}, which no StyleGAN2 has")
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if type(begin) is not int or type(end) is not int or not 0 <= begin <= end <= source.size - 8 - length:
            raise Refused("is a safetensors file that is cut short or damaged")
        ref_strides = contiguous_strides(shape)
        storage = Storage(dtype, (end - begin) // ITEM_BYTES[dtype])
        storage.bind(Span(source, 8 + length + begin, end - begin))
        tensors[name] = TensorRef(storage, dtype, 0, shape, ref_strides)
    return tensors
