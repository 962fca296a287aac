"""SqueezeNet 1.1's feature extractor (Iandola et al. 2016), under torchvision's parameter names."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from padinv.runtime.errors import InputError


class Fire(nn.Module):
    """Squeeze by 1x1, expand by 1x1 and 3x3, concatenated."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


def squeezenet_features() -> nn.Sequential:
    """The thirteen modules of torchvision's `squeezenet1_1().features`, at random weights."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),
        nn.ReLU(),
        pool(),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        pool(),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        pool(),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )


def load_squeezenet_features(path: Path | str) -> nn.Sequential:
    """Feature extractor with a torchvision SqueezeNet 1.1 file's weights (float16 or float32), frozen, in eval mode.

    Raises:
        InputError: the file is missing or does not hold SqueezeNet 1.1.
    """
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        features = {k.removeprefix("features."): v.float() for k, v in state.items() if k.startswith("features.")}
        net = squeezenet_features()
        net.load_state_dict(features)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; it should hold torchvision's SqueezeNet 1.1 weights") from error
    except Exception as error:  # torch.load raises many kinds for a foreign file
        raise InputError(f"{path} does not hold torchvision's SqueezeNet 1.1 weights: {error}") from error
    return net.eval().requires_grad_(False)
