"""What is fetched from a hub, and what is refused: kinds of files, names and sizes.

A repository may hold anything. Only files that the manifest lists are fetched, and a manifest may list only what padinv
reads without running any of it: ONNX graphs (which are checked for unsafe operators), safetensors, JSON and text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from padinv.runtime.errors import HubError

MAX_FILE = 8 << 30
MAX_TOTAL = 16 << 30
MAX_TEXT = 4 << 20  # of JSON and text
MAX_LISTED = 20_000  # files in a repository

# Files that run code when the usual libraries load them.
PICKLES = frozenset({".bin", ".ckpt", ".dill", ".joblib", ".mar", ".pickle", ".pkl", ".pt", ".pt2", ".pth"})
ENGINES = (".plan", ".engine", ".trt")  # TensorRT runs what they hold, and they fit one kind of GPU only

_NAME = re.compile(r"(directions/)?[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}\Z")
_SUFFIXES = (".onnx", ".safetensors", ".json", ".md", ".txt")
_NO_SUFFIX = frozenset({"LICENSE", "LICENCE", "NOTICE"})
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", re.IGNORECASE)  # what Windows calls devices


def is_text(name: str) -> bool:
    """Whether a file is text by its name."""
    return name in _NO_SUFFIX or name.endswith((".json", ".md", ".txt"))


def may_be_fetched(name: str) -> bool:
    """Whether a file of a bundle may come from a hub, by its name."""
    last = name.rpartition("/")[2]
    return (
        _NAME.match(name) is not None
        and (last.endswith(_SUFFIXES) or name in _NO_SUFFIX)
        and not _RESERVED.match(last)
        and last[-1] != "."
    )


def refuse_pickles(names: Iterable[str], what: str) -> None:
    """Refuse a repository that holds a pickle, whether or not its manifest lists it.

    Raises:
        HubError: one sentence that names the file.
    """
    found = sorted(name for name in names if PurePosixPath(name).suffix.lower() in PICKLES)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise HubError(
            f"{what} holds {found[0][:100]!r}{more}, a kind of file that can run code when it is loaded, so nothing "
            "was fetched; ask its author for a repository made with padinv push, which uploads no such files"
        )


def check_files(files: dict[str, dict[str, Any]], what: str) -> None:
    """Refuse a manifest that lists a file padinv does not fetch, or files that are too large.

    Args:
        files: relative name -> {'sha256', 'bytes'}, as the manifest says.

    Raises:
        HubError: one sentence that names the file.
    """
    for name, entry in files.items():
        if not may_be_fetched(name):
            engine = "; TensorRT engines are built where they run: padinv export" if name.endswith(ENGINES) else ""
            raise HubError(
                f"{what} lists {name[:100]!r}, which is not a kind of file that padinv fetches, so nothing was kept"
                f"{engine}"
            )
        limit = MAX_TEXT if is_text(name) else MAX_FILE
        if entry["bytes"] > limit:
            raise HubError(f"{what} lists {name}, which is larger than {limit >> 20} MiB, so nothing was kept")
    if sum(entry["bytes"] for entry in files.values()) > MAX_TOTAL:
        raise HubError(f"{what} is larger than {MAX_TOTAL >> 30} GiB, so nothing was kept")
    if len({name.casefold() for name in files}) < len(files):
        raise HubError(f"{what} lists two files whose names differ in case only, so nothing was kept")
