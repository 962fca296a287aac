"""Differentiable augmentation for GAN training (Zhao et al. 2020): light colour and translation.

Pixels shifted in from outside are mirrored. Zeros there would teach the generator a dark border, which directly harms a
method that lives on borders.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(x: Tensor, generator: torch.Generator | None = None, max_shift: float = 0.125) -> Tensor:
    """Random brightness, saturation, contrast and whole-pixel translation of x [N, 3, S, S] in [-1, 1]."""
    n, _, size, _ = x.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(n, 1, 1, 1, device=x.device).uniform_(low, high, generator=generator)

    x = x + uniform(-0.25, 0.25)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * uniform(0.5, 1.5)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * uniform(0.75, 1.25)

    pixels = int(size * max_shift)
    shift = torch.randint(-pixels, pixels + 1, (n, 2, 1), device=x.device, generator=generator)
    theta = torch.eye(2, device=x.device).expand(n, 2, 2)
    theta = torch.cat([theta, shift.to(x.dtype) * (2.0 / size)], dim=2)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
