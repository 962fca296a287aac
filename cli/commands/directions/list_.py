"""`padinv directions list`: what directions there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.commands.directions import output
from padinv.runtime.errors import exit_code

if TYPE_CHECKING:
    from padinv.runtime.bundle import Bundle


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE|DIR...]", help="Direction files, or hf:USER/NAME, to list too."),
    ] = None,
    model: opt.ModelOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """List the directions that a model ships, with what was measured of each, and those of files and folders."""
    from padinv.cli.console import say
    from padinv.runtime.bundle import read_bundle
    from padinv.runtime.editing.gallery import gallery_direction, gallery_names
    from padinv.runtime.errors import InputError, MismatchError
    from padinv.runtime.text import printable

    bundle = read_bundle(model)
    found = [
        {**output.facts(gallery_direction(bundle, name), ""), "name": name, "file": name}
        for name in gallery_names(bundle)
    ]
    problems = []
    for path in _files(files or []):
        try:
            found.append(_of_file(path, bundle))
        except (InputError, MismatchError) as error:
            problems.append(str(error))
            say(str(error))
    if as_json:
        typer.echo(json.dumps({"model": bundle.name, "directions": found, "skipped": problems}))
    elif not found:
        typer.echo(
            f"the model {bundle.name} ships no directions; make some with: padinv directions fit, sefa or import"
        )
    for one in [] if as_json else found:
        typer.echo(printable("  ".join(_line(one))))
    raise typer.Exit(exit_code(usable=len(found), failed=len(problems)))


def _files(paths: list[Path]) -> list[Path]:
    from padinv.runtime.editing.gallery import SUFFIX
    from padinv.runtime.hub.address import is_hub_address, parse_address
    from padinv.runtime.hub.directions import find_hub_directions

    hub = [one for path in paths if is_hub_address(path) for one in find_hub_directions(parse_address(path))]
    local = [path for path in paths if not is_hub_address(path)]
    return hub + [file for path in local for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]


def _of_file(path: Path, bundle: Bundle) -> dict[str, Any]:
    from padinv.runtime.editing.gallery import load_direction

    return output.facts(load_direction(bundle, str(path)), str(path))


def _line(one: dict[str, Any]) -> list[str]:
    """Name or file, space, accuracy, cost, licence, as far as they are known."""
    origin = one.get("origin")
    method = origin.get("method") if isinstance(origin, dict) else None
    parts = [f"{one['file']:<16}", f"{one.get('space') or 'both':<8}", f"{method or 'image pair':<20}"]
    parts += [text for text in (output.measured(one.get("accuracy")), output.measured(one.get("cost"))) if text]
    return [*parts, *([str(one["licence"])] if one.get("licence") else [])]
