"""`padinv info`: what a file or folder of padinv is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.main import printable


def command(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A model bundle, an inversion, a network file, a run folder, or a checkpoint of another project; the "
            "built-in model if left out."
        ),
    ] = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Say what a file or folder of padinv is, and whether it is whole; or what a checkpoint from elsewhere holds."""
    from padinv.runtime.bundle import builtin_bundle
    from padinv.runtime.describe import describe, is_own_file

    if path is not None and path.is_file() and not is_own_file(path):
        from padinv.checkpoints import describe as describe_checkpoint  # needs torch; padinv's own files do not

        facts = describe_checkpoint(path)
    else:
        facts = describe(builtin_bundle() if path is None else path)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        for line in lines(facts):
            typer.echo(line)
    if facts.get("intact") is False:
        from padinv.runtime.errors import BundleError

        damaged = [name for name, entry in facts["files"].items() if entry["state"] != "ok"]
        raise BundleError(f"{', '.join(damaged)} of this bundle changed since it was written; copy or export it again")


def lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """A nested mapping as aligned 'key  value' lines."""
    width = max((len(key) for key in facts), default=0)
    out = []
    for key, value in facts.items():
        label = key.replace("_", " ").ljust(width)
        if (
            isinstance(value, dict)
            and indent
            and value
            and not any(isinstance(v, (dict, list)) for v in value.values())
        ):
            out.append(f"{indent}{label}  {', '.join(f'{k} {_plain(v)}' for k, v in value.items())}")
        elif isinstance(value, dict) and value:
            out.append(f"{indent}{key.replace('_', ' ')}")
            out += lines(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            out.append(f"{indent}{key.replace('_', ' ')}")
            out += [f"{indent}  {' '.join(f'{k}={_plain(v)}' for k, v in entry.items())}" for entry in value]
        else:
            out.append(f"{indent}{label}  {_plain(value)}")
    return out


def _plain(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return printable(str(value))
