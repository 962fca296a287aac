"""LPIPS v0.1 (Zhang et al. 2018), the perceptual loss (paper section 3.4, eq. 2) and metric.

The `lpips` package imports torchvision, which is bound to one torch version each; so its three small linear heads are
kept here as data (`data/`, with their licence), and the backbones are written on torch's layers.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from padinv.losses.backbones import backbone_named, load_backbone
from padinv.runtime.errors import UsageError

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's statistics, for [-1, 1]
_EPS = 1e-10


def unit_length(x: Tensor) -> Tensor:
    """Scale every position's feature vector to length 1. Unlike sqrt(sum), the norm has a zero gradient at zero."""
    result: Tensor = x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + _EPS)
    return result


class LPIPS(nn.Module):
    """Perceptual distance of images [N, 3, S, S] in [-1, 1] -> [N]; 0 is identical, lower is closer.

    Args:
        net: 'alex' (the usual metric), 'vgg' or 'squeeze'.
        weights: the backbone's file in torchvision's layout, or a folder holding it; None: the torch hub cache.

    Raises:
        InputError: the weight file is missing or foreign.
        UsageError: an unknown backbone.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str = "alex", weights: Path | str | None = None) -> None:
        super().__init__()
        self.net = net
        backbone = backbone_named(net)
        self.smallest = backbone.smallest
        features = load_backbone(net, weights)
        # One slice a tap: the modules after the previous tap, up to this one.
        starts = (0, *(tap + 1 for tap in backbone.taps[:-1]))
        self.slices = nn.ModuleList(features[start : tap + 1] for start, tap in zip(starts, backbone.taps, strict=True))
        heads = load(files("padinv.losses").joinpath(f"data/lpips_v0.1_{net}.safetensors").read_bytes())
        for k in range(len(backbone.taps)):
            self.register_buffer(f"lin{k}", heads[f"lin{k}"][None, :, None, None])
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])
        self.eval().requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        """Unit-length features at every tap.

        Raises:
            UsageError: the images are too small for the backbone.
        """
        if min(image.shape[2:]) < self.smallest:
            raise UsageError(f"LPIPS '{self.net}' needs images of {self.smallest} px or more, not {image.shape[2:]}")
        x = (image - self.shift) / self.scale
        taps = []
        for part in self.slices:
            x = part(x)
            taps.append(unit_length(x))
        return taps

    def distance(self, taps: list[Tensor], other: list[Tensor]) -> Tensor:
        """Distance between two results of `features` -> [N], float32."""
        total: Tensor | float = 0.0
        for k, (a, b) in enumerate(zip(taps, other, strict=True)):
            weight = getattr(self, f"lin{k}").to(a.dtype)
            total = total + ((a - b).square() * weight).sum(dim=1, dtype=torch.float32).mean(dim=(1, 2))
        assert isinstance(total, Tensor)
        return total

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """image, target [N, 3, S, S] in [-1, 1] -> [N]. No gradient reaches `target`."""
        with torch.no_grad():
            goal = self.features(target)
        return self.distance(self.features(image), goal)
