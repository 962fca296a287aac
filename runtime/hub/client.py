"""The one module that talks to a hub, through huggingface_hub: lists, files, commits, and its errors as sentences."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from padinv.runtime.errors import HubError, MissingPackageError
from padinv.runtime.hub.address import HubAddress
from padinv.runtime.hub.client_errors import hub_errors
from padinv.runtime.hub.network import endpoint, offline_reason
from padinv.runtime.hub.reporting import Advance
from padinv.runtime.hub.rules import MAX_LISTED

_TIMEOUT = 30.0
_HEX = re.compile(r"[0-9a-f]+\Z")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, as the hub describes it.

    Attributes:
        sha256: of a large file (git LFS or Xet); None of others.
        git_sha1: of other files, git's name for the content: SHA-1 of 'blob SIZE\\0' and the bytes.
    """

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    commit: str
    files: dict[str, RemoteFile]
    private: bool


def require_network(address: HubAddress) -> None:
    """Refuse to fetch where the user forbade it.

    Raises:
        HubError: the sentence says which command fetches the model. MissingPackageError: no huggingface_hub.
    """
    if reason := offline_reason():
        raise HubError(
            f"{address} is not in padinv's cache, and {reason} forbids to fetch it; with a network, fetch it once "
            f"with: padinv pull {address}"
        )
    _package(str(address))


def require_upload(address: HubAddress) -> None:
    """Refuse to upload where the user forbade the network.

    Raises:
        HubError: offline. MissingPackageError: no huggingface_hub.
    """
    if reason := offline_reason():
        raise HubError(f"{reason} forbids the network, so nothing was uploaded to {address}")
    _package(f"pushing to {address}")


def _package(what: str) -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingPackageError("huggingface_hub", "hub", what) from error
    return huggingface_hub


def _api(what: str) -> Any:
    return _package(what).HfApi(endpoint=endpoint(), library_name="padinv", library_version=_version())


def _version() -> str:
    return str(sys.modules["padinv"].__version__)  # imported before anything inside it


def list_repository(address: HubAddress) -> Listing:
    """The files of a repository at a revision, with sizes and hashes.

    Raises:
        HubError: no such repository or revision, no access, no connection, or an answer that makes no sense.
    """
    with hub_errors(address):
        info = _api(str(address)).model_info(
            address.repository, revision=address.revision, files_metadata=True, timeout=_TIMEOUT
        )
    siblings = info.siblings or []
    if len(siblings) > MAX_LISTED:
        raise HubError(f"{address} holds more than {MAX_LISTED} files, so it is not a padinv repository")
    files = {}
    for one in siblings:
        lfs = one.lfs
        sha256 = _digest(lfs["sha256"] if isinstance(lfs, dict) else lfs.sha256, 64) if lfs else None
        if isinstance(one.rfilename, str) and type(one.size) is int and one.size >= 0:
            files[one.rfilename] = RemoteFile(one.rfilename, one.size, sha256, _digest(one.blob_id, 40))
    return Listing(str(info.sha), files, bool(info.private))


def _digest(value: Any, length: int) -> str | None:
    return value if isinstance(value, str) and len(value) == length and _HEX.match(value) else None


class _Bounded(io.RawIOBase):
    """What huggingface_hub writes into: counts bytes, and takes no more than the file should have."""

    def __init__(self, file: Any, limit: int, advance: Advance) -> None:
        self._file, self._limit, self._advance = file, limit, advance

    def write(self, data: Any) -> int:
        if self._file.tell() + len(data) > self._limit:
            raise _TooLong
        self._advance(len(data))
        return int(self._file.write(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def truncate(self, size: int | None = None) -> int:
        return int(self._file.truncate(size))

    def flush(self) -> None:
        self._file.flush()


class _TooLong(Exception):
    """More bytes came than the hub had said."""


def fetch(address: HubAddress, commit: str, remote: RemoteFile, part: Path, advance: Advance) -> None:
    """Fetch a file into `part`, from where an earlier call stopped. Nothing is checked but the size.

    huggingface_hub's own `hf_hub_download` begins a file again after an interruption; its `http_get` can continue one.
    Redirections are followed as it follows them: the access token does not go to another host.

    Args:
        advance: called with bytes that arrived.

    Raises:
        HubError: not reachable, cut off, or longer than the hub had said. What arrived is kept. OutputError: the file
        cannot be written.
    """
    _package(str(address))
    http_get: Any = import_module("huggingface_hub.file_download").http_get
    build_hf_headers: Any = import_module("huggingface_hub.utils").build_hf_headers
    url = f"{endpoint()}/{address.repository}/resolve/{commit}/{quote(remote.name)}"
    # A compressed answer has no length and cannot be continued.
    headers = {**build_hf_headers(library_name="padinv", library_version=_version()), "Accept-Encoding": "identity"}
    part.parent.mkdir(parents=True, exist_ok=True)
    with open(part, "ab") as file:
        done = file.tell()
        if done > remote.size:
            file.truncate(done := 0)
            file.seek(0)
        if done == remote.size:
            return
        try:
            with hub_errors(address, remote.name):
                http_get(
                    url, _Bounded(file, remote.size, advance), resume_size=done, headers=headers,
                    expected_size=remote.size, displayed_filename=remote.name,
                )  # fmt: skip
        except _TooLong as error:
            file.truncate(0)
            raise HubError(
                f"{address} sent more of {remote.name} than the {remote.size} bytes it had announced, so nothing of it "
                "was kept"
            ) from error
        finally:
            file.flush()
            os.fsync(file.fileno())


def create_repository(address: HubAddress, *, private: bool) -> None:
    """Make a repository, if it does not exist.

    Raises:
        HubError: not logged in, or not allowed.
    """
    with hub_errors(address):
        _api(str(address)).create_repo(address.repository, private=private, exist_ok=True)


def commit(
    address: HubAddress,
    add: Sequence[tuple[str, Path | bytes]],
    delete: Sequence[str],
    *,
    message: str,
    parent: str | None,
    bars: bool = False,
) -> str:
    """Upload files and delete others in one commit; its name.

    Args:
        add: (path in the repository, local file or bytes).
        parent: the commit that was looked at; if the repository has moved on since, nothing is committed.
        bars: let huggingface_hub show its bars for large files.

    Raises:
        HubError: not allowed, not reachable, or refused by the hub.
    """
    package = _package(str(address))
    operations: list[Any] = [
        package.CommitOperationAdd(path_in_repo=name, path_or_fileobj=data if isinstance(data, bytes) else str(data))
        for name, data in add
    ]
    operations += [package.CommitOperationDelete(path_in_repo=name) for name in delete]
    with hub_errors(address, bars=bars):
        made = _api(str(address)).create_commit(
            address.repository, operations, commit_message=message, parent_commit=parent, revision=address.revision
        )
    return str(made.oid)


def create_tag(address: HubAddress, tag: str, revision: str) -> None:
    """Let a tag stand for a commit.

    Raises:
        HubError: the tag exists, or is not allowed.
    """
    with hub_errors(address, f"the tag {tag}", conflict="exists already and was left as it is; choose another tag"):
        _api(str(address)).create_tag(address.repository, tag=tag, revision=revision)
