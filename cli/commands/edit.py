"""`padinv edit`: named directions, or direction files, applied to photographs, folders or inversion files."""

from __future__ import annotations

from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.option_groups import grouped
from padinv.cli.output import EventPrinter, sum_up
from padinv.runtime.editing.gallery import parse_strengths
from padinv.runtime.editing.operations import Space
from padinv.runtime.folders.edit import DEFAULT_OUT, edit_folder


@grouped
def command(
    *,
    directions: Annotated[
        str,
        typer.Argument(
            metavar="NAME[=S][,NAME=S...]|FILE",
            help="Directions of the model (see padinv directions list) or direction files, with relative strengths; or "
            "an edit that padinv studio saved.",
        ),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, inversion files, folders or clips; - is standard input."),
    ],
    how: opt.Editing,
    strength: Annotated[
        str,
        typer.Option(
            "--strength",
            metavar="S|S,S|FIRST:LAST:COUNT",
            help="How far to go; several strengths like -1:1:5 make several pictures. 1 is one standard deviation.",
        ),
    ] = "1",
    each: Annotated[
        bool, typer.Option("--each", help="Also apply each direction alone, for a sheet with one column per direction.")
    ] = False,
    space: Annotated[
        Space | None, typer.Option("--space", help="Move only this space; default: each direction's own.")
    ] = None,
    region: opt.RegionOption = None,
    resolutions: opt.ResolutionsOption = None,
    out: opt.PictureOutOption = DEFAULT_OUT,
) -> None:
    """Edit pictures along directions: padinv edit smile me.jpg.

    Several directions are combined: padinv edit smile=0.8,age=-0.3 photos/. The result is NAME.png. With several
    strengths the last one is NAME.png, and the others are NAME.STRENGTH.png; with --each, NAME.DIRECTION.png is each
    direction alone (Fig. 4 of the paper). A video file, or a folder of frames with --fps, is edited as one clip, and
    the result is pasted back into it.
    """
    with EventPrinter() as show:
        result = edit_folder(
            directions,
            paths,
            strength=parse_strengths(strength),
            space=space,
            each=each,
            region=region,
            resolutions=resolutions,
            out=out,
            on_event=show,
            **how.keywords(),
        )
    raise typer.Exit(sum_up(result, "edited", as_json=how.as_json))
