"""The body of ResNet-34 (He et al. 2016) as pSp's successors use it: no pooling, a PReLU stem, the four stages."""

from __future__ import annotations

from torch import Tensor, nn

# ResNet-34: output channels, blocks and stride of the four stages.
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BN and a shortcut; the first one strides."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = (self.second(self.first(x)) + self.shortcut(x)).relu()
        return result


def resnet_stem(in_channels: int = 3) -> nn.Sequential:
    """Image -> 64 channels at half size: a 7x7 convolution, BN, PReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))


def resnet_stages() -> list[nn.Sequential]:
    """The four stages; their outputs have a half, a quarter, an eighth and a sixteenth of the image's side."""
    stages, channels = [], 64
    for width, blocks, stride in STAGES:
        first = BasicBlock(channels, width, stride)
        stages.append(nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1))))
        channels = width
    return stages
