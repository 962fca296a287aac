"""What is done to a clip, and who hears how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER
from padinv.runtime.errors import UsageError
from padinv.runtime.inversion import Inversion
from padinv.runtime.provenance.marking import Marking

MAX_SMOOTH = 100.0


@dataclass(frozen=True, kw_only=True)
class ClipEdit:
    """What is done to the face of a clip.

    Attributes:
        edit: a batch of inversions -> variants, of which '' is the result. Must not depend on the batch's other images.
        recipe: what decides the result besides the clip, JSON-ready; `verb` is the command.
        name: of the result, without a suffix; None: the clip's own name.
        smooth: 0 is no smoothing over time, 1 the usual amount, more is smoother.
        feather: width of the seam in fractions of the square's side.
        passes: of iterative encoding; None: as many as the model's encoder was trained for.
        marking: how results say that they were edited; None: as results of the recipe's verb.
        inputs: names of what the result is made of, for the command that it records; only the clip, if left out.
    """

    edit: Callable[[Inversion], Mapping[str, Inversion]]
    recipe: Mapping[str, Any]
    name: str | None = None
    smooth: float = 1.0
    feather: float = DEFAULT_FEATHER
    passes: int | None = None
    marking: Marking | None = None
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.smooth <= MAX_SMOOTH:
            raise UsageError(f"smoothing must be between 0 (none) and {MAX_SMOOTH:g}, not {self.smooth:g}")


class Progress(Protocol):
    """Hears how far the work is."""

    def begin(self, what: str, total: int) -> None:
        """A stage of `total` frames begins."""

    def advance(self, count: int = 1) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def begin(self, what: str, total: int) -> None:
        pass

    def advance(self, count: int = 1) -> None:
        pass
