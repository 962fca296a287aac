"""How close generated images come to real ones as two sets: KID, Fréchet distance, precision and recall.

All take features [N, D] of the two sets. With EfficientNet-Lite0's (`padinv.models.efficientnet`) the numbers are not
comparable with published ones, which use Inception-v3; they compare generators with each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A mean and its standard error over subsets."""

    mean: float
    error: float


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """The cubic polynomial kernel (x . y / D + 1)^3 of Bińkowski et al. 2018."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def squared_mmd(a: Tensor, b: Tensor) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of two sets of features [N, D], [M, D]."""
    n, m = len(a), len(b)
    aa, bb = _kernel(a, a), _kernel(b, b)
    within_a = (aa.sum() - aa.diagonal().sum()) / (n * (n - 1))
    within_b = (bb.sum() - bb.diagonal().sum()) / (m * (m - 1))
    return float(within_a + within_b - 2 * _kernel(a, b).mean())


def kid(generated: Tensor, real: Tensor, *, subsets: int = 50, size: int = 500, seed: int = 0) -> Interval:
    """Kernel Inception distance over random subsets of equal size; 0 for equal distributions, lower is better."""
    a, b = generated.double(), real.double()
    size = min(size, len(a), len(b))
    rng = torch.Generator().manual_seed(seed)
    values = torch.tensor(
        [
            squared_mmd(
                a[torch.randperm(len(a), generator=rng)[:size]], b[torch.randperm(len(b), generator=rng)[:size]]
            )
            for _ in range(subsets)
        ]
    )
    return Interval(float(values.mean()), float(values.std() / subsets**0.5))


def frechet_distance(generated: Tensor, real: Tensor) -> float:
    """Fréchet distance of the Gaussians fitted to two sets (FID's formula); 0 is equal, lower is better."""
    a, b = generated.double(), real.double()
    cov_a, cov_b = a.T.cov(), b.T.cov()
    # tr sqrt(A B) = tr sqrt(sqrt(A) B sqrt(A)), which is symmetric, so that eigenvalues are real.
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    means = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return float(means + cov_a.trace() + cov_b.trace() - 2 * cross)


def precision_recall(generated: Tensor, real: Tensor, *, neighbours: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019).

    Returns:
        (precision, recall): the share of generated images within the real ones' manifold, estimated by balls that reach
        to the `neighbours`-th nearest neighbour, and the share of real images within the generated ones'.
    """

    def inside(points: Tensor, manifold: Tensor) -> float:
        own = torch.cdist(manifold, manifold)
        radius = own.kthvalue(neighbours + 1, dim=1).values  # the first neighbour is the point itself
        return float((torch.cdist(points, manifold) <= radius).any(dim=1).double().mean())

    a, b = generated.double(), real.double()
    return inside(a, b), inside(b, a)
