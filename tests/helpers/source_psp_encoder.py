"""The encoders of pSp, e4e and ReStyle restated in float64: state dicts under their names, and the forward pass."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from source_rosinality import RosinalityGenerator
from torch import Tensor

WIDTH = 512
IRSE_STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
RESNET_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


class PspEncoder:
    """One encoder.

    Args:
        heads: heads on the 16, 32 and 64 px levels; (n, 0, 0) is ReStyle's simplified form, which has no pyramid.
        relative: e4e's form: the first head gives a code for all layers, the others what they differ by.
        channels: 3, or 6 for ReStyle.
        stages: channels and blocks.
    """

    def __init__(
        self,
        w_dim: int,
        heads: tuple[int, int, int] = (3, 4, 7),
        relative: bool = False,
        channels: int = 3,
        resnet: bool = False,
        stages: tuple[tuple[int, int], ...] | None = None,
        seed: int = 0,
    ) -> None:
        self.w_dim, self.heads, self.relative, self.resnet = w_dim, heads, relative, resnet
        self.stages = stages or (RESNET_STAGES if resnet else IRSE_STAGES)
        self.random = torch.Generator().manual_seed(seed)
        self.state: dict[str, Tensor] = {}
        stem = ("conv1", "bn1", "relu") if resnet else ("input_layer.0", "input_layer.1", "input_layer.2")
        self._conv(stem[0], channels, 64, 7 if resnet else 3)
        self._norm(stem[1], 64)
        self._prelu(stem[2], 64)
        below, index = 64, 0
        for width, blocks in self.stages:
            for _ in range(blocks):
                (self._basic if resnet else self._irse)(f"body.{index}", below, width)
                below, index = width, index + 1
        if heads[1] or heads[2]:
            self._conv("latlayer1", 256, WIDTH, 1, bias=True)
            self._conv("latlayer2", 128, WIDTH, 1, bias=True)
        for head, level in enumerate(self.levels):
            for i in range(4 + level):
                self._conv(f"styles.{head}.convs.{2 * i}", WIDTH if i == 0 else w_dim, w_dim, 3, bias=True)
            self.state[f"styles.{head}.linear.weight"] = self._normal(w_dim, w_dim)
            self.state[f"styles.{head}.linear.bias"] = self._normal(w_dim)

    @property
    def levels(self) -> list[int]:
        return [level for level, count in enumerate(self.heads) for _ in range(count)]

    # -- weights

    def _normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=self.random) * scale + mean

    def _conv(self, name: str, inputs: int, outputs: int, side: int, bias: bool = False) -> None:
        self.state[f"{name}.weight"] = self._normal(
            outputs, inputs, side, side, scale=math.sqrt(1.0 / (inputs * side * side))
        )
        if bias:
            self.state[f"{name}.bias"] = self._normal(outputs, scale=0.1)

    def _norm(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = self._normal(channels, scale=0.1, mean=1.0)
        self.state[f"{name}.bias"] = self._normal(channels, scale=0.1)
        self.state[f"{name}.running_mean"] = self._normal(channels, scale=0.1)
        self.state[f"{name}.running_var"] = self._normal(channels, scale=0.1).abs() + 0.5
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def _prelu(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = self._normal(channels, scale=0.05, mean=0.25)

    def _irse(self, name: str, inputs: int, outputs: int) -> None:
        if inputs != outputs:
            self._conv(f"{name}.shortcut_layer.0", inputs, outputs, 1)
            self._norm(f"{name}.shortcut_layer.1", outputs)
        self._norm(f"{name}.res_layer.0", inputs)
        self._conv(f"{name}.res_layer.1", inputs, outputs, 3)
        self._prelu(f"{name}.res_layer.2", outputs)
        self._conv(f"{name}.res_layer.3", outputs, outputs, 3)
        self._norm(f"{name}.res_layer.4", outputs)
        self._conv(f"{name}.res_layer.5.fc1", outputs, outputs // 16, 1)
        self._conv(f"{name}.res_layer.5.fc2", outputs // 16, outputs, 1)

    def _basic(self, name: str, inputs: int, outputs: int) -> None:
        self._conv(f"{name}.conv1", inputs, outputs, 3)
        self._norm(f"{name}.bn1", outputs)
        self._conv(f"{name}.conv2", outputs, outputs, 3)
        self._norm(f"{name}.bn2", outputs)
        if inputs != outputs:
            self._conv(f"{name}.downsample.0", inputs, outputs, 1)
            self._norm(f"{name}.downsample.1", outputs)

    # -- arithmetic

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name].double()

    def _apply_conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self[f"{name}.weight"]
        bias = self[f"{name}.bias"] if f"{name}.bias" in self.state else None
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    def _apply_norm(self, name: str, x: Tensor) -> Tensor:
        gain = self[f"{name}.weight"] / torch.sqrt(self[f"{name}.running_var"] + 1e-5)
        return (x - self[f"{name}.running_mean"][:, None, None]) * gain[:, None, None] + self[f"{name}.bias"][
            :, None, None
        ]

    def _apply_prelu(self, name: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * self[f"{name}.weight"][:, None, None])

    def _run_irse(self, name: str, x: Tensor, stride: int) -> Tensor:
        if f"{name}.shortcut_layer.0.weight" in self.state:
            short = self._apply_norm(
                f"{name}.shortcut_layer.1", self._apply_conv(f"{name}.shortcut_layer.0", x, stride)
            )
        else:
            short = x[:, :, ::stride, ::stride]
        y = self._apply_conv(f"{name}.res_layer.1", self._apply_norm(f"{name}.res_layer.0", x))
        y = self._apply_conv(f"{name}.res_layer.3", self._apply_prelu(f"{name}.res_layer.2", y), stride)
        y = self._apply_norm(f"{name}.res_layer.4", y)
        gate = self._apply_conv(f"{name}.res_layer.5.fc1", y.mean(dim=(2, 3), keepdim=True)).clamp(min=0)
        return y * torch.sigmoid(self._apply_conv(f"{name}.res_layer.5.fc2", gate)) + short

    def _run_basic(self, name: str, x: Tensor, stride: int) -> Tensor:
        short = x
        if f"{name}.downsample.0.weight" in self.state:
            short = self._apply_norm(f"{name}.downsample.1", self._apply_conv(f"{name}.downsample.0", x, stride))
        y = self._apply_norm(f"{name}.bn1", self._apply_conv(f"{name}.conv1", x, stride)).clamp(min=0)
        return (self._apply_norm(f"{name}.bn2", self._apply_conv(f"{name}.conv2", y)) + short).clamp(min=0)

    def codes(self, image: Tensor) -> Tensor:
        """[1, 3 or 6, 256, 256] -> [heads, w_dim], before any average code is added."""
        if self.resnet:
            x = self._apply_prelu("relu", self._apply_norm("bn1", self._apply_conv("conv1", image, 2)))
        else:
            x = self._apply_norm("input_layer.1", self._apply_conv("input_layer.0", image))
            x = self._apply_prelu("input_layer.2", x)
        features, index = [], 0
        for stage, (_, blocks) in enumerate(self.stages):
            for block in range(blocks):
                stride = 2 if block == 0 and not (self.resnet and stage == 0) else 1
                x = (self._run_basic if self.resnet else self._run_irse)(f"body.{index}", x, stride)
                index += 1
            features.append(x)
        levels = [features[3]]
        if self.heads[1] or self.heads[2]:
            levels.append(_larger(levels[0], self._apply_conv("latlayer1", features[2])))
            levels.append(_larger(levels[1], self._apply_conv("latlayer2", features[1])))
        found = []
        for head, level in enumerate(self.levels):
            y = levels[level]
            for i in range(4 + level):
                y = F.leaky_relu(self._apply_conv(f"styles.{head}.convs.{2 * i}", y, 2), 0.01)
            weight = self[f"styles.{head}.linear.weight"] / math.sqrt(self.w_dim)
            code = y.reshape(-1) @ weight.T + self[f"styles.{head}.linear.bias"]
            found.append(code + found[0] if self.relative and head else code)
        return torch.stack(found)

    def invert(self, image: Tensor, average: Tensor) -> Tensor:
        """pSp and e4e: [1, 3, 256, 256], average code [L, w_dim] -> [L, w_dim]."""
        return self.codes(image)[: len(average)] + average

    def refine(self, image: Tensor, average: Tensor, g: RosinalityGenerator, steps: int) -> Tensor:
        """ReStyle: as `invert`, in steps."""
        codes = average
        for _ in range(steps):
            shown = F.adaptive_avg_pool2d(g.synthesis(codes), 256)[None]
            codes = codes + self.codes(torch.cat([image, shown], dim=1))[: len(average)]
        return codes


def _larger(x: Tensor, lateral: Tensor) -> Tensor:
    return F.interpolate(x, size=lateral.shape[2:], mode="bilinear", align_corners=True) + lateral


def checkpoint_of(
    e: PspEncoder, g: RosinalityGenerator | None, average: Tensor | None, options: dict[str, Any] | None
) -> dict[str, Any]:
    """A file as these projects' training scripts write one."""
    state = {f"encoder.{name}": value for name, value in e.state.items()}
    if g is not None:
        state |= g.state_dict("decoder.")
    file: dict[str, Any] = {"state_dict": state}
    if average is not None:
        file["latent_avg"] = average
    if options is not None:
        file["opts"] = {"device": "cuda:0", "start_from_latent_avg": True, **options}
    return file
