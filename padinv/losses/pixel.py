"""Pixel loss (paper section 3.4, eq. 1)."""

from __future__ import annotations

from torch import Tensor


def pixel_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of images [N, 3, S, S] in [-1, 1] -> scalar in float32."""
    return (output.float() - target.float()).square().mean()
