"""What all StyleGAN2 sources share, restated in float64 for the import tests: filters, resampling, activations.

Nothing here uses padinv's own layers. Tensors are torch float64; values are rounded to float32 first, because that is
what a checkpoint can hold.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
FILTER = torch.outer(TAPS, TAPS) / 64.0  # unit sum


class Weights:
    """Seeded random tensors by name: float64 whose values a float32 can hold."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.values: dict[str, Tensor] = {}

    def add(self, name: str, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
        value = torch.randn(shape, generator=self.random) * scale + mean
        self.values[name] = value.float().double()
        return self.values[name]

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    def file(self, extra: dict[str, Tensor] | None = None, prefix: str = "") -> dict[str, Tensor]:
        """As a state dict of float32 tensors."""
        merged = {**self.values, **(extra or {})}
        return {prefix + name: value.float().clone() for name, value in merged.items()}


def lrelu(x: Tensor, gain: float = math.sqrt(2.0)) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * gain


def clamp(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)


def upfirdn(x: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0) -> Tensor:
    """Zeros between the pixels, zeros around, the filter, every `down`-th pixel."""
    n, c, h, w = x.shape
    stuffed = x.new_zeros(n, c, h * up, w * up)
    stuffed[:, :, ::up, ::up] = x
    padded = F.pad(stuffed, (*pad, *pad))
    y = F.conv2d(padded.reshape(n * c, 1, *padded.shape[2:]), FILTER[None, None] * gain)
    return y.reshape(n, c, *y.shape[2:])[:, :, ::down, ::down]


def second_moment_norm(z: Tensor) -> Tensor:
    return z / torch.sqrt((z**2).mean(dim=1, keepdim=True) + 1e-8)


def minibatch_statistics(x: Tensor, group: int) -> Tensor:
    """One more channel: the standard deviation over groups that take every (n/g)-th picture."""
    n = x.shape[0]
    g = min(group, n)
    groups = x.reshape(g, n // g, *x.shape[1:])
    deviation = ((groups - groups.mean(0)).pow(2).mean(0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    channel = torch.cat([deviation] * g).reshape(n, 1, 1, 1).expand(n, 1, *x.shape[2:])
    return torch.cat([x, channel], dim=1)
