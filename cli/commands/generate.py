"""`padinv generate`: pictures from seeds or from saved inversions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.option_groups import grouped
from padinv.cli.output import EventPrinter, sum_up
from padinv.cli.provenance import marking
from padinv.runtime.batch.generate_files import parse_seeds
from padinv.runtime.errors import UsageError
from padinv.runtime.folders.generate import DEFAULT_OUT, generate_images, render_inversions


@grouped
def command(
    *,
    how: opt.Running,
    inversions: Annotated[
        list[Path] | None, typer.Argument(metavar="[INVERSION...]", help="Inversion files to render instead of seeds.")
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Seeds, like 0-15 or 1,5,9; 0-15 if omitted.")] = None,
    truncation: Annotated[
        float, typer.Option("--truncation", help="Truncation psi: 1 is off, 0 gives the average image.")
    ] = 1.0,
    out: opt.PictureOutOption = DEFAULT_OUT,
    save_inversions: Annotated[
        bool, typer.Option("--save-inversions", help="Also write the latents as inversion files.")
    ] = False,
    sheet: opt.SheetOption = True,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Sample pictures from the generator, or render saved inversions.

    Seed s stands for numpy.random.RandomState(s).randn(1, z_dim), as in StyleGAN2's own tools; its picture is
    seed-000s.png.
    """
    if inversions and seeds is not None:
        raise UsageError("give either inversion files or --seeds, not both")
    if inversions and save_inversions:
        raise UsageError("--save-inversions goes with --seeds: the inversions given are files already")
    chosen = [] if inversions else parse_seeds(seeds if seeds is not None else "0-15")
    model = how.load()
    with EventPrinter(as_json=as_json) as show:
        common: dict[str, Any] = {
            "out": out,
            "model": model,
            "batch_size": how.batch,
            "sheet": sheet,
            "overwrite": overwrite,
            "marking": marking(model.bundle),
            "on_event": show,
        }
        if inversions:
            result = render_inversions(inversions, **common)
        else:
            result = generate_images(chosen, truncation=truncation, save_inversions=save_inversions, **common)
    raise typer.Exit(sum_up(result, "generated", as_json=as_json))
