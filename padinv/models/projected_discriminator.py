"""A discriminator on frozen features of a classifier (Projected GAN, Sauer et al. 2021).

It learns a presentable generator in a hundredth of the images that a classical discriminator needs. The features are
mixed across channels and scales by fixed random convolutions, so that a head cannot look at a few channels only.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from padinv.losses.backbones import load_backbone
from padinv.models.efficientnet import MEAN, STD, load_efficientnet

BACKBONES = ("squeezenet", "efficientnet-lite0")
# Where features leave SqueezeNet: module index and channels, at 1/2, 1/4, 1/8 and 1/16 of the image's side.
_TAPS = ((1, 64), (4, 128), (7, 256), (12, 512))


class SqueezeNetMaps(nn.Module):
    """Images [N, 3, S, S] in [-1, 1] -> four feature maps of SqueezeNet 1.1, finest first."""

    widths = tuple(width for _, width in _TAPS)
    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = ((images + 1) * 0.5 - self.mean) / self.std
        maps = []
        wanted = {index for index, _ in _TAPS}
        for index, module in enumerate(self.features):
            x = module(x)
            if index in wanted:
                maps.append(x)
        return maps


def load_maps(backbone: str, weights: Path | None) -> nn.Module:
    """The frozen feature maps of a backbone named in `BACKBONES`.

    Raises:
        InputError: the weights are missing or belong to another network.
    """
    if backbone == "efficientnet-lite0":
        return load_efficientnet(weights)
    return SqueezeNetMaps(load_backbone("squeeze", weights))


class FeaturePyramid(nn.Module):
    """Images [N, 3, S, S] in [-1, 1] -> four mixed feature maps, finest first; nothing in it is trained.

    Args:
        maps: a module with `widths` that gives four feature maps, finest first.
        side: images are enlarged to this side first; None: taken as they are. Projected GAN enlarges to 224, the
            size that the classifier was trained on.
    """

    scales: Tensor

    def __init__(
        self, maps: nn.Module, widths: tuple[int, ...] = (64, 96, 128, 192), *, side: int | None = None
    ) -> None:
        super().__init__()
        self.maps = maps
        self.widths = widths
        self.side = side
        channels = maps.widths
        assert isinstance(channels, tuple)
        self.across_channels = nn.ModuleList(
            nn.Conv2d(c, w, 1, bias=False) for c, w in zip(channels, widths, strict=True)
        )
        self.across_scales = nn.ModuleList(
            nn.Conv2d(coarse, fine, 3, padding=1, bias=False) for fine, coarse in pairwise(widths)
        )
        for conv in (*self.across_channels, *self.across_scales):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
        self.register_buffer("scales", torch.ones(len(widths)))
        self.requires_grad_(False)

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Scale every level to unit mean square on these photographs: spectral norms bound the heads' slope, so the
        size of their input decides how sharply they can tell real from generated.
        """
        self.scales.fill_(1.0)
        self.scales.copy_(torch.stack([m.float().square().mean().rsqrt() for m in self(images)]))

    def forward(self, images: Tensor) -> list[Tensor]:
        if self.side is not None and images.shape[-1] < self.side:
            images = F.interpolate(images, size=self.side, mode="bilinear", align_corners=False)
        mixed = [conv(x) for conv, x in zip(self.across_channels, self.maps(images), strict=True)]
        for level in reversed(range(len(mixed) - 1)):
            size = [int(s) for s in mixed[level].shape[-2:]]
            mixed[level] = mixed[level] + self.across_scales[level](
                F.interpolate(mixed[level + 1], size=size, mode="bilinear", align_corners=False)
            )
        return [m * s.to(m.dtype) for m, s in zip(mixed, self.scales, strict=True)]


class Heads(nn.Module):
    """One small spectrally normalised head per level: list of feature maps -> logits [N, K], all levels and places.

    Args:
        widths: channels of the maps, finest first.
        batch_norm: normalise inside the heads, as Projected GAN does. Without it the spectral norms leave the heads so
            little slope that they were seen to stay at chance (hinge 2.0).
    """

    def __init__(
        self, widths: tuple[int, ...], downs: tuple[int, ...] = (3, 2, 1, 0), *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        heads = []
        for width, steps in zip(widths, downs, strict=True):
            modules: list[nn.Module] = []
            channels = width
            for _ in range(steps):
                wider = min(2 * channels, 256 if batch_norm else 192)
                modules.append(spectral_norm(nn.Conv2d(channels, wider, 4, stride=2, padding=1, bias=not batch_norm)))
                if batch_norm:
                    # Statistics of the batch itself, in training as ever: real and generated images come apart.
                    modules.append(nn.BatchNorm2d(wider, track_running_stats=False))
                modules.append(nn.LeakyReLU(0.2))
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
