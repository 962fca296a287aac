"""Options that several verbs share, so that they are called and explained alike."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Backend(str, Enum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    trt = "trt"


class Precision(str, Enum):
    """Which graphs of a bundle run."""

    fp32 = "fp32"
    fp16 = "fp16"


class Fit(str, Enum):
    """How a picture becomes square."""

    crop = "crop"
    pad = "pad"


class PictureFormat(str, Enum):
    """Format of the pictures written."""

    png = "png"
    jpg = "jpg"
    webp = "webp"


class Dtype(str, Enum):
    """Number format of inversion files."""

    float16 = "float16"
    float32 = "float32"


ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="BUNDLE", help="Folder of a model bundle; the built-in model if left out."),
]
BackendOption = Annotated[
    Backend,
    typer.Option(
        "--backend",
        help="Where the model runs; auto takes CUDA where it comes up, else the CPU. trt: the bundle's engines.",
    ),
]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="fp16 runs the bundle's half-precision graphs.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads; one a physical core if left out.")
]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Pictures that go through the model at once.")]
FitOption = Annotated[
    Fit, typer.Option("--fit", help="Picture that is not square: crop its middle, or pad it with white.")
]
FormatOption = Annotated[PictureFormat, typer.Option("--format", help="Format of the pictures written.")]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Number format of the inversion files.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Do everything again, and replace files that are in the way.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, for scripts.")]
