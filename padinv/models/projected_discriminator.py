"""A discriminator on frozen SqueezeNet features (Projected GAN, Sauer et al. 2021).

It learns a presentable generator in a hundredth of the images that a classical discriminator needs. The features are
mixed across channels and scales by fixed random convolutions, so that a head cannot look at a few channels only.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

# Where features leave SqueezeNet: module index and channels, at 1/2, 1/4, 1/8 and 1/16 of the picture's side.
TAPS = ((1, 64), (4, 128), (7, 256), (12, 512))
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, on [0, 1]


class FeaturePyramid(nn.Module):
    """Images [N, 3, S, S] in [-1, 1] -> four mixed feature maps, finest first; nothing in it is trained."""

    mean: Tensor
    std: Tensor
    scales: Tensor

    def __init__(self, features: nn.Sequential, widths: tuple[int, ...] = (64, 96, 128, 192)) -> None:
        super().__init__()
        self.features = features
        self.widths = widths
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.across_channels = nn.ModuleList(
            nn.Conv2d(c, w, 1, bias=False) for (_, c), w in zip(TAPS, widths, strict=True)
        )
        self.across_scales = nn.ModuleList(
            nn.Conv2d(coarse, fine, 3, padding=1, bias=False) for fine, coarse in pairwise(widths)
        )
        for conv in (*self.across_channels, *self.across_scales):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
        self.register_buffer("scales", torch.ones(len(TAPS)))
        self.requires_grad_(False)

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Scale every level to unit mean square on these photographs: spectral norms bound the heads' slope, so the
        size of what they see decides how sharply they can judge.
        """
        self.scales.fill_(1.0)
        self.scales.copy_(torch.stack([m.float().square().mean().rsqrt() for m in self(images)]))

    def forward(self, images: Tensor) -> list[Tensor]:
        x = ((images + 1) * 0.5 - self.mean) / self.std
        taps = []
        wanted = {index for index, _ in TAPS}
        for index, module in enumerate(self.features):
            x = module(x)
            if index in wanted:
                taps.append(x)
        mixed = [conv(x) for conv, x in zip(self.across_channels, taps, strict=True)]
        for level in reversed(range(len(mixed) - 1)):
            size = [int(s) for s in mixed[level].shape[-2:]]
            mixed[level] = mixed[level] + self.across_scales[level](
                F.interpolate(mixed[level + 1], size=size, mode="bilinear", align_corners=False)
            )
        return [m * s.to(m.dtype) for m, s in zip(mixed, self.scales, strict=True)]


class Heads(nn.Module):
    """One small spectrally normalised head a level: list of feature maps -> logits [N, K], all levels and places."""

    def __init__(self, widths: tuple[int, ...], downs: tuple[int, ...] = (3, 2, 1, 0)) -> None:
        super().__init__()
        heads = []
        for width, steps in zip(widths, downs, strict=True):
            modules: list[nn.Module] = []
            channels = width
            for _ in range(steps):
                wider = min(2 * channels, 192)
                modules += [spectral_norm(nn.Conv2d(channels, wider, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
                channels = wider
            modules += [
                spectral_norm(nn.Conv2d(channels, channels, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(channels, 1, 3, padding=1)),
            ]
            heads.append(nn.Sequential(*modules))
        self.heads = nn.ModuleList(heads)

    def forward(self, maps: list[Tensor]) -> Tensor:
        logits = [head(x).flatten(1) for head, x in zip(self.heads, maps, strict=True)]
        return torch.cat(logits, dim=1).float()
