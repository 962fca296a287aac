"""Pushing directions without a model, or adding them to the gallery of a model that the hub has already."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.gallery import FOLDER, SUFFIX, check_name
from padinv.runtime.editing.operations import apply
from padinv.runtime.errors import HubError, InputError, MismatchError, UsageError
from padinv.runtime.files import parse_json, read_regular, sha256_bytes
from padinv.runtime.hub.address import HubAddress
from padinv.runtime.hub.card import MAX_CARD, card_to_fill_in, require_fields, split_card
from padinv.runtime.hub.client import Listing
from padinv.runtime.hub.directions import FORMAT as DIRECTIONS_FORMAT
from padinv.runtime.hub.directions import check_directions_manifest
from padinv.runtime.hub.fetching import fetch_small
from padinv.runtime.hub.push import require_repository, sheet_png
from padinv.runtime.hub.readme import PICTURE, README, directions_readme
from padinv.runtime.hub.rules import MAX_TEXT
from padinv.runtime.hub.upload import Pushed, Upload, open_repository, require_ours, send
from padinv.runtime.manifest import DIRECTIONS_MANIFEST, MANIFEST, parse_manifest
from padinv.runtime.model import Model

_STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_SEED = 0
_TRUNCATION = 0.7
# What a list of directions keeps of the notes in their files.
_NOTES = ("space", "unit", "licence")


@dataclass(frozen=True)
class DirectionsPlan:
    """Directions that are ready to be pushed.

    Attributes:
        address: where they go.
        uploads: their files.
        entries: relative name -> what a manifest says about the file.
        metadata, body: of the card; empty where the repository's own is kept.
        picture: PNG of every direction on a sample of the generator.
        generator_hash: of the generator that they were made for.
    """

    address: HubAddress
    uploads: tuple[Upload, ...]
    entries: dict[str, dict[str, Any]]
    metadata: dict[str, Any]
    body: str
    picture: bytes
    generator_hash: str

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should see: none."""
        return ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.uploads) + len(self.picture)


def push_directions(
    files: Sequence[Path | str],
    address: HubAddress | str,
    *,
    model: Model | Path | str | None = None,
    public: bool = False,
    card: Path | str | None = None,
    message: str | None = None,
    tag: str | None = None,
) -> Pushed:
    """Upload directions to a repository of directions, or to the gallery of a model that the hub has already.

    Directions that the repository holds already stay there; one of the same name is replaced.

    Example:
        padinv.push_directions(["hat.safetensors"], "hf:me/hats", card="CARD.md")

    Args:
        model: the model that they were made for, which draws the picture; see `padinv.load`.
        public, message, tag: see `padinv.push`.
        card: Markdown with front matter. A repository that has a card with all fields needs none.

    Raises:
        InputError: not a direction, or the card lacks fields. MismatchError: made for another model. HubError: refused,
        or not reachable.
    """
    plan = plan_directions(files, address, model=model, card=card)
    return send_directions(plan, public=public, message=message, tag=tag)


def plan_directions(
    files: Sequence[Path | str],
    address: HubAddress | str,
    *,
    model: Model | Path | str | None = None,
    card: Path | str | None = None,
) -> DirectionsPlan:
    """Check directions and draw their picture; nothing is sent.

    Raises:
        see `push_directions`; UsageError: a file's name cannot be a direction's.
    """
    address = require_repository(address)
    directions = read_directions(files)
    loaded = model if isinstance(model, Model) else Model.load(model, "cpu")
    for name, (path, direction) in directions.items():
        try:
            direction.require_generator(loaded.generator_hash, str(path))
        except MismatchError as error:
            raise MismatchError(
                f"{path} was made for another model than {loaded.bundle.name}, so nothing was uploaded; give its model "
                "with --model, which draws the picture"
            ) from error
        check_name(name)
    metadata, body = ({}, "") if card is None else _given_card(card, directions, loaded)
    uploads, entries = [], {}
    for name, (path, direction) in directions.items():
        data = path.read_bytes()
        relative = f"{FOLDER}/{name}{SUFFIX}"
        notes = {key: str(direction.info[key])[:200] for key in _NOTES if direction.info.get(key)}
        uploads.append(Upload.of_bytes(relative, data))
        entries[relative] = {"sha256": sha256_bytes(data), "bytes": len(data), **notes}
    picture = directions_sheet(loaded, {name: direction for name, (_, direction) in directions.items()})
    return DirectionsPlan(address, tuple(uploads), entries, metadata, body, picture, loaded.generator_hash)


