"""What exactly is compared: images as the paper describes it, or what its reference implementation computes.

Figures of the two are not comparable. The protocol is part of every result's conditions.

| | paper (default) | reference |
|---|---|---|
| photographs are reduced by | Lanczos | the mean over the covered pixels (INTER_AREA) |
| larger outputs are reduced by | the mean over the covered pixels | taking every k-th pixel (nearest neighbour) |
| outputs are clamped to [-1, 1] | yes | no |
| encoder of a run folder | the last one | the best one, where the run kept it |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from padinv.runtime.errors import UsageError
from padinv.runtime.images import average_pool

PROTOCOLS = ("paper", "reference")


@dataclass(frozen=True)
class EvalProtocol:
    """One way to measure.

    Attributes:
        name: of `PROTOCOLS`.
        resize: how photographs are reduced, see `padinv.picture_sources.resizing`.
        clamp: whether outputs are clamped.
        best: whether a run folder's best encoder is measured.
    """

    name: str
    resize: str
    clamp: bool
    best: bool

    def reduced(self, y: np.ndarray, size: int) -> np.ndarray:
        """Outputs [N, 3, R, R] at the size that they are compared at, [N, 3, S, S]."""
        if self.name == "paper" or y.shape[-1] <= size:
            return average_pool(y, size)
        step = y.shape[-1] // size
        return np.ascontiguousarray(y[:, :, ::step, ::step])

    def final(self, y: np.ndarray) -> np.ndarray:
        """Outputs as they are compared."""
        return np.clip(y, -1, 1) if self.clamp else y


def protocol_named(name: str) -> EvalProtocol:
    """The protocol of a name.

    Raises:
        UsageError: there is no such protocol.
    """
    if name == "paper":
        return EvalProtocol("paper", "lanczos", clamp=True, best=False)
    if name == "reference":
        return EvalProtocol("reference", "area", clamp=False, best=True)
    raise UsageError(f"the protocols are paper and reference, not {name!r}")
