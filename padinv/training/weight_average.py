"""The exponential moving average of a network's weights, for encoders and generators."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

EMA_RAMP = 10  # early averages are short: decay (1 + n) / (10 + n) after n steps, until the configured one


def ramped_decay(decay: float, steps: int) -> float:
    """Decay for the step after `steps` steps: the average of a short training is a short one."""
    return min(decay, (1 + steps) / (EMA_RAMP + steps))


def half_life_decay(images: float, half_life: float) -> float:
    """Decay over a step of `images` images, of an average that forgets half of itself in `half_life` images."""
    result: float = 0.5 ** (images / max(half_life, 1e-8))
    return result


class WeightAverage(nn.Module):
    """A copy of a network that follows it: average <- decay * average + (1 - decay) * network.

    The names in its state are those of `torch.optim.swa_utils.AveragedModel`.

    Args:
        network: what to follow.
        average_buffers: average batch statistics too, instead of copying them.
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, *, average_buffers: bool) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self.average_buffers = average_buffers
        self._followed: int | None = None  # which network the following lists belong to
        self._mine: list[Tensor] = []
        self._theirs: list[Tensor] = []
        self._copied: list[tuple[Tensor, Tensor]] = []
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.long))  # on the CPU, so that nobody waits for it

    @property
    def steps(self) -> int:
        """How many steps it has followed."""
        return int(self.n_averaged)

    @torch.no_grad()
    def follow(self, network: nn.Module, decay: float) -> None:
        """One step."""
        if self._followed != id(network):
            self._collect(network)
        for average, current in self._copied:
            average.copy_(current)
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
        self.n_averaged += 1

    def _collect(self, network: nn.Module) -> None:
        """Find what belongs to what, once: walking through all modules at every step takes time."""
        self._followed = id(network)
        self._mine, self._theirs = list[Tensor](self.module.parameters()), list[Tensor](network.parameters())
        self._copied = []
        for average, current in zip(self.module.buffers(), network.buffers(), strict=True):
            if self.average_buffers and average.is_floating_point():
                self._mine.append(average)
                self._theirs.append(current)
            else:
                self._copied.append((average, current))
