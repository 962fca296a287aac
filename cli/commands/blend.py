"""`padinv blend`: the facial features of one picture in the shape, hair and background of another."""

from __future__ import annotations

from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.option_groups import grouped
from padinv.cli.output import EventPrinter, sum_up
from padinv.runtime.folders.blend import DEFAULT_OUT, blend_folder


@grouped
def command(
    *,
    a: Annotated[str, typer.Argument(metavar="A", help="Gives the facial features: a picture, inversion or folder.")],
    b: Annotated[
        list[str],
        typer.Argument(
            metavar="B...", help="Gives shape, hair and background: pictures, inversions, folders or clips."
        ),
    ],
    how: opt.Editing,
    out: opt.PictureOutOption = DEFAULT_OUT,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Latent codes taken from A, like 0-6 or 7-; all if omitted.")
    ] = None,
    strength: opt.StrengthOption = 1.0,
    style_mixing: Annotated[
        bool,
        typer.Option("--style-mixing", help="Also write the paper's comparison: B with the later latents of A (pSp)."),
    ] = False,
    region: opt.RegionOption = None,
    resolutions: opt.ResolutionsOption = None,
) -> None:
    """Blend faces: the latents of A with the padding of B (section 4.3 of the paper).

    One of A and B may be many: each of them is blended with the other. The result is called A--B.png; with --paste-back
    A--B.photo.png is it in the photograph of B. With --region or --resolutions the padding of B is used only there, and
    that of A elsewhere. B may be a clip (a video file, or a folder of frames with --fps); the blends are then pasted
    back into it.
    """
    with EventPrinter() as show:
        result = blend_folder(
            a,
            b,
            layers=layers,
            strength=strength,
            style_mixing=style_mixing,
            region=region,
            resolutions=resolutions,
            out=out,
            on_event=show,
            **how.keywords(),
        )
    raise typer.Exit(sum_up(result, "blended", as_json=how.as_json))
