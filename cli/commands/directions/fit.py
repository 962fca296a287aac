"""`padinv directions fit`: a direction from labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.commands.directions import output
from padinv.cli.console import say
from padinv.cli.progress import progress_bar
from padinv.runtime.batch.labelled import encode, from_folders, from_table
from padinv.runtime.batch.sources import Reader
from padinv.runtime.editing.fit_direction import fit_direction
from padinv.runtime.editing.operations import Space
from padinv.runtime.errors import UsageError, exit_code
from padinv.runtime.model import Model

if TYPE_CHECKING:
    from padinv.runtime.batch.labelled import Labelled


def command(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the direction is called.")],
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="With --labels: pictures, inversion files or folders.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="CSV", help="Labels or scores; its column 'file' names pictures.")
    ] = None,
    column: Annotated[str | None, typer.Option("--column", help="Column of the CSV; default: NAME.")] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(
            "--positive",
            metavar="PATH|VALUE",
            help="Folder of pictures with the attribute; or with --labels the value that is the class.",
        ),
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option("--negative", metavar="PATH", help="Folder of pictures without the attribute.")
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option("--control", metavar="COLUMN", help="Column whose effect is taken out; may be repeated."),
    ] = None,
    space: Annotated[Space, typer.Option("--space", help="Codes that are used and moved.")] = "both",
    shrinkage: Annotated[
        float,
        typer.Option(
            "--shrinkage", min=1e-6, help="Regularisation: less changes less of the picture, more changes it further."
        ),
    ] = 3.0,
    folds: Annotated[int, typer.Option("--folds", min=2, max=50, help="Folds of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the folds and of the choice of pictures.")] = 0,
    model: opt.ModelOption = None,
    out: output.OutOption = output.DEFAULT_OUT,
    origin: output.OriginOption = None,
    licence: output.LicenceOption = None,
    align: opt.AlignOption = "auto",
    fit: opt.FitOption = "crop",
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    backend: opt.BackendOption = "auto",
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Fit a direction to pictures with labels, and say how well held-out pictures are recognised.

    Two folders: padinv directions fit hat --positive with-hats/ --negative without/. A folder and a CSV:
    padinv directions fit smile photos/ --labels labels.csv --control age. Two classes are fitted by logistic
    regression, scores by ridge regression, on latents, padding or both.
    """
    path = output.target(out, name, overwrite)
    labelled = _labelled(name, paths, labels, column, positive, negative, control).sample(seed)
    reader = Reader.open(Model.load(model, backend, threads, "fp32"), align=align, fit=fit)
    with progress_bar("encoding", len(labelled.sources)) as bar:
        codes, known = encode(reader, labelled, batch, bar.advance)
    for problem in known.problems:
        say(problem)
    direction = fit_direction(
        codes, known.labels, space=space, controls=known.controls, shrinkage=shrinkage, folds=folds, seed=seed
    )
    if control:
        direction.info["origin"]["controls"] = control
    made = {**output.save(direction, path, licence, origin), "skipped": known.problems}
    output.report([made], as_json)
    raise typer.Exit(exit_code(usable=1, failed=len(known.problems)))


def _labelled(
    name: str,
    paths: list[str] | None,
    labels: Path | None,
    column: str | None,
    positive: list[str] | None,
    negative: list[str] | None,
    control: list[str] | None,
) -> Labelled:
    """The images and labels that the options name."""
    if labels is None:
        if not positive or not negative or paths or column or control:
            raise UsageError(
                "give two folders (--positive WITH --negative WITHOUT), or pictures with a CSV of labels (PATH... "
                "--labels CSV); --column and --control go with --labels"
            )
        return from_folders(positive, negative)
    if not paths or negative or len(positive or []) > 1:
        raise UsageError("with --labels give the pictures as PATH..., and at most one value as --positive")
    value = positive[0] if positive else None
    return from_table(paths, labels, column or name, positive=value, controls=control or [])
