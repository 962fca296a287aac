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
    openvino = "openvino"
    cuda = "cuda"
    trt = "trt"
    ort_trt = "ort-trt"
    coreml = "coreml"
    directml = "directml"
    rocm = "rocm"


class Precision(str, Enum):
    """What a model computes in."""

    auto = "auto"
    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"
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
        help="Execution backend. auto: CUDA if available, otherwise the processor. trt: the bundle's TensorRT engines.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="auto: as padinv bench saved it, or fp32. fp16 runs the bundle's half-precision graphs; bf16 (openvino) "
        "and tf32 (cuda) shorten the mantissa.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="DEVICE", help="Device of the backend: cuda:1, or GPU (openvino). Its first if omitted."
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Processor threads; one per physical core if left out.")
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

# The largest seed that numpy takes; torch takes larger ones, but a seed should mean the same everywhere.
MAX_SEED = (1 << 32) - 1
