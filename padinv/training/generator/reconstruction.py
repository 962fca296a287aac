"""The autoencoder's part of a generator training: photographs that the generator must be able to make.

A short adversarial training learns textures long before it learns where a face's parts belong. Asked to reproduce the
photographs of the batch from codes on the sphere of z, the same generator learns both from every pixel. The codes are
disturbed on the sphere, so that neighbours decode alike and the encoder spreads its codes over all of it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from padinv.losses.lpips import LPIPS
from padinv.losses.pixel import pixel_loss
from padinv.models.z_encoder import LatentEncoder
from padinv.runtime.spec import ModelSpec

MOST_NOISE = 0.5  # of the sphere's radius
# Measured on 64 px faces: at an encoder's 1 : 0.8 LPIPS's gradient is twenty times the squared error's. A generator
# that does not know faces yet then learns one fixed sharp pattern of eyes for all of them; with squared error in the
# lead it learns where they are and how they differ.
PIXEL, PERCEPTUAL = 50.0, 0.8


class Autoencoding(nn.Module):
    """An encoder to z, and the loss of what the generator makes of it.

    Args:
        spec: geometry of the generator.
        features: SqueezeNet 1.1 weights; None: torch hub's cache.
    """

    def __init__(self, spec: ModelSpec, features: Path | None) -> None:
        super().__init__()
        self.encoder = LatentEncoder(spec)
        self.lpips = LPIPS("squeeze", features)

    def codes(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Images [N, 3, S, S] -> disturbed z [N, z_dim], mean square about 1."""
        z = self.encoder(image)
        n = len(image)
        share = torch.rand(n, 1, generator=generator).to(z.device) * MOST_NOISE
        noise = torch.randn(z.shape, generator=generator).to(z.device)
        result: Tensor = z * (1 - share.square()).sqrt() + noise * share
        return result

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error and LPIPS of images [N, 3, S, S] in [-1, 1], weighed and averaged."""
        result: Tensor = PIXEL * pixel_loss(output, target) + PERCEPTUAL * self.lpips(output, target).mean()
        return result
