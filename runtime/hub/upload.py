"""Uploading: what goes to a repository, what stays there, and the check that the hub holds it afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from padinv.runtime.errors import HubError, InputError
from padinv.runtime.files import sha256_bytes, sha256_file
from padinv.runtime.hub.address import HubAddress
from padinv.runtime.hub.client import (
    Listing,
    RemoteFile,
    commit,
    create_repository,
    create_tag,
    list_repository,
    require_upload,
)
from padinv.runtime.hub.network import endpoint

_HARMLESS = frozenset({".gitattributes", ".gitignore", "README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"})


@dataclass(frozen=True)
class Upload:
    """A file to upload.

    Attributes:
        name: its path in the repository.
        content: its bytes, or a local file.
        sha256: what its bytes must have.
    """

    name: str
    content: Path | bytes = field(repr=False)
    sha256: str

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @classmethod
    def of_bytes(cls, name: str, data: bytes) -> Upload:
        """A file that exists in memory only."""
        return cls(name, data, sha256_bytes(data))

    def is_held(self, remote: RemoteFile | None) -> bool:
        """Whether the repository holds these very bytes."""
        if remote is None or remote.size != self.size:
            return False
        if remote.sha256 is not None:
            return remote.sha256 == self.sha256
        data = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        return remote.git_sha1 == git.hexdigest()


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        address: with the commit that the repository is at now.
        uploaded: names of the files that the repository did not hold before.
        removed: files of the version before that are not part of this one.
        private: whether only you (and your organization) can see it.
    """

    address: HubAddress
    uploaded: tuple[str, ...]
    removed: tuple[str, ...]
    private: bool

    @property
    def url(self) -> str:
        """Its page."""
        return f"{endpoint()}/{self.address.repository}"


def open_repository(address: HubAddress, *, public: bool) -> Listing:
    """The repository to push to, made if it does not exist, as it is now.

    Raises:
        HubError: not logged in, not allowed, or not reachable.
    """
    require_upload(address)
    create_repository(address, private=not public)
    return list_repository(address)


def require_ours(listing: Listing, manifest: str, address: HubAddress) -> None:
    """Refuse to write into a repository that holds something else.

    Raises:
        HubError: other files, and no manifest of this kind.
    """
    other = sorted(set(listing.files) - _HARMLESS)
    if other and manifest not in listing.files:
        raise HubError(
            f"{address} holds other files ({', '.join(other[:3])}{', ...' if len(other) > 3 else ''}) and no "
            f"{manifest}, so nothing was uploaded; choose another name"
        )


def send(
    address: HubAddress,
    listing: Listing,
    uploads: Iterable[Upload],
    remove: Iterable[str],
    *,
    message: str,
    tag: str | None = None,
    bars: bool = False,
) -> Pushed:
    """Upload what the repository lacks in one commit, and check that the hub holds every file of it.

    Raises:
        HubError: refused, not reachable, or the hub holds something else afterwards. InputError: a file has changed
        since it was checked.
    """
    uploads = list(uploads)
    todo = [one for one in uploads if not one.is_held(listing.files.get(one.name))]
    gone = sorted(name for name in set(remove) - {one.name for one in uploads} if name in listing.files)
    for one in todo:
        if not isinstance(one.content, bytes) and sha256_file(one.content) != one.sha256:
            raise InputError(f"{one.content} has changed since it was checked, so nothing was uploaded; try again")
    now = listing
    if todo or gone:
        made = commit(
            address, [(one.name, one.content) for one in todo], gone, message=message, parent=listing.commit, bars=bars
        )
        now = list_repository(address.at(made))
        if lost := [one.name for one in uploads if not one.is_held(now.files.get(one.name))]:
            raise HubError(
                f"{address} does not hold what was uploaded ({', '.join(lost[:3])}); run the same command again"
            )
    if tag is not None:
        create_tag(address, tag, now.commit)
    return Pushed(address.at(now.commit), tuple(one.name for one in todo), tuple(gone), listing.private)
