"""What the commands that make directions have in common: where they write, and what they print."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli.json_output import print_json, skipped_input
from padinv.runtime.editing.gallery import SUFFIX, check_name
from padinv.runtime.errors import UsageError, exit_code
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.runtime.editing.direction import Direction

DEFAULT_OUT = Path("padinv-out/directions")

OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder that the direction files go to.")]
LicenceOption = Annotated[
    str | None, typer.Option("--licence", help="Licence of the data or file that the direction comes from.")
]
OriginOption = Annotated[str | None, typer.Option("--origin", help="Where the data or file comes from.")]


def target(out: Path, name: str, overwrite: bool) -> Path:
    """The file that a direction goes to.

    Raises:
        UsageError: a name that cannot be one, or a file that exists.
    """
    path = out / f"{check_name(name)}{SUFFIX}"
    if os.path.lexists(path) and not overwrite:
        raise UsageError(
            f"{path} exists, so nothing was done; choose another name or --out, or allow it with --overwrite"
        )
    return path


def save(direction: Direction, path: Path, licence: str | None, origin: str | None) -> dict[str, Any]:
    """Write a direction; the facts about it."""
    if licence is not None:
        direction.info["licence"] = licence[:500]
    if origin is not None:
        direction.info["source"] = origin[:500]
    direction.info["name"] = path.stem
    direction.save(path)
    return facts(direction, str(path))


def facts(direction: Direction, path: str) -> dict[str, Any]:
    """What a direction says about itself, JSON-ready."""
    return {"file": path, **direction.info, "generator_hash": direction.generator_hash}


def report(made: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Print what was made."""
    if as_json:
        lost = [skipped_input(sentence) for one in made for sentence in one.get("skipped", ())]
        code = exit_code(usable=len(made), failed=len(lost))
        print_json(made, {"directions": made}, code=code, skipped=lost)
        return
    for one in made:
        accuracy = measured(one.get("accuracy"))
        typer.echo(printable(f"{one['file']}  {one.get('space', '')}{f'  {accuracy}' if accuracy else ''}"))
    typer.echo(printable(f"apply it with: padinv edit {made[0]['file']} PICTURE"))


def measured(values: Any) -> str:
    """'balanced accuracy 0.91, auc 0.95' of the numbers in a mapping; '' of anything else."""
    if not isinstance(values, dict):
        return ""
    numbers = {key: value for key, value in values.items() if isinstance(value, float)}
    return ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in numbers.items())
