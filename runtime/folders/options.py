"""Options that several calls on folders take. Each name is declared twice: for type checkers, and with its default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from padinv.runtime.alignment.aligner import Align
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER
from padinv.runtime.batch.engine import Event
from padinv.runtime.batch.sources import Reader
from padinv.runtime.images import Fit
from padinv.runtime.loading import load
from padinv.runtime.model import DEFAULT_BATCH, Model
from padinv.runtime.provenance.command_text import Command
from padinv.runtime.provenance.marking import Marking

if TYPE_CHECKING:
    from collections.abc import Sequence

OnEvent = Callable[[Event], None]


class FolderOptions(TypedDict, total=False):
    """What every call takes that runs a model on photographs or inversion files.

    Attributes:
        out: folder of the results.
        model: a loaded model, or what `padinv.load` takes. None: the built-in model.
        batch_size: images that go through the model at once.
        align: 'auto' aligns images that are not aligned yet, if the model expects aligned faces; 'always'; 'never'.
        landmarks: CSV file of landmarks, used instead of the face detector.
        face: which face to use if there are several; 1 is the largest.
        fit: how an image that is not square becomes one: 'crop' its middle, or 'pad' it with white.
        sheet, report: also write `contact-sheet.png` and `report.html`.
        overwrite: do everything again, and replace existing files.
        marking: how images say that they were edited or generated; None: by the command that does the same.
        on_event: called with every event of `padinv.runtime.batch.engine` while the work goes on. Without it, skipped
            inputs are warnings of the logger "padinv".
    """

    out: str | Path
    model: Model | str | Path | None
    batch_size: int
    align: Align
    landmarks: str | Path | None
    face: int
    fit: Fit
    sheet: bool
    report: bool
    overwrite: bool
    marking: Marking | None
    on_event: OnEvent | None


class PhotoOptions(FolderOptions, total=False):
    """What every call takes whose results belong to one photograph each: those of `FolderOptions`, and these.

    Attributes:
        paste_back: also write NAME.photo.png, the result in its photograph.
        feather: width of the paste-back seam, in fractions of the square.
        limit: take the first images only, by name.
        fps: folders hold the frames of a clip, in the order of their names, so many per second; None: separate images.
        smooth: over time, in clips: 0 is none, 1 the usual amount, more is smoother.
    """

    paste_back: bool
    feather: float
    limit: int | None
    fps: float | None
    smooth: float


class EditingOptions(PhotoOptions, total=False):
    """What every call takes that edits photographs: those of `PhotoOptions`, and these.

    Attributes:
        save_inversions: also write the results' latents and padding as inversion files.
    """

    save_inversions: bool


@dataclass(frozen=True, kw_only=True)
class FolderSettings:
    """`FolderOptions` with their defaults."""

    out: str | Path
    model: Model | str | Path | None = None
    batch_size: int = DEFAULT_BATCH
    align: Align = "auto"
    landmarks: str | Path | None = None
    face: int = 1
    fit: Fit = "crop"
    sheet: bool = False
    report: bool = False
    overwrite: bool = False
    marking: Marking | None = None
    on_event: OnEvent | None = None

    @property
    def folder(self) -> Path:
        """Of the results."""
        return Path(self.out)

    def reader(self) -> Reader:
        """The model, and how photographs become its squares.

        Raises:
            BundleError, InputError, UsageError.
        """
        return Reader.open(
            loaded_model(self.model), align=self.align, landmarks=self.landmarks, face=self.face, fit=self.fit
        )


@dataclass(frozen=True, kw_only=True)
class PhotoSettings(FolderSettings):
    """`PhotoOptions` with their defaults."""

    paste_back: bool = False
    feather: float = DEFAULT_FEATHER
    limit: int | None = None
    fps: float | None = None
    smooth: float = 1.0


@dataclass(frozen=True, kw_only=True)
class EditingSettings(PhotoSettings):
    """`EditingOptions` with their defaults."""

    save_inversions: bool = False


def marking_of(marking: Marking | None, model: Model, verb: str) -> Marking:
    """How the images of a model are marked, by default as results of a command."""
    return (marking or Marking.of(model.bundle, Command(verb))).of_model(model.bundle)


def loaded_model(model: Model | str | Path | None) -> Model:
    """A model as the calls take it."""
    return model if isinstance(model, Model) else load(model)


def comma_separated(values: str | Sequence[int] | None) -> str | None:
    """Numbers as a person types them: '4,8'."""
    return values if values is None or isinstance(values, str) else ",".join(map(str, values))
