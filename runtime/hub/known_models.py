"""The models on this machine: those that came with padinv, and those that were fetched from a hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padinv.runtime.errors import BundleError
from padinv.runtime.files import parse_json, read_regular
from padinv.runtime.hub.address import HubAddress
from padinv.runtime.hub.cache import MAIN, Cached, everything_cached, folder_bytes
from padinv.runtime.hub.card import CARD, MAX_CARD, licence_of
from padinv.runtime.hub.client import list_repository
from padinv.runtime.hub.directions import check_directions_manifest
from padinv.runtime.manifest import DIRECTIONS_MANIFEST, MANIFEST, direction_names, read_manifest
from padinv.runtime.model_names import BUILTIN_NAME, list_models, shipped_models


@dataclass(frozen=True)
class KnownModel:
    """A model, or directions without one.

    Attributes:
        name: what --model takes.
        where: 'built-in', 'installed' (comes with this installation) or 'cached' (fetched from a hub).
        folder: of its files.
        size: bytes.
        commit: of the hub; '' where it did not come from one.
        pinned: the revisions that stand for this commit on this machine.
        resolution: of the generator in pixels; None for directions alone.
        domain: the kind of pictures that its alignment expects, such as 'faces'; '' where pictures are taken as they
            are.
        licence: as its card names it; '' where it does not.
        directions: names of those that it ships.
        generator_hash: of the generator; '' for directions alone.
        problem: why it cannot be used; '' where nothing was found.
    """

    name: str
    where: str
    folder: Path
    size: int
    commit: str = ""
    pinned: tuple[str, ...] = ()
    resolution: int | None = None
    domain: str = ""
    licence: str = ""
    directions: tuple[str, ...] = ()
    generator_hash: str = ""
    problem: str = ""


def known_models() -> list[KnownModel]:
    """All models on this machine; nothing is fetched.

    Example:
        [model.name for model in known_models()]  # ['faces128', 'hf:someone/churches']
    """
    shipped = shipped_models()
    found = [_model(name, "built-in" if name == BUILTIN_NAME else "installed", shipped[name]) for name in list_models()]
    return found + [_cached(one) for one in everything_cached()]


def newer_version(model: KnownModel) -> str | None:
    """The commit that the hub has now, where it is another than the pinned one; None where it is the same.

    Raises:
        HubError: the hub cannot be reached, or does not have the repository any more.
    """
    if MAIN not in model.pinned:
        return None
    address = HubAddress(model.name.removeprefix("hf:").partition("@")[0])
    commit = list_repository(address).commit
    return None if commit == model.commit else commit


def _cached(one: Cached) -> KnownModel:
    """Under its plain name where that stands for it, or else with a tag or the commit."""
    revision = None if MAIN in one.pinned else (one.pinned[0] if one.pinned else one.address.revision)
    name = str(one.address.at(revision))
    facts: dict[str, Any] = {"commit": one.address.revision or "", "pinned": one.pinned}
    if one.is_model:
        return _model(name, "cached", one.folder, **facts)
    try:
        document = parse_json(read_regular(one.folder / DIRECTIONS_MANIFEST, MAX_CARD))
        files = check_directions_manifest(document, str(one.folder))["files"]
        here = {name: entry for name, entry in files.items() if (one.folder / name).is_file()}
        facts["directions"] = tuple(direction_names(here))
    except (OSError, ValueError, BundleError) as error:
        facts["problem"] = str(error)
    return KnownModel(name, "cached", one.folder, folder_bytes(one.folder), **facts)


def _model(name: str, where: str, folder: Path, **facts: Any) -> KnownModel:
    try:
        manifest = read_manifest(folder / MANIFEST)
    except BundleError as error:
        return KnownModel(name, where, folder, folder_bytes(folder), **facts, problem=str(error))
    return KnownModel(
        name,
        where,
        folder,
        folder_bytes(folder),
        **facts,
        resolution=manifest["spec"]["resolution"],
        domain=str(manifest["spec"].get("template") or "")[:60],
        licence=_licence(folder),
        directions=tuple(direction_names(manifest["files"])),
        generator_hash=manifest["generator_hash"],
    )


def _licence(folder: Path) -> str:
    try:
        return licence_of(read_regular(folder / CARD, MAX_CARD).decode("utf-8", "replace"))
    except OSError:
        return ""
