"""`padinv directions show`: a strip per direction, and what a unit of it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.json_output import print_json
from padinv.cli.output import save_sheet
from padinv.cli.provenance import marking
from padinv.runtime.batch.sources import Reader, find_sources
from padinv.runtime.editing.direction_cost import picture_change
from padinv.runtime.editing.gallery import Term, gallery_names, load_direction, parse_strengths
from padinv.runtime.editing.operations import apply
from padinv.runtime.errors import ExitCode, InputError
from padinv.runtime.model import Model
from padinv.runtime.reports.contact_sheet import contact_sheet
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.runtime.batch.sources import Reader
    from padinv.runtime.editing.gallery import Term
    from padinv.runtime.inversion import Inversion

DEFAULT_OUT = Path("padinv-out/directions.png")
SEEDS = 8  # faces that the generator draws, where no pictures are given


def command(
    *,
    directions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|FILE...]", help="Directions; all that the model ships if omitted."),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="PATH", help="Pictures to show them on; default: faces of the generator."),
    ] = None,
    strength: Annotated[
        str, typer.Option("--strength", metavar="FIRST:LAST:COUNT", help="Strengths of the strip.")
    ] = "-3:3:7",
    model: opt.ModelOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PNG", help="Picture of the strips.")] = DEFAULT_OUT,
    align: opt.AlignOption = "auto",
    fit: opt.FitOption = "crop",
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    backend: opt.BackendOption = "auto",
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Show what directions do: one strip per direction, and how much a unit changes the face and what is around it.

    The figures are mean squared changes of the picture on [-1, 1] at a strength of 1 over all pictures; the strip shows
    the first picture.
    """
    strengths = parse_strengths(strength)
    reader = Reader.open(Model.load(model, backend, threads, "fp32"), align=align, fit=fit)
    names = directions or gallery_names(reader.model.bundle)
    if not names:
        raise InputError(f"the model {reader.model.bundle.name} ships no directions; name direction files")
    terms = [Term(name, load_direction(reader.model.bundle, name)) for name in names]
    codes = _codes(reader, on or [], batch)
    rows, facts = [], []
    for term in terms:
        space = term.direction.space or "both"
        moved = [apply(codes[0], term.direction, space, s) for s in strengths]  # type: ignore[arg-type]
        rows.append((term.label, [reader.model.generate(one)[0] for one in moved]))
        change = picture_change(reader.model, codes, term.direction, batch_size=batch)
        facts.append({"name": term.label, "space": space, "face": change.face, "background": change.background})
    drawing = contact_sheet(rows, [f"{s:+g}" for s in strengths], "directions")
    made = save_sheet(out, drawing, overwrite=overwrite, marking=marking(reader.model.bundle))
    _print(terms, facts, made, as_json)
    raise typer.Exit(_code(made))


def _codes(reader: Reader, paths: list[str], batch: int) -> Inversion:
    """Inversions of the given pictures, or of faces that the generator draws and the encoder sees."""
    if not paths:
        drawn = reader.model.sample(range(SEEDS), 0.7)
        return reader.model.encode(reader.model.generate_for_encoder(drawn, batch), batch)
    sources, problems = find_sources(paths)
    if not sources:
        raise InputError(f"{'; '.join(problems) or f'no pictures found in {paths[0]}'}; nothing was done")
    return reader.encode([reader.read(source) for source in sources[:64]], batch)


def _code(made: dict[str, str]) -> ExitCode:
    return ExitCode.DONE if made else ExitCode.FAILED


def _print(terms: list[Term], facts: list[dict[str, Any]], made: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(facts, {"directions": facts, "sheet": made.get("sheet")}, code=_code(made))
        return
    for term, fact in zip(terms, facts, strict=True):
        cost = f"change per unit: face {fact['face']:.5f}, background {fact['background']:.5f}"
        typer.echo(printable(f"{term.label:<16}  {fact['space']:<8}  {cost}"))
    if made:
        typer.echo(printable(f"open {made['sheet']}"))
