"""The spatial encoder: what a reconstruction misses, as a code inside the ring (beyond the paper).

The ring carries what lies at the border; everything between comes from latents and the 4 x 4 constant, which hold too
little for fine detail. Later inversion methods close that gap with a feature map (Wang et al. 2022, "High-fidelity GAN
inversion for image attribute editing", predict it from the difference of image and reconstruction, as is done here).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from padinv.models.fast_encoder import ResBlock
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec

BLOCKS = 3


class SpatialHead(nn.Module):
    """image and reconstruction, each [N, 3, S, S] in [-1, 1] -> spatial code [N, channels, r, r].

    Pixels of a cell become channels, so that the network runs at r px only.

    Args:
        factor: S / r.
        channels: of the code.
        width: of the network.
    """

    def __init__(self, factor: int, channels: int, width: int) -> None:
        super().__init__()
        self.factor = factor
        self.stem = nn.Sequential(
            nn.Conv2d(6 * factor * factor, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )
        self.blocks = nn.Sequential(*[ResBlock(width, width, 1) for _ in range(BLOCKS)])
        self.out = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.out.weight)  # training starts at the neutral code
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        pixels = pixel_unshuffle(torch.cat([image, reconstruction], dim=1), self.factor)
        result: Tensor = self.out(self.blocks(self.stem(pixels)))
        return result


class SpatialEncoder(nn.Module):
    """image and reconstruction -> the spatial codes of a spec, resolution -> [N, C_r, r, r].

    Args:
        spec: with its `spatial_resolutions`.
        width: of the networks, one per resolution.

    Raises:
        UsageError: a resolution above half the image's side, where a code would be little else than the image.
    """

    def __init__(self, spec: ModelSpec, width: int) -> None:
        super().__init__()
        self.resolutions = spec.spatial_resolutions
        if too_fine := [r for r in self.resolutions if 2 * r > spec.image_size]:
            raise UsageError(f"a spatial code at {too_fine[0]} px is too fine for images of {spec.image_size} px")
        self.heads = nn.ModuleDict(
            {str(r): SpatialHead(spec.image_size // r, spec.channels_at(r), width) for r in self.resolutions}
        )

    def forward(self, image: Tensor, reconstruction: Tensor) -> dict[int, Tensor]:
        """image, reconstruction [N, 3, S, S] in [-1, 1], the latter unclamped -> {r: [N, C_r, r, r]}."""
        return {r: self.heads[str(r)](image, reconstruction) for r in self.resolutions}
