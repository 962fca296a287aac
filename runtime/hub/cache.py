"""padinv's cache of hub models: one folder per commit, and for each name the commit that it was pinned to.

    CACHE/hub/huggingface.co/USER/NAME/
        pins/main.json             the commit that hf:USER/NAME stands for on this machine
        models/COMMIT/             a bundle, whole and checked
        directions/COMMIT/         directions that were fetched alone
        partial/COMMIT/            what an interrupted pull left; the next one continues it
        .lock                      held while something is fetched

A folder under `models` appears by one rename, after every file of it was checked.
"""

from __future__ import annotations

import datetime
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from padinv.runtime.download import cache_folder
from padinv.runtime.errors import HubError, OutputError
from padinv.runtime.files import parse_json, read_regular, write_json
from padinv.runtime.hub.address import HubAddress, is_commit
from padinv.runtime.hub.network import endpoint_name
from padinv.runtime.hub.reporting import reporter
from padinv.runtime.locks import FolderInUseError, folder_lock
from padinv.runtime.manifest import MANIFEST

MAIN = "main"
_POLL_SECONDS = 0.2
_MAX_PIN = 1 << 12


@dataclass(frozen=True)
class Cached:
    """One commit of a repository in the cache.

    Attributes:
        address: with the commit.
        folder: of the bundle, or of the directions.
        pinned: the names that stand for this commit, such as 'main'.
        is_model: False where directions alone were fetched.
    """

    address: HubAddress
    folder: Path
    pinned: tuple[str, ...]
    is_model: bool


class RepositoryCache:
    """The cache of one repository."""

    def __init__(self, repository: str, root: Path | None = None) -> None:
        self.repository = repository
        self.folder = (hub_folder() if root is None else root).joinpath(*repository.split("/"))

    def model(self, commit: str) -> Path:
        """Folder of the bundle of a commit."""
        return self.folder / "models" / _safe(commit)

    def directions(self, commit: str) -> Path:
        """Folder of the directions of a commit that were fetched alone."""
        return self.folder / "directions" / _safe(commit)

    def partial(self, commit: str) -> Path:
        """Folder of a bundle that is being fetched."""
        return self.folder / "partial" / _safe(commit)

    def has_model(self, commit: str | None) -> bool:
        """Whether the bundle of a commit is here, whole."""
        return commit is not None and (self.model(commit) / MANIFEST).is_file()

    def commit_of(self, revision: str | None) -> str | None:
        """The commit that a revision stands for on this machine; None where it was never fetched."""
        if revision is not None and is_commit(revision):
            return revision
        try:
            pin = parse_json(read_regular(self._pin(revision or MAIN), _MAX_PIN))
            commit = pin["commit"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return commit if isinstance(commit, str) and is_commit(commit) else None

    def pin(self, revision: str | None, commit: str) -> None:
        """Let a revision stand for a commit from now on."""
        if revision is None or not is_commit(revision):
            today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            write_json(self._pin(revision or MAIN), {"commit": _safe(commit), "since": today})

    def pins(self) -> dict[str, str]:
        """Revision -> commit."""
        found = {}
        for path in sorted((self.folder / "pins").glob("*.json")):
            revision = unquote(path.name.removesuffix(".json"))
            if (commit := self.commit_of(revision)) is not None:
                found[revision] = commit
        return found

    def cached(self) -> list[Cached]:
        """Everything of the repository that is here."""
        pins = self.pins()
        found = []
        for kind in ("models", "directions"):
            for folder in sorted((self.folder / kind).glob("*")):
                if is_commit(folder.name) and folder.is_dir():
                    names = tuple(name for name, commit in pins.items() if commit == folder.name)
                    found.append(Cached(HubAddress(self.repository, folder.name), folder, names, kind == "models"))
        return found

    def remove(self, commit: str | None = None) -> None:
        """Remove one commit, or everything.

        Raises:
            OutputError: not possible.
        """
        try:
            with self.lock():
                for kind in ("models", "directions", "partial"):
                    for folder in (self.folder / kind).glob("*"):
                        if commit in (None, folder.name):
                            shutil.rmtree(folder)
                for revision, pinned in self.pins().items():
                    if commit in (None, pinned):
                        self._pin(revision).unlink()
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be removed: {error.strerror or error}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the repository; another process that fetches it is waited for.

        Raises:
            OutputError: the cache cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        told = False
        while True:
            try:
                with folder_lock(self.folder):
                    yield
                return
            except FolderInUseError as error:
                if str(error) != str(self.folder):  # of the block, and not ours
                    raise
                if not told:
                    reporter().say(f"waiting for another padinv that is fetching {self.repository}")
                told = True
                time.sleep(_POLL_SECONDS)
            except PermissionError as error:
                raise _unwritable(self.folder, error) from error

    def _pin(self, revision: str) -> Path:
        return self.folder / "pins" / f"{quote(revision, safe='')}.json"


def hub_folder() -> Path:
    """The cache of the hub that is asked."""
    return cache_folder("hub") / endpoint_name()


def is_cached(folder: Path) -> bool:
    """Whether a bundle lies in the cache."""
    return folder.resolve().is_relative_to(hub_folder().resolve())


def everything_cached() -> list[Cached]:
    """What the cache holds of the hub that is asked, in the order of the names."""
    folders = sorted(path for path in hub_folder().glob("*/*") if path.is_dir())
    return [one for path in folders for one in RepositoryCache(f"{path.parent.name}/{path.name}").cached()]


def folder_bytes(folder: Path) -> int:
    """Size of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def require_space(folder: Path, count: int) -> None:
    """Refuse to fetch what the disk cannot hold.

    Raises:
        OutputError: too little space is free.
    """
    free = shutil.disk_usage(folder).free
    if free < count:
        raise OutputError(
            f"{folder} has {free >> 20} MiB free and {count >> 20} MiB are needed, so nothing was fetched; free space, "
            "or choose another folder with PADINV_CACHE"
        )


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {folder}: {error.strerror or os.strerror(error.errno or 0)}; set PADINV_CACHE to a folder that "
        "can be written"
    )


def _safe(commit: str) -> str:
    """The commit, which becomes the name of a folder.

    Raises:
        HubError: the hub named something that is not a commit.
    """
    if not is_commit(commit):
        raise HubError(f"the hub named {commit[:60]!r} as a commit, which it cannot be, so nothing was kept")
    return commit
