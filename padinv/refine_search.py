"""What `padinv.refine` keeps while it searches: the best values of every image, and which images go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Best:
    """The values of the step with the smallest loss, for every image on its own."""

    def __init__(self, values: list[Tensor]) -> None:
        self.values = [value.clone() for value in values]
        self.total = values[0].new_full((len(values[0]),), math.inf)
        self.loss = self.total
        self.first_loss = self.total
        self._started = False

    def keep(
        self, loss: Tensor, values: list[Tensor], total: Tensor | None = None, among: Tensor | None = None
    ) -> None:
        """Take over the values of images, `among` those that count, whose `total` fell: the loss unless given."""
        loss = loss.detach()
        total = loss if total is None else total.detach()
        if not self._started:
            self.first_loss, self._started = loss, True
        better = total < self.total
        self.take(better if among is None else better & among, loss, total, values)

    def take(self, mask: Tensor, loss: Tensor, total: Tensor, values: list[Tensor]) -> None:
        """Take over the values of some images."""
        self.loss = torch.where(mask, loss, self.loss)
        self.total = torch.where(mask, total, self.total)
        for k, value in enumerate(values):
            shaped = mask.reshape(-1, *[1] * (value.ndim - 1))
            self.values[k] = torch.where(shaped, value.detach(), self.values[k])


# Where the values of a check cannot be used, these shares of the way there since the last check are tried.
_SHARES = (0.5, 0.25)


class Search:
    """The best values so far, which images go on, and the last values that passed a check.

    Args:
        starts: values before the first step.
        evaluate: values -> their loss [N], and that with the penalty on their change.
        arrange: values -> what `usable` takes.
        usable, min_gain: see `padinv.refine.refine`.
    """

    def __init__(
        self,
        starts: list[Tensor],
        evaluate: Callable[[list[Tensor]], tuple[Tensor, Tensor]],
        arrange: Callable[[list[Tensor]], Any],
        usable: Callable[[Any], Tensor] | None,
        min_gain: float,
    ) -> None:
        self.best, self.checked = Best(starts), Best(starts)
        self.active = torch.ones(len(starts[0]), dtype=torch.bool, device=starts[0].device)
        self._evaluate, self._arrange, self._usable, self._min_gain = evaluate, arrange, usable, min_gain
        self._reason = ["end"] * len(starts[0])

    @property
    def first_loss(self) -> Tensor:
        """[N], before the first step."""
        return self.best.first_loss

    @property
    def stopped(self) -> tuple[str, ...]:
        """Why each image stopped."""
        return tuple(self._reason)

    def keep(self, loss: Tensor, total: Tensor, values: list[Tensor]) -> None:
        """Take over what is better."""
        self.best.keep(loss, values, total, self.active)
        if not torch.isfinite(self.checked.total).any():
            self.checked.keep(loss, values)

    def check(self) -> None:
        """Stop with images that gain little, or whose codes are of no use any more."""
        passed = self.active
        if self._usable is not None:
            passed = passed & self._usable(self._arrange(self.best.values))
        failed = self.active & ~passed
        if failed.any():
            self._go_part_of_the_way(failed)
            self._stop(failed, "usable")
        enough = self.best.total <= (1 - self._min_gain) * self.checked.total
        self.checked.take(passed, self.best.loss, self.best.total, self.best.values)
        if self._min_gain > 0:
            self._stop(passed & ~enough, "gain")

    @torch.no_grad()
    def _go_part_of_the_way(self, left: Tensor) -> None:
        """For the images that are `left`, keep the largest part of their last change that can be used."""
        assert self._usable is not None
        for share in _SHARES:
            pairs = zip(self.checked.values, self.best.values, strict=True)
            values = [old.lerp(new, share) for old, new in pairs]
            fine = left & self._usable(self._arrange(values))
            loss, total = self._evaluate(values)
            self.checked.take(fine & (total < self.checked.total), loss, total, values)
            left = left & ~fine

    def result(self) -> Best:
        """What passed the last check of every image."""
        return self.checked

    def _stop(self, mask: Tensor, reason: str) -> None:
        self.active = self.active & ~mask
        for k in mask.nonzero().flatten().tolist():
            self._reason[k] = reason
