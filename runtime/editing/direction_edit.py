"""What `padinv edit` makes of a batch: directions at one or several strengths, together or each alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.gallery import Term, combined, parse_edit
from padinv.runtime.editing.operations import SPACES, Space, apply
from padinv.runtime.editing.region import Region
from padinv.runtime.errors import UsageError
from padinv.runtime.files import sha256_bytes
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Variant:
    """One picture of an edit: what is added, how strongly, and what it is called in file names and on sheets."""

    name: str
    label: str
    direction: Direction
    strength: float


@dataclass(frozen=True, kw_only=True)
class DirectionEdit:
    """Directions to apply to any number of images.

    Attributes:
        terms: the directions with their relative strengths.
        strengths: overall strengths. The last one makes the result, whose variant is called ''.
        each: also apply each direction alone.
        space: restrict every direction to one space; None: each in its own.
        region: where the padding may move; None: everywhere.
    """

    terms: Sequence[Term]
    strengths: Sequence[float] = (1.0,)
    each: bool = False
    space: Space | None = None
    region: Region | None = None
    plan: tuple[Variant, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.space is not None and self.space not in SPACES:
            raise UsageError(f"space must be one of {', '.join(SPACES)}, not {self.space!r}")
        if not self.strengths or len(set(self.strengths)) != len(self.strengths):
            raise UsageError("give each strength once")
        object.__setattr__(self, "plan", tuple(self._plan()))

    def _plan(self) -> list[Variant]:
        whole = combined(self.terms)
        last = self.strengths[-1]
        plan = []
        if self.each and len(self.terms) > 1:
            for number, term in enumerate(self.terms):
                stem = _NOT_IN_NAMES.sub("-", term.label)[:48].strip("-") or f"direction-{number + 1}"
                direction = combined([term])
                for s in self.strengths:
                    suffix = "" if len(self.strengths) == 1 else f"{s:+g}"
                    plan.append(Variant(f"{stem}{suffix}", f"{term.label} {s * term.strength:+g}", direction, s))
        plan += [Variant(f"{s:+g}", f"{s:+g}", whole, s) for s in self.strengths[:-1]]
        label = whole.name if len(self.strengths) == 1 else f"{last:+g}"
        plan.append(Variant("", label, whole, last))
        if len({variant.name for variant in plan}) != len(plan):
            raise UsageError("two of these directions have the same name in file names; rename one of the files")
        return plan

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of what `__call__` gives, the result '' first."""
        return ("", *(variant.name for variant in self.plan if variant.name))

    def __call__(self, inversion: Inversion) -> dict[str, Inversion]:
        """A batch -> variant -> edited batch.

        Raises:
            MismatchError: an inversion of another generator.
        """
        made = {}
        for variant in self.plan:
            after = apply(inversion, variant.direction, self.space or "both", variant.strength)
            made[variant.name] = after if self.region is None else self.region.limit(inversion, after)
        return made

    def recipe(self) -> dict[str, Any]:
        """What decides the results besides the images, JSON-ready."""
        return {
            "directions": [[term.strength, fingerprint(term.direction)] for term in self.terms],
            "strengths": list(self.strengths),
            "each": self.each,
            "space": self.space,
            "region": None if self.region is None else self.region.fingerprint(),
        }


def edit(model: Model, inversion: Inversion, directions: str, strength: float = 1.0) -> Inversion:
    """Apply directions of a model, or direction files, to a batch: what `padinv edit` does.

    Args:
        directions: as on the command line: 'smile', 'smile=0.8,age=-0.3' or a file.
        strength: overall; 1 is one unit of each direction.

    Raises:
        UsageError, InputError, MismatchError: see `parse_edit`.

    Example:
        m.generate(edit(m, m.invert(photos), "smile=0.8,age=-0.3"))
    """
    terms = parse_edit(directions, model.bundle)
    return DirectionEdit(terms=terms, strengths=(strength,))(inversion)[""]


def fingerprint(direction: Direction) -> str:
    """Changes with a direction's values and with the space it is applied in."""
    values = b"".join(np.ascontiguousarray(array).tobytes() for array in direction.arrays().values())
    return sha256_bytes(values + (direction.space or "").encode())