def send_directions(
    plan: DirectionsPlan,
    *,
    public: bool = False,
    message: str | None = None,
    tag: str | None = None,
    bars: bool = False,
) -> Pushed:
    """Upload what was planned.

    Raises:
        InputError: neither the plan nor the repository has a card with all fields. HubError: see `push_directions`.
    """
    address = plan.address
    if not plan.metadata:
        _require_known_card(address)  # before an empty repository is made for nothing
    listing = open_repository(address, public=public)
    what = message or f"Upload directions with padinv: {', '.join(Path(name).stem for name in plan.entries)}"[:200]
    with tempfile.TemporaryDirectory(prefix="padinv-push-") as name:
        if MANIFEST in listing.files:
            more = [_model_manifest(plan, listing, Path(name))]
        else:
            require_ours(listing, DIRECTIONS_MANIFEST, address)
            more = _directions_files(plan, listing, Path(name))
    return send(address, listing, [*plan.uploads, *more], (), message=what, tag=tag, bars=bars)


def read_directions(files: Sequence[Path | str]) -> dict[str, tuple[Path, Direction]]:
    """Directions by name, which is the name of the file.

    Raises:
        InputError: not a direction. UsageError: a name that a direction cannot have, or two of one name.
    """
    found: dict[str, tuple[Path, Direction]] = {}
    for path in map(Path, files):
        if path.is_symlink():
            raise UsageError(f"{path} is a symbolic link, so nothing was uploaded; give the file itself")
        name = check_name(path.name.removesuffix(SUFFIX))
        if name in found:
            raise UsageError(f"{path} and {found[name][0]} have the same name; rename one of them")
        found[name] = (path, Direction.load(path))
    if not found:
        raise UsageError("no directions were given, so nothing was uploaded")
    return found


def directions_card(files: Sequence[Path | str]) -> str:
    """A card for directions, with a line to fill in for every field that their files do not know.

    Raises:
        InputError: not a direction.
    """
    directions = {name: direction for name, (_, direction) in read_directions(files).items()}
    return card_to_fill_in(_known_fields(directions), f"# {', '.join(directions)}\n")


def directions_sheet(model: Model, directions: Mapping[str, Direction]) -> bytes:
    """PNG of every direction on one sample of the generator, at strengths from -2 to 2. No photograph takes part."""
    from padinv.runtime.inversion import Inversion
    from padinv.runtime.reports.contact_sheet import contact_sheet

    face = model.sample([_SEED], _TRUNCATION)
    rows = []
    for name, direction in list(directions.items())[:24]:
        moved: Any = direction.space or "both"
        strip = Inversion.concat([apply(face, direction, moved, strength) for strength in _STRENGTHS])
        rows.append((name, list(model.generate(strip))))
    columns = [f"{strength:+g}" if strength else "0" for strength in _STRENGTHS]
    return sheet_png(contact_sheet(rows, columns, f"directions of {model.bundle.name} on seed {_SEED}, no photographs"))


