"""`padinv push`: share a model, or directions, on a hub."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.common_options import settings
from padinv.cli.console import say
from padinv.cli.hub_progress import megabytes
from padinv.cli.json_output import print_json
from padinv.runtime.errors import UsageError
from padinv.runtime.files import write_text
from padinv.runtime.hub.address import is_hub_address, parse_address
from padinv.runtime.hub.push import Plan, card_for, plan_push, send_plan
from padinv.runtime.hub.push_directions import directions_card, plan_directions, send_directions
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.runtime.hub.push import Plan
    from padinv.runtime.hub.push_directions import DirectionsPlan
    from padinv.runtime.hub.upload import Pushed


def command(
    *,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE|DIRECTION... hf:USER/NAME", help="A model bundle, or direction files; then where they go."
        ),
    ],
    public: Annotated[
        bool,
        typer.Option("--public/--private", help="Who can see a new repository; one that exists stays as it is."),
    ] = False,
    card: Annotated[
        Path | None,
        typer.Option("--card", metavar="FILE.md", help="Model card with front matter; the bundle's own if omitted."),
    ] = None,
    init_card: Annotated[
        Path | None,
        typer.Option("--init-card", metavar="FILE.md", help="Write a card to fill in, and upload nothing."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="With --init-card: results of padinv eval to take figures from."),
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit.")] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="NAME", help="Name this version, for hf:USER/NAME@NAME.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="BUNDLE", help="With directions: the model they are for, which draws the card's picture."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be uploaded, and upload nothing.")] = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Upload a model or directions to a hub, with a card and a sheet of samples. A new repository is private.

    The card needs the fields license, data, intended_use, limits and figures in its YAML front matter. Only the files
    that the bundle's manifest lists are uploaded, each checked before; TensorRT engines stay here. Directions go to a
    repository of their own, or into the gallery of a model that the hub has already.
    """
    sources = what[:-1]
    if not sources or not is_hub_address(what[-1]):
        raise UsageError("give what to upload and where: padinv push BUNDLE hf:USER/NAME; nothing was uploaded")
    address = parse_address(what[-1])
    of_directions = all(os.path.isfile(source) for source in sources)
    if not of_directions and len(sources) > 1:
        raise UsageError("give one bundle, or files of directions; nothing was uploaded")
    if init_card is not None:
        ready = _write_card(sources, of_directions, card, init_card, figures)
        if as_json:
            print_json([{"file": str(init_card), "ready": ready}])
        else:
            first = "" if ready else "fill in the lines with TODO, and "
            typer.echo(printable(f"wrote {init_card}: {first}give it with --card {init_card}"))
        return
    if figures is not None:
        raise UsageError("--figures goes with --init-card, which writes them into a card; nothing was uploaded")
    plan = _plan(sources, of_directions, str(address), model, card)
    if dry_run or not as_json:
        _announce(plan, public, dry_run, as_json)
    if dry_run:
        return
    pushed = _send(plan, public, message, tag, bars=sys.stderr.isatty() and not as_json)
    _report(pushed, plan, tag, as_json)


def _plan(
    sources: list[str], of_directions: bool, address: str, model: Path | None, card: Path | None
) -> Plan | DirectionsPlan:
    if of_directions:
        return plan_directions(sources, address, model=model, card=card)
    if model is not None:
        raise UsageError("--model goes with directions: it is the model that they are for; nothing was uploaded")
    return plan_push(sources[0], address, card=card)


def _send(plan: Plan | DirectionsPlan, public: bool, message: str | None, tag: str | None, bars: bool) -> Pushed:
    bars = bars and not settings.quiet
    if isinstance(plan, Plan):
        return send_plan(plan, public=public, message=message, tag=tag, bars=bars)
    return send_directions(plan, public=public, message=message, tag=tag, bars=bars)


def _write_card(sources: list[str], of_directions: bool, card: Path | None, target: Path, figures: Path | None) -> bool:
    """Write a card to fill in; whether nothing in it is left to fill in."""
    if target.exists():
        raise UsageError(f"{target} exists, so it was left as it is; choose another --init-card")
    if of_directions and figures is not None:
        raise UsageError("--figures goes with a bundle; no card was written")
    text = directions_card(sources) if of_directions else card_for(sources[0], card, figures)
    write_text(target, text)
    return "TODO" not in text


def _announce(plan: Plan | DirectionsPlan, public: bool, dry_run: bool, as_json: bool) -> None:
    """Say what is uploaded, and for whom."""
    if as_json:
        files = [{"name": one.name, "bytes": one.size, "sha256": one.sha256} for one in plan.uploads]
        facts: dict[str, Any] = {"address": str(plan.address), "public": public, "files": files}
        print_json([facts], {**facts, "dry_run": True, "notes": list(plan.notes)})
        return
    if settings.quiet:
        return
    lines = [f"  {one.name:<40} {megabytes(one.size)}" for one in sorted(plan.uploads, key=lambda one: one.name)]
    seen = "everybody can see it" if public else "only you can see it; --public shows it to everybody"
    verb = "would upload" if dry_run else "uploading"
    head = f"{verb} {len(plan.uploads)} files, {megabytes(plan.size)}, to {plan.address} (if it is new, {seen})"
    for line in [head, *lines]:
        typer.echo(printable(line)) if dry_run else say(line)
    for note in plan.notes:
        say(f"note: {note}")


def _report(pushed: Pushed, plan: Plan | DirectionsPlan, tag: str | None, as_json: bool) -> None:
    if as_json:
        facts = {
            "address": str(pushed.address),
            "url": pushed.url,
            "private": pushed.private,
            "uploaded": list(pushed.uploaded),
            "removed": list(pushed.removed),
            "tag": tag,
        }
        print_json([facts], {**facts, "notes": list(plan.notes)})
        return
    done = f"{len(pushed.uploaded)} files uploaded" if pushed.uploaded else "the hub holds all of it already"
    done += f", {len(pushed.removed)} of the version before removed" if pushed.removed else ""
    typer.echo(printable(f"{plan.address} is at commit {str(pushed.address.revision)[:10]}; {done}"))
    typer.echo(printable(f"{'private' if pushed.private else 'public'}: {pushed.url}"))
