"""The ring: the one-pixel border that replaces a convolution's zero padding (paper section 3.2).

A ring around a map of side r holds 4r + 4 positions, in this order: top row (r + 2, left to right), bottom row
(r + 2, left to right), left column (r, top to bottom), right column (r, top to bottom).
"""

from __future__ import annotations

import torch
from torch import Tensor

from padinv.runtime.errors import MismatchError
from padinv.runtime.spec import ring_length


def extract_ring(padded: Tensor) -> Tensor:
    """The ring of a padded map: [N, C, r+2, r+2] -> [N, C, 4r+4]."""
    top, bottom = padded[:, :, 0, :], padded[:, :, -1, :]
    left, right = padded[:, :, 1:-1, 0], padded[:, :, 1:-1, -1]
    return torch.cat([top, bottom, left, right], dim=2)


def concat_ring(x: Tensor, ring: Tensor) -> Tensor:
    """Lay a ring around a map: x [N, C, r, r], ring [N, C, 4r+4] -> [N, C, r+2, r+2]; neither argument is written to.

    Raises:
        MismatchError: the ring's channels or length do not fit the map.
    """
    r = x.shape[-1]
    if ring.ndim != 3 or ring.shape[1] != x.shape[1] or ring.shape[2] != ring_length(r):
        raise MismatchError(
            f"the ring for {r} px must be [N, {x.shape[1]}, {ring_length(r)}], not {list(ring.shape)}; "
            "it was made for another generator"
        )
    top, bottom = ring[:, :, : r + 2], ring[:, :, r + 2 : 2 * r + 4]
    left, right = ring[:, :, 2 * r + 4 : 3 * r + 4], ring[:, :, 3 * r + 4 :]
    middle = torch.cat([left.unsqueeze(3), x, right.unsqueeze(3)], dim=3)
    return torch.cat([top.unsqueeze(2), middle, bottom.unsqueeze(2)], dim=2)


def ring_walk(r: int) -> list[int]:
    """Positions of the ring around a map of side r in the order of a walk: clockwise from the top left corner."""
    top, bottom = list(range(r + 2)), list(range(r + 2, 2 * r + 4))
    left, right = list(range(2 * r + 4, 3 * r + 4)), list(range(3 * r + 4, 4 * r + 4))
    return [*top, *right, *reversed(bottom), *reversed(left)]
