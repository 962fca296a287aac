"""Options that several verbs share, so that they are called and explained alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli.provenance import marking
from padinv.runtime.alignment.aligner import Align
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER
from padinv.runtime.backends import BACKENDS, BackendName, PrecisionChoice
from padinv.runtime.batch.invert_files import ImageFormat
from padinv.runtime.images import Fit
from padinv.runtime.inversion import Dtype
from padinv.runtime.model import DEFAULT_BATCH, Model

__all__ = ["DEFAULT_BATCH", "DEFAULT_FEATHER"]  # the defaults of options below


def one_of(allowed: Sequence[str]) -> Callable[[list[str] | None], list[str] | None]:
    """A callback for an option that may be repeated: Typer knows no lists of Literals."""

    def check(values: list[str] | None) -> list[str] | None:
        for value in values or ():
            if value not in allowed:
                raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}")
        return values

    return check


ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="BUNDLE",
        help="A model bundle: its folder, a name that padinv models lists, or hf:USER/NAME[@REVISION]. The built-in "
        "model if omitted.",
    ),
]
BackendOption = Annotated[
    BackendName,
    typer.Option(
        "--backend",
        help="Execution backend. auto: CUDA if available, otherwise the processor. trt: the bundle's TensorRT engines.",
    ),
]
BackendsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        callback=one_of(BACKENDS),
        help="Use this backend only; may be repeated. All that are installed if omitted.",
    ),
]
PrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        help="auto: as padinv bench saved it, or fp32. fp16 runs the bundle's half-precision graphs; bf16 (openvino) "
        "and tf32 (cuda) shorten the mantissa.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="DEVICE", help="Device of the backend: cuda:1, or GPU (openvino). The first one if omitted."
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Processor threads; one per physical core if omitted.")
]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Pictures that go through the model at once.")]
FitOption = Annotated[
    Fit,
    typer.Option("--fit", help="How an image that is not square becomes one: crop its middle, or pad it with white."),
]
FormatOption = Annotated[ImageFormat, typer.Option("--format", help="Format of the pictures written.")]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Number format of the inversion files.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Do everything again, and replace existing files.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the results.")]
ReportFolderOption = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the report.")]
PictureOutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR|FILE",
        help="Folder of the results; or a .png, .jpg or .webp file for one picture, or - for standard output.",
    ),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Take the first N pictures only, by name.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, for scripts.")]

# The largest seed that numpy takes; torch takes larger ones, but a seed should mean the same everywhere.
MAX_SEED = (1 << 32) - 1

AlignOption = Annotated[
    Align,
    typer.Option(
        "--align",
        help="auto aligns images that are not aligned yet, if the model expects aligned faces; always skips "
        "images without a face.",
    ),
]
LandmarksOption = Annotated[
    Path | None,
    typer.Option(
        "--landmarks",
        metavar="CSV",
        help="Five landmarks per face (name, then x,y pairs) instead of the face detector.",
    ),
]
FaceOption = Annotated[
    int, typer.Option("--face", min=1, metavar="N", help="Which face to use if there are several; 1 is the largest.")
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
    bool, typer.Option("--report/--no-report", help="Write report.html, a page with before and after.")
]
SheetOption = Annotated[bool, typer.Option("--sheet/--no-sheet", help="Write contact-sheet.png.")]
SaveInversionsOption = Annotated[
    bool, typer.Option("--save-inversions", help="Also write the results' latents and padding as inversion files.")
]
FpsOption = Annotated[
    float | None,
    typer.Option(
        "--fps",
        metavar="N",
        help="Folders hold the frames of a clip, in the order of their names, N per second: one face is followed.",
    ),
]
SmoothOption = Annotated[
    float,
    typer.Option(
        "--smooth", min=0.0, max=100.0, help="Smoothing over time in clips: 0 is none, 1 is usual, 2 is smoother."
    ),
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


@dataclass(frozen=True, kw_only=True)
class Running:
    """Which model runs, and where."""

    model: ModelOption = None
    batch: BatchOption = DEFAULT_BATCH
    backend: BackendOption = "auto"
    precision: PrecisionOption = "auto"
    device: DeviceOption = None
    threads: ThreadsOption = None

    def load(self) -> Model:
        """The model.

        Raises:
            BundleError, UsageError
        """
        return Model.load(self.model, self.backend, self.threads, self.precision, self.device)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How photographs become aligned squares."""

    align: AlignOption = "auto"
    landmarks: LandmarksOption = None
    face: FaceOption = 1
    fit: FitOption = "crop"


@dataclass(frozen=True, kw_only=True)
class Common(Running, Reading):
    """What every command takes that runs a model on photographs and draws all results together."""

    sheet: SheetOption = True
    report: ReportOption = True
    overwrite: OverwriteOption = False
    as_json: JsonOption = False

    def keywords(self) -> dict[str, Any]:
        """What the calls of `padinv.runtime.folders` take of these; the model is loaded."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        own = {name: value for name, value in given.items() if name not in _NOT_FOR_CALLS}
        model = self.load()
        return {**own, "model": model, "batch_size": self.batch, "marking": marking(model.bundle)}


@dataclass(frozen=True, kw_only=True)
class Photos(Common):
    """Commands whose results belong to one photograph each."""

    paste_back: PasteBackOption = False
    feather: FeatherOption = DEFAULT_FEATHER
    limit: LimitOption = None
    fps: FpsOption = None
    smooth: SmoothOption = 1.0


@dataclass(frozen=True, kw_only=True)
class Editing(Photos):
    """Commands that edit photographs."""

    save_inversions: SaveInversionsOption = False


_NOT_FOR_CALLS = {"batch", "backend", "precision", "device", "threads", "as_json"}
