"""Options that the editing verbs share, so that they are called and explained alike."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Align(str, Enum):
    """Which pictures are aligned by their face before they are inverted."""

    auto = "auto"
    always = "always"
    never = "never"


class Space(str, Enum):
    """What an interpolation moves."""

    padding = "padding"
    latent = "latent"
    both = "both"


class EditSpace(str, Enum):
    """What a custom edit moves."""

    auto = "auto"
    each = "each"
    padding = "padding"
    latent = "latent"
    both = "both"


AlignOption = Annotated[
    Align,
    typer.Option(
        "--align",
        help="auto aligns pictures that are not aligned yet, as far as the model wants aligned faces; always refuses "
        "pictures without a face.",
    ),
]
LandmarksOption = Annotated[
    Path | None,
    typer.Option(
        "--landmarks", metavar="CSV", help="Five landmarks a face (name, then x,y pairs) instead of the face detector."
    ),
]
FaceOption = Annotated[
    int, typer.Option("--face", min=1, metavar="N", help="Of several faces the Nth; 1 is the largest.")
]
PasteBackOption = Annotated[
    bool, typer.Option("--paste-back", help="Also write NAME.photo.png: the result in its photograph.")
]
FeatherOption = Annotated[
    float,
    typer.Option("--feather", min=0.01, max=0.5, help="Width of the paste-back seam, in fractions of the square."),
]
StrengthOption = Annotated[
    float, typer.Option("--strength", help="How far to go: 0 changes nothing, 1 all the way; beyond exaggerates.")
]
ReportOption = Annotated[
    bool, typer.Option("--report", help="Also write report.html, with a slider between before and after.")
]
SheetOption = Annotated[bool, typer.Option("--sheet/--no-sheet", help="Write contact-sheet.png.")]
SaveInversionsOption = Annotated[
    bool, typer.Option("--save-inversions", help="Also write the results' latents and padding as inversion files.")
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="NAME|PICTURE",
        help="Where the padding may move: left, right, top, bottom, border, centre, or a mask picture (white moves; "
        "square, as the aligned face, or of the photograph's size).",
    ),
]
ResolutionsOption = Annotated[
    str | None,
    typer.Option("--resolutions", metavar="LIST", help="At which resolutions the padding may move, like 4,8."),
]
