"""`padinv models`: what can be given to --model on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.console import say
from padinv.cli.hub_progress import megabytes
from padinv.cli.json_output import print_json, skipped_input
from padinv.runtime.errors import ExitCode, HubError, UsageError
from padinv.runtime.hub.address import HubAddress, parse_address
from padinv.runtime.hub.cache import RepositoryCache, folder_bytes
from padinv.runtime.hub.client import require_network
from padinv.runtime.hub.known_models import known_models, newer_version
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.runtime.hub.known_models import KnownModel

_COLUMNS = ("model", "where", "size", "pixels", "domain", "licence", "version", "directions")


def command(
    *,
    updates: Annotated[
        bool, typer.Option("--updates", help="Ask the hub whether it has newer versions of the cached models.")
    ] = False,
    remove: Annotated[
        str | None,
        typer.Option("--remove", metavar="hf:USER/NAME[@REVISION]", help="Remove a fetched model from the cache."),
    ] = None,
    as_json: opt.JsonOption = False,
) -> None:
    """List the models that --model takes by name: built-in, installed with padinv, and fetched from a hub.

    Nothing is fetched. A name of a hub stands for the commit that was fetched, until padinv pull fetches a newer one.
    """
    removed = None if remove is None else _remove(remove)
    models = known_models()
    newer, problems = _newer(models) if updates else ({}, [])
    code = ExitCode.PARTLY if problems else ExitCode.DONE
    if as_json:
        facts = [{**_facts(one), **({"newer": newer.get(one.name)} if updates else {})} for one in models]
        more = {} if removed is None else {"removed_bytes": removed}
        lost = [skipped_input(sentence, code="hub") for sentence in problems]
        print_json(facts, {"models": facts, **more}, code=code, skipped=lost)
        raise typer.Exit(code)
    if removed is not None:
        typer.echo(f"removed {remove} from the cache: {megabytes(removed)}")
        raise typer.Exit(code)
    _print(models)
    for name, commit in newer.items():
        typer.echo(printable(f"{name} has a newer version, {commit[:10]}: padinv pull {name}"))
    if updates and not newer and not problems:
        typer.echo("every cached model is the newest")
    raise typer.Exit(code)


def _remove(text: str) -> int:
    """Remove a model from the cache; how many bytes that freed."""
    address = parse_address(text)
    cache = RepositoryCache(address.repository)
    commit = cache.commit_of(address.revision) if address.revision else None
    known = [one for one in cache.cached() if commit in (None, one.address.revision)]
    unfinished = address.revision is None and (cache.folder / "partial").is_dir()
    if address.direction is not None or not (known or unfinished) or (address.revision and commit is None):
        raise UsageError(f"{text} is not in the cache, so nothing was removed; padinv models lists what is")
    before = folder_bytes(cache.folder)
    cache.remove(commit)
    return before - folder_bytes(cache.folder)


def _newer(models: list[KnownModel]) -> tuple[dict[str, str], list[str]]:
    """Name -> commit that the hub has now, and a sentence for every model that could not be asked about."""
    found, problems = {}, []
    for one in models:
        if "main" not in one.pinned:
            continue
        try:
            require_network(HubAddress(one.name.removeprefix("hf:").partition("@")[0]))
            if commit := newer_version(one):
                found[one.name] = commit
        except HubError as error:
            problems.append(str(error))
            say(str(error))
    return found, problems


def _facts(one: KnownModel) -> dict[str, Any]:
    return {
        "name": one.name,
        "where": one.where,
        "folder": str(one.folder),
        "bytes": one.size,
        "commit": one.commit or None,
        "pinned": list(one.pinned),
        "resolution": one.resolution,
        "domain": one.domain or None,
        "licence": one.licence or None,
        "directions": list(one.directions),
        "generator_hash": one.generator_hash or None,
        "problem": one.problem or None,
    }


def _print(models: list[KnownModel]) -> None:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for one in models:
        pixels = "directions" if one.resolution is None and not one.problem else str(one.resolution or "damaged")
        more = len(one.directions) - 4
        shown = ", ".join(one.directions[:4]) + (f" and {more} more" if more > 0 else "")
        facts = (one.domain, one.licence, one.commit[:10], shown)
        rows.append((one.name, one.where, megabytes(one.size), pixels, *(fact or "–" for fact in facts)))
    widths = [max(len(row[k]) for row in rows) for k in range(len(_COLUMNS) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo(printable("  ".join([*cells, row[-1]]).rstrip()))
    for one in models:
        if one.problem:
            say(f"{one.problem}; remove it with: padinv models --remove {one.name}")
