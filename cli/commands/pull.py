"""`padinv pull`: a model or a direction of a hub, in its newest version or in one that is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.hub_progress import megabytes
from padinv.cli.json_output import print_json
from padinv.export.atomic_folder import staged_folder
from padinv.runtime.errors import UsageError
from padinv.runtime.files import write_bytes
from padinv.runtime.hub.address import parse_address
from padinv.runtime.hub.cache import RepositoryCache
from padinv.runtime.hub.directions import find_hub_directions, pull_directions
from padinv.runtime.hub.network import forbid_network
from padinv.runtime.hub.pull import DirectionsOnlyError, Pulled, find_hub_model, pull
from padinv.runtime.manifest import MANIFEST
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.runtime.hub.address import HubAddress
    from padinv.runtime.hub.pull import Pulled


def command(
    *,
    address: Annotated[
        str,
        typer.Argument(
            metavar="hf:USER/NAME",
            help="A model, or a direction: hf:USER/NAME/DIRECTION. @REVISION at its end names a version.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Also copy it there; a direction becomes a file in it."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what --out holds.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing; say whether the cache has it.")] = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Fetch a model, or its newest version, into padinv's cache, and check it.

    Every file is compared with the SHA-256 in the model's manifest and with the hub's own hash. Only ONNX graphs,
    safetensors, JSON and text are fetched; a repository with a pickle is refused, and nothing from it is run. What was
    interrupted continues. The name stands for this commit from now on, until the next padinv pull.
    """
    if offline:
        forbid_network()
    try:
        parsed = parse_address(address)
        pulled = _find(parsed) if offline else _pull(parsed)
    finally:
        if offline:
            forbid_network(False)
    copied = None if out is None else _copy(pulled, parsed, out, overwrite)
    if as_json:
        facts = {
            "address": str(pulled.address),
            "commit": pulled.commit,
            "before": pulled.before,
            "folder": str(pulled.folder),
            "fetched_bytes": pulled.fetched,
            "out": copied,
        }
        print_json([facts], facts)
        return
    was = f", before {pulled.before[:10]}" if pulled.before not in (None, pulled.commit) and pulled.before else ""
    state = f"{megabytes(pulled.fetched)} fetched" if pulled.fetched else "already here"
    typer.echo(printable(f"{parsed} is at commit {pulled.commit[:10]}{was}; {state}"))
    if copied:
        typer.echo(printable(f"copied to {copied}"))
    typer.echo(printable(_usage(pulled, parsed)))


def _pull(address: HubAddress) -> Pulled:
    """A direction, a model, or all directions of a repository that holds no model."""
    if address.direction is not None:
        return pull_directions(address)
    try:
        return pull(address)
    except DirectionsOnlyError:
        return pull_directions(address)


def _find(address: HubAddress) -> Pulled:
    """What the cache holds.

    Raises:
        HubError: it does not hold it; the sentence says which command fetches it.
    """
    cache = RepositoryCache(address.repository)
    commit = cache.commit_of(address.revision)
    if address.direction is None and (commit is None or cache.has_model(commit)):
        folder = find_hub_model(address)
    else:
        find_hub_directions(address)
        folder = cache.model(commit or "") if cache.has_model(commit) else cache.directions(commit or "")
    return Pulled(address.at(commit), folder, 0, commit)


def _copy(pulled: Pulled, asked: HubAddress, out: Path, overwrite: bool) -> str:
    """Copy a model to a folder of its own, or directions into one.

    Raises:
        UsageError: something else is there. OutputError: not writable.
    """
    if asked.direction is None and (pulled.folder / MANIFEST).is_file():
        with staged_folder(out, overwrite) as staged:
            shutil.copytree(pulled.folder, staged, dirs_exist_ok=True)
        return str(out)
    for path in find_hub_directions(pulled.address):
        target = out / path.name
        if target.exists() and not overwrite:
            raise UsageError(f"{target} exists, so it was left as it is; choose another --out, or allow --overwrite")
        write_bytes(target, path.read_bytes())
    return str(out / f"{asked.direction}.safetensors") if asked.direction else str(out)


def _usage(pulled: Pulled, asked: HubAddress) -> str:
    if asked.direction is None and (pulled.folder / MANIFEST).is_file():
        return f"use it with: --model {asked}   (this very version: --model {pulled.address})"
    names = [asked.direction] if asked.direction else [path.stem for path in find_hub_directions(pulled.address)]
    one = f"hf:{asked.repository}/{names[0]}" + (f"@{asked.revision}" if asked.revision else "")
    return f"use it with: padinv edit {one} PHOTO" + (f"   (others: {', '.join(names[1:])})" if names[1:] else "")
