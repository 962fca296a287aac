"""Pulling a model: from an address to a folder in the cache that holds a whole, verified bundle."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padinv.runtime.errors import BundleError, HubError, UsageError
from padinv.runtime.hub import rules
from padinv.runtime.hub.address import HubAddress, parse_address
from padinv.runtime.hub.cache import RepositoryCache
from padinv.runtime.hub.client import Listing, list_repository, require_network
from padinv.runtime.hub.fetching import fetch_files, fetch_small
from padinv.runtime.hub.origin import write_origin
from padinv.runtime.hub.verify import check_against_hub
from padinv.runtime.manifest import DIRECTIONS_MANIFEST, MANIFEST, parse_manifest


class DirectionsOnlyError(HubError):
    """The repository holds directions, and no model."""


@dataclass(frozen=True)
class Pulled:
    """What a pull gave.

    Attributes:
        address: with the commit, so that it names the same bytes for ever.
        folder: of the bundle, or of the directions, in padinv's cache.
        fetched: bytes that came over the network; 0 where the cache held everything.
        before: the commit that the name stood for until now; None where there was none.
    """

    address: HubAddress
    folder: Path
    fetched: int
    before: str | None = None

    @property
    def commit(self) -> str:
        """The commit."""
        return self.address.revision or ""


def find_hub_model(address: HubAddress) -> Path:
    """Folder of a model in the cache; it is fetched where the cache does not hold it.

    A name keeps standing for the commit that was fetched first, until `pull` is called: a model does not change
    without a word, and a cached model needs neither the network nor huggingface_hub.

    Raises:
        HubError: not to be found or reached, refused, or not cached while the network is forbidden. UsageError: the
        address of a direction. MissingPackageError: something must be fetched, and there is no huggingface_hub.
    """
    if address.direction is not None:
        raise UsageError(f"{address} names a direction, not a model, so no model was loaded; give {address.whole()}")
    cache = RepositoryCache(address.repository)
    commit = cache.commit_of(address.revision)
    if commit is not None and cache.has_model(commit):
        return cache.model(commit)
    return _pull_model(address, cache, commit).folder


def pull(address: HubAddress | str) -> Pulled:
    """Fetch a model's newest version, or that of a revision, and let its name stand for it from now on.

    Example:
        padinv.pull("hf:someone/churches").folder

    Raises:
        HubError, UsageError, MissingPackageError: see `find_hub_model`. OutputError: the cache cannot be written.
    """
    address = parse_address(address) if isinstance(address, str) else address
    if address.direction is not None:
        raise UsageError(f"{address} names a direction; pull it with padinv.pull_directions")
    return _pull_model(address, RepositoryCache(address.repository), None)


def _pull_model(address: HubAddress, cache: RepositoryCache, commit: str | None) -> Pulled:
    """Fetch a commit, or what the address names now where `commit` is None."""
    require_network(address)
    asked = address if commit is None else address.at(commit)
    with cache.lock():
        before = cache.commit_of(address.revision)
        if commit is not None and cache.has_model(commit):  # another process was faster
            return Pulled(asked, cache.model(commit), 0, before)
        listing = list_listed(asked)
        fetched = 0
        if not cache.has_model(listing.commit):
            fetched = _fetch_model(asked, listing, cache)
        cache.pin(address.revision, listing.commit)
    return Pulled(address.at(listing.commit), cache.model(listing.commit), fetched, before)


def list_listed(address: HubAddress) -> Listing:
    """The files of a repository; one with a pickle is refused.

    Raises:
        HubError: see above, or not reachable.
    """
    listing = list_repository(address)
    rules.refuse_pickles(listing.files, str(address))
    return listing


def read_remote_manifest(address: HubAddress, listing: Listing, folder: Path) -> dict[str, Any]:
    """Fetch a model's manifest into a folder, and check it against the rules and the hub.

    Raises:
        HubError: not a model, or one that is refused.
    """
    if MANIFEST not in listing.files:
        kind = DirectionsOnlyError if DIRECTIONS_MANIFEST in listing.files else HubError
        raise kind(f"{address} is not a padinv model: the repository holds no {MANIFEST}, so nothing was fetched")
    try:
        manifest = parse_manifest(fetch_small(address, listing, MANIFEST, folder), f"{address}/{MANIFEST}")
    except BundleError as error:
        raise HubError(f"{address} was refused: {error}") from error
    rules.check_files(manifest["files"], str(address))
    check_against_hub(manifest["files"], listing, str(address))
    return manifest


def _fetch_model(address: HubAddress, listing: Listing, cache: RepositoryCache) -> int:
    """Fetch into the folder of partial pulls, and rename it when everything is there."""
    target, partial = cache.model(listing.commit), cache.partial(listing.commit)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        files = read_remote_manifest(address, listing, partial)["files"]
        fetched = fetch_files(address, listing, files, partial, f"fetching {address.at(listing.commit[:10])}")
    except HubError:
        _remove_refused(partial)
        raise
    write_origin(partial, str(address.at(listing.commit)))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    return fetched


def _remove_refused(partial: Path) -> None:
    """Keep unfinished files only, which the next pull continues and verifies; a refused commit keeps nothing."""
    if not any(partial.rglob("*.part")):
        shutil.rmtree(partial, ignore_errors=True)