def _known_fields(directions: Mapping[str, Direction]) -> dict[str, Any]:
    """What the files themselves say, in the fields of a card."""
    infos = [direction.info for direction in directions.values()]
    licences = {str(info["licence"]) for info in infos if info.get("licence")}
    sources = list(dict.fromkeys(str(info["source"]) for info in infos if info.get("source")))
    figures = {
        f"{name} {key.replace('_', ' ')}": round(value, 4)
        for name, direction in directions.items()
        for key, value in (direction.info.get("accuracy") or {}).items()
        if isinstance(value, float)
    }
    known: dict[str, Any] = {"license": licences.pop() if len(licences) == 1 else None}
    return known | {"data": "; ".join(sources) or None, "figures": figures or None}


def _given_card(
    card: Path | str, directions: Mapping[str, tuple[Path, Direction]], model: Model
) -> tuple[dict[str, Any], str]:
    path = Path(card)
    try:
        text = read_regular(path, MAX_CARD).decode()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8, so nothing was uploaded") from error
    metadata, body = split_card(text, str(path))
    known = _known_fields({name: direction for name, (_, direction) in directions.items()})
    metadata = {**{key: value for key, value in known.items() if value is not None}, **metadata}
    require_fields(metadata, str(path))
    if model.bundle.origin and "base_model" not in metadata:
        metadata["base_model"] = model.bundle.origin.removeprefix("hf:").partition("@")[0]
    return metadata, body


def _require_known_card(address: HubAddress) -> None:
    """Whether the repository exists and will not need a card from here."""
    from padinv.runtime.hub.client import list_repository, require_upload

    require_upload(address)
    try:
        listing = list_repository(address)
    except HubError as error:
        raise InputError(
            f"{address} is new and needs a card, so nothing was uploaded; write one to fill in with --init-card "
            f"CARD.md, and give it with --card CARD.md ({error})",
            code="card",
        ) from error
    if MANIFEST not in listing.files and README not in listing.files:
        require_fields({}, str(address))


def _model_manifest(plan: DirectionsPlan, listing: Listing, folder: Path) -> Upload:
    """The manifest of a model on the hub, with the directions in its gallery."""
    manifest = parse_manifest(fetch_small(plan.address, listing, MANIFEST, folder), str(plan.address))
    if manifest["generator_hash"] != plan.generator_hash:
        raise MismatchError(
            f"{plan.address} is a model with another generator than these directions were made for, so nothing was "
            "uploaded"
        )
    entries = {name: {"sha256": one["sha256"], "bytes": one["bytes"]} for name, one in plan.entries.items()}
    manifest["files"] = dict(sorted({**manifest["files"], **entries}.items()))
    return Upload.of_bytes(MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())


def _directions_files(plan: DirectionsPlan, listing: Listing, folder: Path) -> list[Upload]:
    """The list of directions, README.md and the picture of a repository of directions."""
    old: dict[str, Any] = {}
    if DIRECTIONS_MANIFEST in listing.files:
        text = fetch_small(plan.address, listing, DIRECTIONS_MANIFEST, folder)
        old = check_directions_manifest(parse_json(text), str(plan.address))["files"]
    files = dict(sorted({**old, **plan.entries}.items()))
    document = {"format": DIRECTIONS_FORMAT, "kind": FOLDER, "files": files}
    metadata, body = plan.metadata, plan.body
    if not metadata:
        metadata, body = split_card(_old_readme(plan, listing, folder), f"README.md of {plan.address}")
        require_fields(metadata, f"README.md of {plan.address}")
    notes = {Path(name).stem: entry for name, entry in files.items()}
    readme = directions_readme(metadata, body, plan.address, notes)
    more = [
        Upload.of_bytes(DIRECTIONS_MANIFEST, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()),
        Upload.of_bytes(README, readme.encode()),
    ]
    if set(plan.entries) == set(files) or PICTURE not in listing.files:
        more.append(Upload.of_bytes(PICTURE, plan.picture))
    return more


def _old_readme(plan: DirectionsPlan, listing: Listing, folder: Path) -> str:
    if README not in listing.files or listing.files[README].size > MAX_TEXT:
        return ""
    return fetch_small(plan.address, listing, README, folder).decode("utf-8", "replace")
