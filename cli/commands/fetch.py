"""`padinv fetch`: weight files of other projects, from the addresses where their authors publish them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.console import say
from padinv.cli.json_output import print_json
from padinv.cli.progress import progress_bar
from padinv.losses.weight_files import KNOWN, find_cached, known
from padinv.runtime.download import cache_folder, download
from padinv.runtime.text import printable


def command(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Files to fetch; the list of known ones if omitted."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", "--to", metavar="DIR", help="Where to put them; padinv's cache if omitted."),
    ] = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Fetch weight files that losses, metrics and baselines need, or list the known ones.

    Only https addresses are used, an interrupted download continues, and a file appears only when it is whole. Every
    file has its own licence, which is printed; files with a published checksum are checked against it.
    """
    if not names:
        _list(as_json)
        return
    chosen = [known(name) for name in dict.fromkeys(names)]
    folder = out or cache_folder()
    done: list[dict[str, Any]] = []
    for entry in chosen:
        target = folder / entry.file
        there = target if target.is_file() else find_cached(entry.name) if out is None else None
        if there is not None:
            done.append({"name": entry.name, "path": str(there), "fetched": False})
            if not as_json:
                typer.echo(printable(f"{entry.name} is at {there} already"))
            continue
        say(f"{entry.name}: {entry.what}; about {entry.size} MB; {entry.terms}")
        with progress_bar(f"fetching {entry.name}", entry.size, "MB") as bar:
            shown = 0

            def step(so_far: int, total: int | None) -> None:
                nonlocal shown
                while shown < so_far >> 20:
                    bar.advance()
                    shown += 1

            digest = download(entry.url, target, sha256=entry.sha256, progress=step)
        checked = "as published" if entry.sha256 else "none is published; compare it with a source you trust"
        done.append({"name": entry.name, "path": str(target), "fetched": True, "sha256": digest})
        if not as_json:
            typer.echo(printable(f"wrote {target} (SHA-256 {digest}, {checked})"))
    if as_json:
        print_json(done)


def _list(as_json: bool) -> None:
    """What can be fetched, and what is there."""
    facts = [
        {
            "name": e.name, "file": e.file, "megabytes": e.size, "what": e.what, "terms": e.terms, "url": e.url,
            "path": None if (path := find_cached(e.name)) is None else str(path),
        }
        for e in KNOWN.values()
    ]  # fmt: skip
    if as_json:
        print_json(facts)
        return
    for fact in facts:
        state = f"at {fact['path']}" if fact["path"] else f"about {fact['megabytes']} MB"
        typer.echo(printable(f"{fact['name']:18}{fact['what']} ({state})"))
