"""Face-recognition networks: IR-SE-50 (ArcFace) and MobileFaceNet. They are loaded, never trained here.

Both take RGB crops [N, 3, 112, 112] in [-1, 1], aligned to ArcFace's template, and give embeddings of length 1.
Module names follow the files in circulation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from padinv.models.irse import irse_stages, irse_stem
from padinv.runtime.errors import InputError
from padinv.runtime.files import require_files


class IRSE50(nn.Module):
    """ArcFace's IR-SE-50 (Deng et al. 2019) in the layout of `model_ir_se50.pth` -> [N, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = irse_stem()
        self.body = nn.Sequential(*(block for stage in irse_stages() for block in stage))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.5), nn.Flatten(), nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512)
        )

    def forward(self, crop: Tensor) -> Tensor:
        return F.normalize(self.output_layer(self.body(self.input_layer(crop))).float())


def _conv_bn_relu6(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(),
    )


class _Separable(nn.Module):
    """Depthwise, then pointwise convolution, each with BN and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn2(self.pointwise(self.bn1(self.depthwise(x)).relu())).relu()
        return result


class _Inverted(nn.Module):
    """MobileNetV2's inverted residual."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = in_channels * expand
        self.residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            _conv_bn_relu6(in_channels, hidden, 1),
            _conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv(x) if self.residual else self.conv(x)
        return result


class _Global(nn.Module):
    """Depthwise convolution over the whole 7 x 7 map, with BN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.depthwise(x))
        return result


class MobileFaceNet(nn.Module):
    """MobileFaceNet (Chen et al. 2018) in the layout of foamliu's `mobilefacenet.pt` -> [N, 128]."""

    PLAN = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv_bn_relu6(3, 64, 3, stride=2)
        self.dw_conv = _Separable(64)
        blocks, channels = [], 64
        for expand, width, count, stride in self.PLAN:
            for k in range(count):
                blocks.append(_Inverted(channels, width, stride if k == 0 else 1, expand))
                channels = width
        self.features = nn.Sequential(*blocks)
        self.conv2 = _conv_bn_relu6(128, 512, 1)
        self.gdconv = _Global(512)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, crop: Tensor) -> Tensor:
        x = self.conv2(self.features(self.dw_conv(self.conv1(crop))))
        return F.normalize(self.bn(self.conv3(self.gdconv(x))).flatten(1).float())


def load_face_network(path: Path | str) -> IRSE50 | MobileFaceNet:
    """A face-recognition network from its file, told apart by content; frozen, in eval mode.

    Raises:
        InputError: missing, damaged, or another network.
    """
    from padinv.checkpoints.build import build_module, expected_shapes
    from padinv.checkpoints.state_dict import read_weights

    require_files(path)
    problems = []
    kinds: tuple[Callable[[], IRSE50 | MobileFaceNet], ...] = (IRSE50, MobileFaceNet)
    for kind in kinds:
        try:
            state = read_weights(path, expected_shapes(kind))
        except InputError as error:
            problems.append(str(error).removeprefix(f"{path} "))
            continue
        return build_module(kind, state).eval().requires_grad_(False)
    # The first one says what the file is; the second one is more to the point where it is nearly that network.
    reason = next((text for text in problems if text.startswith(("lacks", "has a tensor"))), problems[0])
    raise InputError(f"{path} holds neither ArcFace's IR-SE-50 nor MobileFaceNet: it {reason}")
