"""A region of the picture as weights on padding positions: where the padding may move, and at what resolutions.

The ring of resolution r lies around an r x r map that covers the whole picture, so each of its 4r+4 positions belongs
to a place at the picture's border, and each of the constant's 4 x 4 cells to a sixteenth of the picture.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from padinv.runtime.errors import UsageError
from padinv.runtime.files import sha256_bytes
from padinv.runtime.inversion import Inversion
from padinv.runtime.spec import ModelSpec

NAMED = ("left", "right", "top", "bottom", "border", "centre")
MASK_SIDE = 256  # of the masks that named regions stand for


@dataclass(frozen=True, eq=False)
class Region:
    """Weights in [0, 1] of padding positions: 0 stays as it was, 1 moves.

    Attributes:
        weights: 'const' -> [4, 4], 'pad_r' -> [4r+4] in the order of a ring, 'spatial_r' -> [r, r]; float32.
    """

    weights: dict[str, np.ndarray]

    def limit(self, before: Inversion, after: Inversion) -> Inversion:
        """`after`, whose padding keeps the values of `before` outside the region. Latents are those of `after`.

        Args:
            before, after: batches of one length, or `before` of length 1.
        """
        after = after.with_spatial_of(before)
        arrays = dict(after.arrays())
        start = before.with_spatial_of(after).arrays()
        for name, weight in self.of(arrays).items():
            arrays[name] = start[name] + weight * (arrays[name] - start[name])
        return Inversion.from_arrays(arrays, after.generator_hash, [dict(item) for item in after.items])

    def of(self, names: Collection[str]) -> dict[str, np.ndarray]:
        """The weights of the arrays called `names`: an inversion need not hold a spatial code."""
        return {name: weight for name, weight in self.weights.items() if name in names}

    def fingerprint(self) -> str:
        """Changes with the weights."""
        return sha256_bytes(b"".join(weight.astype(np.float32).tobytes() for weight in self.weights.values()))


def region_of_mask(mask: np.ndarray, spec: ModelSpec, resolutions: Sequence[int] | None = None) -> Region:
    """The region of a picture's mask.

    Args:
        mask: [S, S] in [0, 1], 1 inside; it covers the aligned square. S is a multiple of every padded resolution.
        resolutions: padded resolutions that move, inside the mask; 4 includes the constant, and a resolution with a
            spatial code includes it. None: all.

    Raises:
        UsageError: a resolution that has no padding, or a mask that leaves nothing to move.
    """
    allowed = set(spec.pad_resolutions if resolutions is None else resolutions)
    if wrong := sorted(allowed - set(spec.pad_resolutions)):
        there = ", ".join(map(str, spec.pad_resolutions))
        raise UsageError(f"resolution {wrong[0]} has no padding coefficients; this model has them at {there}")
    weights = {"const": _cells(mask, 4) * np.float32(4 in allowed)}
    for r in spec.pad_resolutions:
        weights[f"pad_{r}"] = _ring(_cells(mask, r)) * np.float32(r in allowed)
    for r in spec.spatial_resolutions:  # one above the padded resolutions goes with the finest of these
        weights[f"spatial_{r}"] = _cells(mask, r) * np.float32(min(r, max(spec.pad_resolutions)) in allowed)
    if max(weight.max() for weight in weights.values()) <= 0:
        raise UsageError("no padding position lies inside the region at these resolutions, so nothing would move")
    return Region(weights)


def named_mask(name: str) -> np.ndarray:
    """The mask of a region's name: a half of the picture, its `centre` (the middle half of each side) or its `border`.

    Returns:
        [MASK_SIDE, MASK_SIDE], 0 or 1. 'left' is the picture's left.

    Raises:
        UsageError: another name.
    """
    if name not in NAMED:
        raise UsageError(f"{name!r} is not a region; use {', '.join(NAMED)}, or a mask picture")
    centre = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    x, y = np.meshgrid(centre, centre)
    middle = (np.abs(x - 0.5) < 0.25) & (np.abs(y - 0.5) < 0.25)
    inside = {"left": x < 0.5, "right": x > 0.5, "top": y < 0.5, "bottom": y > 0.5, "border": ~middle, "centre": middle}
    return inside[name].astype(np.float32)


def parse_resolutions(text: str, spec: ModelSpec) -> list[int]:
    """'4,8' -> [4, 8].

    Raises:
        UsageError: not of this form, or a resolution without padding coefficients.
    """
    there = ", ".join(map(str, spec.pad_resolutions))
    chosen = []
    for part in text.split(","):
        if not part.strip().isdigit() or int(part) not in spec.pad_resolutions:
            raise UsageError(
                f"{part.strip()[:20]!r} is not a resolution with padding coefficients; this model has {there}"
            )
        chosen.append(int(part))
    return sorted(set(chosen))


def ring_positions(resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of a ring's positions in the (r+2) x (r+2) map, in the ring's order."""
    r = resolution
    across, down = np.arange(r + 2), np.arange(1, r + 1)
    rows = np.concatenate([np.zeros(r + 2, int), np.full(r + 2, r + 1), down, down])
    columns = np.concatenate([across, across, np.zeros(r, int), np.full(r, r + 1)])
    return rows, columns


def _cells(mask: np.ndarray, r: int) -> np.ndarray:
    """The mask's mean over each cell of an r x r grid, float32 [r, r]."""
    side = mask.shape[0]
    if mask.shape != (side, side) or side % r:
        raise UsageError(f"a mask of shape {list(mask.shape)} cannot be divided into {r} x {r} cells")
    result: np.ndarray = mask.reshape(r, side // r, r, side // r).mean(axis=(1, 3)).astype(np.float32)
    return result


def _ring(cells: np.ndarray) -> np.ndarray:
    """Weights of the ring around a map of cells: each position takes the cell it touches."""
    r = len(cells)
    rows, columns = ring_positions(r)
    return np.ascontiguousarray(np.pad(cells, 1, mode="edge")[rows, columns])
