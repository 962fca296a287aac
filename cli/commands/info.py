"""`padinv info`: what a file or folder of padinv is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.console import say
from padinv.cli.info_summary import summary
from padinv.cli.json_output import print_json
from padinv.cli.output import save_sheet
from padinv.runtime.batch.sources import Reader
from padinv.runtime.describe import describe, is_own_file
from padinv.runtime.errors import BundleError, ExitCode
from padinv.runtime.hub.address import is_hub_address, parse_address
from padinv.runtime.hub.directions import find_direction
from padinv.runtime.model import Model
from padinv.runtime.model_names import find_model, is_model_name
from padinv.runtime.reports.padding_picture import padding_distance, padding_picture
from padinv.runtime.text import printable

DEFAULT_DRAWING = Path("padinv-out/padding.png")


def command(
    *,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PATH]",
            help="A model bundle, an inversion, a picture, a network file, a run folder, or a checkpoint of another "
            "project; or a model by name, such as hf:USER/NAME. The built-in model if omitted.",
        ),
    ] = None,
    padding: Annotated[
        str | None,
        typer.Option(
            "--padding", metavar="PICTURE|INVERSION", help="Draw the padding of a picture: its rings as maps."
        ),
    ] = None,
    model: opt.ModelOption = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PNG", help="With --padding: where the drawing goes.")
    ] = DEFAULT_DRAWING,
    overwrite: opt.OverwriteOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show everything that is known.")] = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Describe a padinv file or folder, or a checkpoint of another project; with --padding, draw the padding space.

    Of a picture it says what the file records about how it was made: digital source type, command, model, C2PA.

    The drawing shows how far each padding position of a picture is from the generator's average image, per resolution.
    """
    if padding is not None:
        _draw_padding(padding, path or model, out, overwrite, as_json)
        return

    if path is None or is_hub_address(path) or is_model_name(path):
        path = _find_named(path)
    if path.is_file() and not is_own_file(path):
        from padinv.checkpoints import describe as describe_checkpoint  # needs torch; padinv's own files do not

        facts = describe_checkpoint(path)
    else:
        facts = describe(path)
    damage = _damage(facts)
    if as_json:
        error = {"error": {"code": BundleError.code, "message": damage}} if damage else {}
        print_json([facts], {**facts, **error}, code=ExitCode.FAILED if damage else ExitCode.DONE)
    else:
        for line in lines(facts) if verbose else summary(facts):
            typer.echo(line)
    if damage:
        say(f"error: {damage}")
        raise typer.Exit(ExitCode.FAILED)


def _damage(facts: dict[str, Any]) -> str:
    """What is wrong with the files of a bundle; '' where they are whole."""
    if facts.get("intact") is not False:
        return ""
    problems = [entry["problem"] for entry in facts["files"].values() if entry["state"] != "ok"]
    return "; ".join(problems[:3]) + (f"; {len(problems) - 3} more" if len(problems) > 3 else "")


def _find_named(path: Path | None) -> Path:
    """The folder of a model by name, or the file of a direction of a hub."""
    if path is not None and is_hub_address(path) and parse_address(path).direction is not None:
        return find_direction(path)
    return find_model(path)


def _draw_padding(what: str, model: Path | None, out: Path, overwrite: bool, as_json: bool) -> None:
    """Draw the padding of a picture or inversion file, and print how large it is at each resolution."""
    reader = Reader.open(Model.load(model, "cpu"))
    loaded = reader.load(what)
    assert loaded.inversion is not None
    drawing = padding_picture(reader.model, loaded.inversion, loaded.source.name)
    made = save_sheet(out, drawing, overwrite=overwrite)
    distance = padding_distance(reader.model, loaded.inversion)
    code = ExitCode.DONE if made else ExitCode.FAILED
    facts = {name: {"mean": float(d.mean()), "largest": float(d.max())} for name, d in distance.items()}
    if as_json:
        file = made.get("sheet")
        print_json([{"file": file}] if file else [], {"padding": facts, "drawing": file}, code=code)
    else:
        for line in lines({name: f"mean {f['mean']:.3f}, largest {f['largest']:.3f}" for name, f in facts.items()}):
            typer.echo(line)
        if made:
            typer.echo(printable(f"open {out}"))
    raise typer.Exit(code)


def lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """A nested mapping as aligned 'key  value' lines."""
    width = max((len(key) for key in facts), default=0)
    out = []
    for name, value in facts.items():
        key = printable(str(name))  # names out of a file may hold anything
        label = key.replace("_", " ").ljust(width)
        if (
            isinstance(value, dict)
            and indent
            and value
            and not any(isinstance(v, (dict, list)) for v in value.values())
        ):
            out.append(f"{indent}{label}  {', '.join(f'{_plain(k)} {_plain(v)}' for k, v in value.items())}")
        elif isinstance(value, dict) and value:
            out.append(f"{indent}{key.replace('_', ' ')}")
            out += lines(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            out.append(f"{indent}{key.replace('_', ' ')}")
            out += [f"{indent}  {' '.join(f'{_plain(k)}={_plain(v)}' for k, v in entry.items())}" for entry in value]
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
