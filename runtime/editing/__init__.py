"""Editing as algebra on inversions; see `padinv.runtime.editing.operations` for the paper's sections."""

from __future__ import annotations

from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.layers import parse_layers
from padinv.runtime.editing.operations import (
    SPACES,
    Fixed,
    Space,
    apply,
    average,
    blend,
    difference,
    interpolate,
    interpolation_grid,
    moves,
    style_mixing,
)

__all__ = [
    "SPACES",
    "Direction",
    "Fixed",
    "Space",
    "apply",
    "average",
    "blend",
    "difference",
    "interpolate",
    "interpolation_grid",
    "moves",
    "parse_layers",
    "style_mixing",
]
