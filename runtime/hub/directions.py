"""Directions of a hub: those of a model's gallery, and those that a repository holds without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from padinv.runtime.errors import BundleError, HubError, InputError, UsageError
from padinv.runtime.files import parse_json, read_regular, sha256_file, write_json
from padinv.runtime.hub import rules
from padinv.runtime.hub.address import HubAddress, is_hub_address, parse_address
from padinv.runtime.hub.cache import RepositoryCache
from padinv.runtime.hub.client import Listing, require_network
from padinv.runtime.hub.fetching import fetch_files, fetch_small
from padinv.runtime.hub.pull import Pulled, list_listed, read_remote_manifest
from padinv.runtime.hub.verify import check_against_hub
from padinv.runtime.manifest import DIRECTION_SUFFIX as SUFFIX
from padinv.runtime.manifest import DIRECTIONS_FOLDER as FOLDER
from padinv.runtime.manifest import DIRECTIONS_MANIFEST, MANIFEST, check_files, direction_names, read_manifest

FORMAT = 1


def find_direction(what: str | Path) -> Path:
    """The file of a direction: a path as it is, or a direction of a hub, which is fetched where the cache lacks it.

    Raises:
        InputError: the address names no direction. HubError, MissingPackageError: see `find_hub_directions`.
    """
    if not is_hub_address(what):
        return Path(what)
    address = parse_address(what)
    if address.direction is None:
        names = ", ".join(path.stem for path in find_hub_directions(address)) or "none"
        raise InputError(f"{address} names no direction; it has {names}; write it like {address.repository}/NAME")
    return find_hub_directions(address)[0]


def find_hub_directions(address: HubAddress) -> list[Path]:
    """Files of the direction that an address names, or of all in its repository, out of the cache or the hub.

    Raises:
        HubError: not to be found or reached, refused, or not cached while the network is forbidden.
        MissingPackageError: something must be fetched, and there is no huggingface_hub.
    """
    cache = RepositoryCache(address.repository)
    commit = cache.commit_of(address.revision)
    if commit is not None and (found := _cached(cache, commit, address)) is not None:
        return found
    return _pull(address, cache, commit)[1]


def pull_directions(address: HubAddress | str) -> Pulled:
    """Fetch one direction (hf:USER/NAME/DIRECTION) or all of a repository in their newest version.

    Raises:
        HubError, UsageError, MissingPackageError: see `find_hub_directions`.
    """
    return _pull(parse_address(address) if isinstance(address, str) else address, None, None)[0]


def check_directions_manifest(document: Any, where: str) -> dict[str, Any]:
    """`directions.json`, after every field of it was checked.

    Raises:
        BundleError: not such a manifest, or of a newer format.
    """
    if not isinstance(document, dict) or document.get("kind") != FOLDER or not isinstance(document.get("files"), dict):
        raise BundleError(f"{where} is not a list of directions")
    if document.get("format") != FORMAT:
        raise BundleError(f"{where} has format {document.get('format')}, and this padinv reads {FORMAT}; update padinv")
    check_files(document["files"], where)
    return document


def _cached(cache: RepositoryCache, commit: str, address: HubAddress) -> list[Path] | None:
    """The files in the cache; None where they must be fetched."""
    if cache.has_model(commit):
        folder, files = cache.model(commit), read_manifest(cache.model(commit) / MANIFEST)["files"]
    else:
        folder = cache.directions(commit)
        try:
            document = parse_json(read_regular(folder / DIRECTIONS_MANIFEST, rules.MAX_TEXT))
            files = check_directions_manifest(document, str(folder / DIRECTIONS_MANIFEST))["files"]
        except (OSError, ValueError, BundleError):
            return None
    wanted = _wanted(address, files)
    whole = all((folder / name).is_file() and sha256_file(folder / name) == files[name]["sha256"] for name in wanted)
    return [folder / name for name in wanted] if whole else None


def _wanted(address: HubAddress, files: dict[str, Any]) -> list[str]:
    """Relative names of the directions that the address asks for.

    Raises:
        HubError: it has no such direction.
    """
    names = direction_names(files)
    if address.direction is None:
        return [f"{FOLDER}/{name}{SUFFIX}" for name in names]
    if address.direction not in names:
        raise HubError(
            f"{address.whole()} has no direction called {address.direction!r} in the version that is used here; it has "
            f"{', '.join(names) or 'none'}; for the newest version: padinv pull {address.at(None)}"
        )
    return [f"{FOLDER}/{address.direction}{SUFFIX}"]


def _pull(address: HubAddress, cache: RepositoryCache | None, commit: str | None) -> tuple[Pulled, list[Path]]:
    """Fetch directions of a commit, or of what the address names now where `commit` is None."""
    cache = cache or RepositoryCache(address.repository)
    require_network(address)
    asked = address if commit is None else address.at(commit)
    with cache.lock():
        before = cache.commit_of(address.revision)
        listing = list_listed(asked)
        folder = cache.directions(listing.commit)
        found = _cached(cache, listing.commit, address)
        fetched = 0
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            files = _remote_files(asked, listing, folder)
            wanted = {name: files[name] for name in _wanted(address, files)}
            fetched = fetch_files(asked, listing, wanted, folder, f"fetching {address.at(listing.commit[:10])}")
            found = [folder / name for name in wanted]
        cache.pin(address.revision, listing.commit)
    return Pulled(address.at(listing.commit), found[0].parents[1] if found else folder, fetched, before), found


def _remote_files(address: HubAddress, listing: Listing, folder: Path) -> dict[str, dict[str, Any]]:
    """The files of the manifest of a repository, whichever it has; a list of the directions is kept in `folder`."""
    where = f"{address.whole()}/{DIRECTIONS_MANIFEST}"
    if MANIFEST in listing.files:
        files = read_remote_manifest(address, listing, folder / "model")["files"]
        names = [f"{FOLDER}/{name}{SUFFIX}" for name in direction_names(files)]
        document = {"format": FORMAT, "kind": FOLDER, "files": {name: files[name] for name in names}}
        write_json(folder / DIRECTIONS_MANIFEST, document)
        return {name: files[name] for name in names}
    if DIRECTIONS_MANIFEST not in listing.files:
        raise UsageError(
            f"{address.whole()} holds neither a padinv model nor directions of padinv, so nothing was fetched"
        )
    try:
        text = fetch_small(address, listing, DIRECTIONS_MANIFEST, folder)
        listed: dict[str, dict[str, Any]] = check_directions_manifest(parse_json(text), where)["files"]
        rules.check_files(listed, str(address))
        check_against_hub(listed, listing, str(address))
    except (BundleError, ValueError, HubError) as error:
        (folder / DIRECTIONS_MANIFEST).unlink(missing_ok=True)
        raise HubError(f"{address} was refused: {error}") from error
    return listed
