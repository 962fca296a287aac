"""Pushing a model: the bundle's files, its card as README.md, and a sheet of samples as the card's picture."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padinv.runtime.bundle import Bundle, read_bundle
from padinv.runtime.errors import HubError, InputError, UsageError
from padinv.runtime.files import read_regular, sha256_bytes
from padinv.runtime.hub import rules
from padinv.runtime.hub.address import HubAddress, parse_address
from padinv.runtime.hub.card import CARD, MAX_CARD, card_to_fill_in, require_fields, split_card
from padinv.runtime.hub.measured import measured_figures
from padinv.runtime.hub.readme import PICTURE, README, model_readme
from padinv.runtime.hub.upload import Pushed, Upload, open_repository, require_ours, send
from padinv.runtime.manifest import DIRECTIONS_MANIFEST, FORMAT, MANIFEST, parse_manifest
from padinv.runtime.model import Model

SAMPLES = 12
_TRUNCATION = 0.7
_MAX_OLD = 2 << 20


@dataclass(frozen=True)
class Plan:
    """What a push uploads, worked out without the network.

    Attributes:
        address: where it goes.
        uploads: all files of the new version.
        notes: sentences that the user should see.
    """

    address: HubAddress
    uploads: tuple[Upload, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.uploads)


def push(
    model: Path | str | None,
    address: HubAddress | str,
    *,
    public: bool = False,
    card: Path | str | None = None,
    message: str | None = None,
    tag: str | None = None,
) -> Pushed:
    """Upload a bundle to a hub, as `padinv push` does. A repository that does not exist is made.

    Example:
        padinv.push("my-bundle", "hf:me/churches", card="CARD.md")

    Args:
        model: what `padinv.load` takes.
        public: make a new repository visible to everybody; one that exists stays as it is.
        card: Markdown with front matter, which replaces the bundle's own card.
        message: of the commit.
        tag: lets hf:USER/NAME@TAG stand for this version.

    Raises:
        InputError: the card lacks fields. BundleError: the bundle is damaged. HubError: not logged in, refused, or not
        reachable.
    """
    return send_plan(plan_push(model, address, card=card), public=public, message=message, tag=tag)


def plan_push(model: Path | str | None, address: HubAddress | str, *, card: Path | str | None = None) -> Plan:
    """Check a bundle and work out what is uploaded; nothing is sent.

    Raises:
        see `push`.
    """
    address = require_repository(address)
    bundle = read_bundle(model)
    text, where = read_card(bundle, card)
    metadata, body = split_card(text, where)
    require_fields(metadata, where)
    files, notes = _bundle_files(bundle)
    manifest: dict[str, Any] = {key: value for key, value in bundle.manifest.items() if key not in ("format", "files")}
    if any(name.endswith(rules.ENGINES) for name in bundle.files):
        manifest["engines"] = {}
        notes.append("TensorRT engines stay here: they fit one kind of GPU, and padinv fetches none; see padinv export")
    if bundle.files.get(CARD, {}).get("sha256") != sha256_bytes(text.encode()):
        files = [*(one for one in files if one.name != CARD), Upload.of_bytes(CARD, text.encode())]
    listed = {one.name: {"sha256": one.sha256, "bytes": one.size} for one in sorted(files, key=lambda one: one.name)}
    uploads = [*files, _manifest(bundle, manifest, listed)]
    readme = model_readme(metadata, body, address, name=bundle.name, domain=bundle.spec.template)
    uploads += [Upload.of_bytes(README, readme.encode()), Upload.of_bytes(PICTURE, sample_sheet(bundle))]
    return Plan(address, tuple(uploads), tuple(notes))


def send_plan(
    plan: Plan, *, public: bool = False, message: str | None = None, tag: str | None = None, bars: bool = False
) -> Pushed:
    """Upload what was planned.

    Raises:
        HubError: see `push`.
    """
    listing = open_repository(plan.address, public=public)
    require_ours(listing, MANIFEST, plan.address)
    if DIRECTIONS_MANIFEST in listing.files:
        raise HubError(f"{plan.address} holds directions, so no model was uploaded to it; choose another name")
    old: dict[str, Any] = {}
    if MANIFEST in listing.files:
        old = read_old_manifest(plan.address, listing)
    return send(
        plan.address, listing, plan.uploads, old, message=message or "Upload a model with padinv", tag=tag, bars=bars
    )


def card_for(model: Path | str | None, card: Path | str | None = None, figures: Path | str | None = None) -> str:
    """The bundle's card (or another), with a line to fill in for every field that it lacks.

    Args:
        figures: results of `padinv eval` that the card's figures are taken from; None: the card keeps its own.

    Raises:
        BundleError, InputError: the bundle or the card cannot be read.
    """
    bundle = read_bundle(model)
    text, where = read_card(bundle, card)
    metadata, body = split_card(text, where)
    if figures is not None:
        metadata["figures"] = measured_figures(figures, bundle)
    return card_to_fill_in(metadata, body)


def read_card(bundle: Bundle, card: Path | str | None) -> tuple[str, str]:
    """The text of a card, and what sentences call it.

    Raises:
        InputError: not readable, or not UTF-8. BundleError: the bundle's own has changed.
    """
    if card is None:
        if not bundle.has(CARD):
            return f"# {bundle.name}\n", f"{bundle.folder}, which holds no {CARD},"
        path, data = bundle.folder / CARD, bundle.read_bytes(CARD)
    else:
        path = Path(card)
        try:
            data = read_regular(path, MAX_CARD)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return data.decode(), str(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8, so nothing was uploaded") from error


def require_repository(address: HubAddress | str) -> HubAddress:
    """The address of a repository to push to.

    Raises:
        UsageError: an address with a revision or a direction.
    """
    address = parse_address(address) if isinstance(address, str) else address
    if address.revision is not None or address.direction is not None:
        raise UsageError(
            f"{address} cannot be pushed to: give hf:USER/NAME; a version gets a name with --tag, and a direction has "
            "the name of its file"
        )
    return address


def sheet_png(pixels: Any) -> bytes:
    """PNG bytes of uint8 RGB [H, W, 3], always the same for the same pixels."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def sample_sheet(bundle: Bundle) -> bytes:
    """PNG of samples of the generator: seeds 0 to 11 at truncation 0.7. No photograph takes part."""
    from padinv.runtime.reports.contact_sheet import contact_sheet

    model = Model(bundle, "cpu", None, "fp32", None)
    seeds = list(range(SAMPLES))
    pictures = model.generate(model.sample(seeds, _TRUNCATION))
    rows = [(f"seed {seed}", [picture]) for seed, picture in zip(seeds, pictures, strict=True)]
    return sheet_png(contact_sheet(rows, [""], f"{bundle.name}: samples at truncation {_TRUNCATION}, no photographs"))


