"""`padinv interpolate`: the way from one picture to another, or from the average image, in one space or both."""

from __future__ import annotations

from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.option_groups import grouped
from padinv.cli.output import EventPrinter, sum_up
from padinv.runtime.editing.operations import Fixed, Space
from padinv.runtime.folders.interpolate import DEFAULT_OUT, interpolate_folder


@grouped
def command(
    *,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="A B", help="Two pictures or inversion files; with --from-average any number of ends."
        ),
    ],
    how: opt.Common,
    space: Annotated[
        Space | None,
        typer.Option("--space", help="What moves; the other space stays. Default: both; with --from-average: padding."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, max=1000, help="Pictures, both ends included.")] = 9,
    from_average: Annotated[
        bool, typer.Option("--from-average", help="Start at the generator's average image (Fig. 5 of the paper).")
    ] = False,
    fixed: Annotated[
        Fixed | None,
        typer.Option("--fixed", help="Which end supplies the space that does not move (default: first; with "
                     "--from-average that is the average image)."),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(
            "--grid", min=2, max=32, metavar="N", help="Also write NAME.grid.png: N latents down, N paddings across."
        ),
    ] = None,
    region: opt.RegionOption = None,
    resolutions: opt.ResolutionsOption = None,
    milliseconds: Annotated[
        int, typer.Option("--milliseconds", min=10, max=10_000, help="Time of a step in the animation.")
    ] = 120,
    frames: Annotated[bool, typer.Option("--frames", help="Also write every step as a picture.")] = False,
    out: opt.OutOption = DEFAULT_OUT,
    save_inversions: opt.SaveInversionsOption = False,
) -> None:  # fmt: skip
    """Interpolate between two pictures: A--B.png, a strip, and A--B.webp, an endless animation.

    With --space padding the latents stay and the form changes; with --space latent the padding stays and the style
    changes (Fig. 6 and 7 of the paper).
    """
    with EventPrinter() as show:
        result = interpolate_folder(
            paths,
            from_average=from_average,
            space=space,
            steps=steps,
            fixed=fixed,
            grid=grid,
            frames=frames,
            milliseconds=milliseconds,
            region=region,
            resolutions=resolutions,
            save_inversions=save_inversions,
            out=out,
            on_event=show,
            **how.keywords(),
        )
    raise typer.Exit(sum_up(result, "interpolated", as_json=how.as_json))
