"""StyleGAN2's discriminator (Karras et al. 2020), in its three architectures."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.models.layers import EqualConv2d, EqualLinear, fir_kernel
from padinv.runtime.errors import InputError

ARCHITECTURES = ("resnet", "skip", "orig")


def blur(x: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Low-pass by the 4 x 4 filter of unit sum."""
    channels = x.shape[1]
    kernel = fir_kernel(1.0).to(x).expand(channels, 1, 4, 4)
    return F.conv2d(x, kernel, stride=stride, padding=padding, groups=channels)


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """Append one channel with the standard deviation over groups of `group` pictures (Karras et al. 2018)."""
    n, c, h, w = x.shape
    group = next(g for g in range(min(group, n), 0, -1) if n % g == 0)
    y = x.reshape(group, n // group, c, h, w)
    y = (y - y.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt().mean(dim=(1, 2, 3))  # [n/group]
    return torch.cat([x, y.repeat(group).reshape(n, 1, 1, 1).expand(n, 1, h, w)], dim=1)


class _Act(nn.Module):
    """Leaky ReLU with gain sqrt(2) times `gain`, then the checkpoint's clamp."""

    def __init__(self, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        x = F.leaky_relu(x, 0.2) * (math.sqrt(2.0) * gain)
        return x if self.clamp is None else x.clamp(-self.clamp * gain, self.clamp * gain)


class DiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions, the second halving the side, with the shortcut of the 'resnet' architecture."""

    def __init__(self, in_channels: int, out_channels: int, architecture: str, conv_clamp: float | None) -> None:
        super().__init__()
        self.conv0 = EqualConv2d(in_channels, in_channels, 3)
        self.conv1 = EqualConv2d(in_channels, out_channels, 3)
        self.skip = EqualConv2d(in_channels, out_channels, 1, bias=False) if architecture == "resnet" else None
        self.act = _Act(conv_clamp)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.conv0(x))
        y = self.conv1(blur(y, padding=2), stride=2, padding=0)
        if self.skip is None:
            result: Tensor = self.act(y)
            return result
        half = math.sqrt(0.5)
        result = self.act(y, gain=half) + self.skip(blur(x, padding=1, stride=2)) * half
        return result


class Discriminator(nn.Module):
    """Images [N, 3, R, R] in [-1, 1] -> logits [N, 1].

    Args:
        resolution: side R, a power of two from 8.
        channels: channels at 4, 8, ..., R.
        architecture: 'resnet' (the default everywhere), 'skip', or 'orig' (NVIDIA's cifar configuration).
        mbstd_group: pictures a group of the minibatch standard deviation.
        conv_clamp: as in the generator's spec.
        fc_channels: width of the first linear layer; None: the channels at 4 px, as nearly everywhere.

    Raises:
        InputError: an unknown architecture, or channel counts that do not fit the resolution.
    """

    def __init__(
        self,
        resolution: int,
        channels: tuple[int, ...],
        architecture: str = "resnet",
        mbstd_group: int = 4,
        conv_clamp: float | None = None,
        fc_channels: int | None = None,
    ) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise InputError(f"discriminator architecture is one of {', '.join(ARCHITECTURES)}, not {architecture!r}")
        if len(channels) != int(math.log2(resolution)) - 1 or 4 << (len(channels) - 1) != resolution:
            raise InputError(f"a {resolution} px discriminator cannot have {len(channels)} channel counts")
        self.resolution = resolution
        self.channels = tuple(channels)
        self.architecture = architecture
        self.mbstd_group = mbstd_group
        self.conv_clamp = conv_clamp
        top_down = list(reversed(self.channels))  # R, ..., 8, 4
        rgb_at = top_down if architecture == "skip" else top_down[:1]
        self.from_rgb = nn.ModuleList(EqualConv2d(3, c, 1) for c in rgb_at)
        self.blocks = nn.ModuleList(DiscriminatorBlock(a, b, architecture, conv_clamp) for a, b in pairwise(top_down))
        last = self.channels[0]
        self.conv = EqualConv2d(last + 1, last, 3)
        self.fc_channels = last if fc_channels is None else fc_channels
        self.fc = EqualLinear(last * 16, self.fc_channels, activate=True)
        self.out = EqualLinear(self.fc_channels, 1)
        self.act = _Act(conv_clamp)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments, JSON-ready."""
        return {
            "resolution": self.resolution,
            "channels": list(self.channels),
            "architecture": self.architecture,
            "mbstd_group": self.mbstd_group,
            "conv_clamp": self.conv_clamp,
            "fc_channels": self.fc_channels,
        }

    def forward(self, image: Tensor) -> Tensor:
        x = self.act(self.from_rgb[0](image))
        for k, block in enumerate(self.blocks, start=1):
            x = block(x)
            if self.architecture == "skip":
                image = blur(image, padding=1, stride=2)
                x = x + self.act(self.from_rgb[k](image))
        x = self.act(self.conv(minibatch_stddev(x, self.mbstd_group)))
        result: Tensor = self.out(self.fc(x.flatten(1)))
        return result
