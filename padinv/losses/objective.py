"""The encoder's objective: the five terms of the paper's eq. 6 (section 3.4) and one of ours, with their weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.losses.border import ring_smoothness
from padinv.losses.latent import latent_norm
from padinv.losses.pixel import pixel_loss
from padinv.runtime.errors import UsageError

TERMS = ("pix", "per", "id", "adv", "reg", "smooth")


class Objective(nn.Module):
    """L = pix + per + id + adv + reg + smooth, each with its weight; a term without weight is not computed.

    Args:
        weights: term -> weight.
        lpips: gives `per`: images, targets -> [N].
        identity: gives `id`: images, targets -> [N].

    Raises:
        UsageError: an unknown term, or one whose network was not given.
    """

    def __init__(
        self, weights: Mapping[str, float], lpips: nn.Module | None = None, identity: nn.Module | None = None
    ) -> None:
        super().__init__()
        if unknown := sorted(set(weights) - set(TERMS)):
            raise UsageError(f"the objective has the terms {', '.join(TERMS)}, not {unknown[0]!r}")
        self.weights = {name: float(weights[name]) for name in TERMS if weights.get(name, 0) > 0}
        for name, net in (("per", lpips), ("id", identity)):
            if name in self.weights and net is None:
                raise UsageError(f"the term {name!r} has a weight, but its network was not given")
        self.lpips = lpips if "per" in self.weights else None
        self.identity = identity if "id" in self.weights else None

    def terms(
        self,
        output: Tensor,
        target: Tensor,
        wp: Tensor,
        w_avg: Tensor,
        adversarial: Tensor | None = None,
        *,
        rings: Mapping[int, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The unweighted terms, each a scalar.

        Args:
            output, target: [N, 3, S, S] in [-1, 1].
            wp, w_avg: [N, L, w_dim], [w_dim].
            adversarial: the `adv` term, computed by who owns the discriminator.
            rings: {r: [N, C_r, 4r+4]}, for `smooth`; without any it is 0.

        Raises:
            UsageError: `adv` has a weight but was not given.
        """
        values: dict[str, Tensor] = {}
        for name in self.weights:
            if name == "pix":
                values[name] = pixel_loss(output, target)
            elif name == "per":
                assert self.lpips is not None
                values[name] = self.lpips(output, target).mean()
            elif name == "id":
                assert self.identity is not None
                values[name] = self.identity(output, target).mean()
            elif name == "reg":
                values[name] = latent_norm(wp, w_avg)
            elif name == "smooth":
                values[name] = ring_smoothness(rings) if rings else output.new_zeros(())
            elif adversarial is None:
                raise UsageError("the term 'adv' has a weight, but no discriminator was given")
            else:
                values[name] = adversarial
        return values

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum."""
        return torch.stack([self.weights[name] * value for name, value in values.items()]).sum()


def loss_image(image: Tensor, size: int) -> Tensor:
    """The generator's output as the losses see it: average-pooled to `size` where it is larger (paper section 4.1)."""
    return F.adaptive_avg_pool2d(image, size) if image.shape[-1] > size else image