def read_old_manifest(address: HubAddress, listing: Any) -> dict[str, Any]:
    """Files that the version on the hub lists; none where its manifest cannot be read."""
    import tempfile

    from padinv.runtime.errors import BundleError
    from padinv.runtime.hub.fetching import fetch_small

    with tempfile.TemporaryDirectory(prefix="padinv-push-") as name:
        try:
            text = fetch_small(address, listing, MANIFEST, Path(name))
            files: dict[str, Any] = parse_manifest(text, MANIFEST)["files"]
        except BundleError:
            return {}
    return files


def _bundle_files(bundle: Bundle) -> tuple[list[Upload], list[str]]:
    """The files of a bundle, each verified; and sentences about the files of its folder that are not uploaded."""
    kept = {name: entry for name, entry in bundle.files.items() if not name.endswith(rules.ENGINES)}
    rules.check_files(kept, str(bundle.folder))
    files = []
    for name, entry in kept.items():
        path = bundle.folder / name
        if path.is_symlink() or any(parent.is_symlink() for parent in _parents_inside(path, bundle.folder)):
            raise UsageError(
                f"{path} is a symbolic link, which could lead to any file of this machine, so nothing was uploaded; "
                "replace it by the file itself"
            )
        if name.endswith(".onnx"):
            bundle.graph(name)
        else:
            bundle.path(name)
        files.append(Upload(name, path, entry["sha256"]))
    return files, _left_out(bundle)


def _left_out(bundle: Bundle) -> list[str]:
    """A sentence about files of the folder that the manifest does not list."""
    here = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()}
    more = sorted(name for name in here - set(bundle.files) - {MANIFEST} if not name.startswith("."))
    shown = ", ".join(more[:3]) + (f" and {len(more) - 3} more" if len(more) > 3 else "")
    return [f"not part of the bundle, so not uploaded: {shown}"] if more else []


def _parents_inside(path: Path, folder: Path) -> list[Path]:
    return [parent for parent in path.parents if parent.is_relative_to(folder) and parent != folder]


def _manifest(bundle: Bundle, rest: dict[str, Any], listed: dict[str, Any]) -> Upload:
    """The bundle's own manifest where it fits, or else one that lists what is uploaded."""
    own = (bundle.folder / MANIFEST).read_bytes()
    if bundle.files == listed:
        return Upload.of_bytes(MANIFEST, own)
    whole = {"format": FORMAT, **rest, "files": listed}
    return Upload.of_bytes(MANIFEST, (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode())
