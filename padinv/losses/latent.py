"""Latent regularisation (paper section 3.4, eq. 5): keeps codes near the centre of W, where editing works."""

from __future__ import annotations

from torch import Tensor


def latent_norm(wp: Tensor, w_avg: Tensor) -> Tensor:
    """Batch mean of ||wp - w_avg||_2 over layers and channels together: wp [N, L, w_dim], w_avg [w_dim] -> scalar."""
    result: Tensor = (wp.float() - w_avg.float()).flatten(1).norm(dim=1).mean()
    return result
