"""The improved residual block with squeeze-and-excitation of IR-SE-50 (Deng et al. 2019; Hu et al. 2018).

Module names follow the files in circulation (`res_layer`, `shortcut_layer`, `fc1`, `fc2`), so that a face-recognition
IR-SE-50 and the paper's own encoders load without renaming.
"""

from __future__ import annotations

from torch import Tensor, nn

# IR-SE-50: output channels and blocks of the four stages.
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means; reduction 16, no bias."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(self.fc1(x.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()
        result: Tensor = x * gate
        return result


class IRSEBlock(nn.Module):
    """BN, conv, PReLU, conv with the stride, BN, SE; the shortcut strides, and projects where channels change."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if in_channels == out_channels:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            SqueezeExcite(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return result


def irse_stem(in_channels: int = 3) -> nn.Sequential:
    """Image -> 64 channels at full size: conv, BN, PReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))


def irse_stages(strides: tuple[int, int, int, int] = (2, 2, 2, 2)) -> list[nn.Sequential]:
    """The four stages of IR-SE-50; `strides` belong to each stage's first block."""
    stages, channels = [], 64
    for (width, blocks), stride in zip(STAGES, strides, strict=True):
        first = IRSEBlock(channels, width, stride)
        stages.append(nn.Sequential(first, *(IRSEBlock(width, width, 1) for _ in range(blocks - 1))))
        channels = width
    return stages
