"""`padinv directions list`: what directions there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.commands.directions import output
from padinv.cli.console import say
from padinv.cli.json_output import print_json, skipped_input
from padinv.runtime.bundle import read_bundle
from padinv.runtime.editing.gallery import SUFFIX, gallery_direction, gallery_names, load_direction
from padinv.runtime.errors import InputError, MismatchError, exit_code
from padinv.runtime.hub.address import is_hub_address, parse_address
from padinv.runtime.hub.directions import find_hub_directions
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.runtime.bundle import Bundle


def command(
    *,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE|DIR...]", help="Direction files, or hf:USER/NAME, to list too."),
    ] = None,
    model: opt.ModelOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """List the directions that a model ships, with what was measured of each, and those of files and folders."""
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
            problems.append(skipped_input(str(error), str(path), error.code))
            say(str(error))
    code = exit_code(usable=len(found), failed=len(problems))
    if as_json:
        print_json(found, {"model": bundle.name, "directions": found}, code=code, skipped=problems)
    elif not found:
        typer.echo(
            f"the model {bundle.name} ships no directions; make some with: padinv directions fit, sefa or import"
        )
    for one in [] if as_json else found:
        typer.echo(printable("  ".join(_line(one))))
    raise typer.Exit(code)


def _files(paths: list[Path]) -> list[Path]:
    hub = [one for path in paths if is_hub_address(path) for one in find_hub_directions(parse_address(path))]
    local = [path for path in paths if not is_hub_address(path)]
    return hub + [file for path in local for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]


def _of_file(path: Path, bundle: Bundle) -> dict[str, Any]:
    return output.facts(load_direction(bundle, str(path)), str(path))


def _line(one: dict[str, Any]) -> list[str]:
    """Name or file, space, accuracy, cost, licence, as far as they are known."""
    origin = one.get("origin")
    method = origin.get("method") if isinstance(origin, dict) else None
    parts = [f"{one['file']:<16}", f"{one.get('space') or 'both':<8}", f"{method or 'image pair':<20}"]
    parts += [text for text in (output.measured(one.get("accuracy")), output.measured(one.get("cost"))) if text]
    return [*parts, *([str(one["licence"])] if one.get("licence") else [])]
