"""What a refinement by optimisation looks like to the torch-free runtime: settings, a protocol and its results.

The optimisation itself needs torch: `padinv.refiner.Refiner`. Whoever has torch passes one to `Model.invert` or to the
batch engine, which never import it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from padinv.runtime.errors import UsageError

if TYPE_CHECKING:
    from padinv.runtime.inversion import Inversion
    from padinv.runtime.model import Model

MAX_STEPS = 100_000
_BUDGET = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>s?)\Z")


@dataclass(frozen=True)
class Budget:
    """How long to refine a picture: a number of steps, or a time.

    Attributes:
        steps: of the optimiser; None where the time decides.
        seconds: for each picture, of a batch on average; None where the steps decide.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise UsageError("a refinement is given steps or seconds")
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise UsageError(f"a refinement takes 1 to {MAX_STEPS:,} steps, not {self.steps}")
        if self.seconds is not None and not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise UsageError(f"a refinement takes more than 0 seconds, not {self.seconds:g}")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """'30' (steps) or '5s' (seconds for each picture).

        Raises:
            UsageError: neither.
        """
        found = _BUDGET.match(text.strip())
        if found is None or (not found["unit"] and "." in found["number"]):
            raise UsageError(f"--refine takes a number of steps, like 30, or a time, like 5s, not {text[:40]!r}")
        return cls(seconds=float(found["number"])) if found["unit"] else cls(steps=int(found["number"]))

    def __str__(self) -> str:
        return f"{self.seconds:g}s" if self.steps is None else str(self.steps)


@dataclass
class Refined:
    """A refinement's result.

    Attributes:
        inversion: the refined codes and padding.
        facts: one mapping an image, JSON-ready: `steps`; `stopped`, 'end', 'gain' or 'usable'; `edits`, how far the
            effect of edits is from what it was, 0 for not at all.
    """

    inversion: Inversion
    facts: list[dict[str, Any]] = field(default_factory=list)


class Refiner(Protocol):
    """Improves inversions; see `padinv.refiner.Refiner`."""

    @property
    def conditions(self) -> dict[str, Any]:
        """Everything that decides its results, JSON-ready."""
        ...

    def check(self, model: Model) -> None:
        """Say whether it can refine inversions of this model, before anything is done.

        Raises:
            PadInvError: weights or packages are missing.
        """
        ...

    def refine(
        self, model: Model, inversion: Inversion, x: np.ndarray, progress: Callable[[float], None] = lambda done: None
    ) -> Refined:
        """Refine inversions of images [N, 3, S, S] in [-1, 1]; `progress` hears the share that is done, 0 to 1."""
        ...
