"""The encoder of the paper's own implementation restated in float64: state dict and forward pass."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = (3, 4, 14, 3)
WIDTHS = (64, 64, 128, 256, 512)
WIDTH = 512


class PaperEncoder:
    """Heads a level (16, 32 and 64 px), padded layers (0: none), with or without a projection for each of them."""

    def __init__(
        self,
        w_dim: int,
        heads: tuple[int, int, int] = (3, 4, 11),
        padded: int = 4,
        projections: bool = True,
        blocks: tuple[int, ...] = BLOCKS,
        seed: int = 0,
    ) -> None:
        self.w_dim, self.heads, self.padded, self.projections, self.blocks = w_dim, heads, padded, projections, blocks
        self.random = torch.Generator().manual_seed(seed)
        self.state: dict[str, Tensor] = {}
        self._conv("input_layer.0", 3, 64, 3)
        self._norm("input_layer.1", 64)
        self._prelu("input_layer.2", 64)
        for stage, count in enumerate(blocks):
            for block in range(count):
                inputs = WIDTHS[stage] if block == 0 else WIDTHS[stage + 1]
                self._block(f"backbone_stages.{stage}.{block}", inputs, WIDTHS[stage + 1])
        if padded:
            for block in range(2):
                self._block(f"padding_extractor.{block}", WIDTH, WIDTH)
            for k in range(padded if projections else 0):
                self._conv(f"padding_modulation_heads.{k}", WIDTH, WIDTH, 1, bias=True)
        for k, inputs in enumerate((128, 256)):
            self._conv(f"fpn.lateral_layers.{k}", inputs, WIDTH, 1, bias=True)
        for head, level in enumerate(self.levels):
            for i in range(4 + level):
                self._conv(f"latent_heads.{head}.convs.{2 * i}", WIDTH if i == 0 else w_dim, w_dim, 3, bias=True)
            self.state[f"latent_heads.{head}.linear.weight"] = self._normal(w_dim, w_dim)
            self.state[f"latent_heads.{head}.linear.bias"] = self._normal(w_dim)

    @property
    def levels(self) -> list[int]:
        return [level for level, count in enumerate(self.heads) for _ in range(count)]

    def _normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=self.random) * scale + mean

    def _conv(self, name: str, inputs: int, outputs: int, side: int, bias: bool = False) -> None:
        scale = math.sqrt(1.0 / (inputs * side * side))
        self.state[f"{name}.weight"] = self._normal(outputs, inputs, side, side, scale=scale)
        if bias:
            self.state[f"{name}.bias"] = self._normal(outputs, scale=0.1)

    def _norm(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = self._normal(channels, scale=0.1, mean=1.0)
        self.state[f"{name}.bias"] = self._normal(channels, scale=0.1)
        self.state[f"{name}.running_mean"] = self._normal(channels, scale=0.1)
        self.state[f"{name}.running_var"] = self._normal(channels, scale=0.1).abs() + 0.9
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def _prelu(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = self._normal(channels, scale=0.05, mean=0.25)

    def _block(self, name: str, inputs: int, outputs: int) -> None:
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

    # -- the forward pass, float64

    def __call__(self, image: Tensor, w_avg: Tensor) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """[1, 3, 256, 256] -> codes [heads, w_dim]; the constant [512, 4, 4]; full padding maps [512, r+2, r+2]."""
        x = self._run_prelu("input_layer.2", self._run_norm("input_layer.1", self._run_conv("input_layer.0", image)))
        features = []
        for stage, count in enumerate(self.blocks):
            for block in range(count):
                x = self._run_block(f"backbone_stages.{stage}.{block}", x, 2 if block == 0 else 1)
            features.append(x)
        low = features[3]
        middle = self._run_conv("fpn.lateral_layers.1", features[2]) + _double(low)
        high = self._run_conv("fpn.lateral_layers.0", features[1]) + _double(middle)
        codes = []
        for head, level in enumerate(self.levels):
            y = (low, middle, high)[level]
            for i in range(4 + level):
                y = F.leaky_relu(self._run_conv(f"latent_heads.{head}.convs.{2 * i}", y, stride=2), 0.01)
            weight = self[f"latent_heads.{head}.linear.weight"] / math.sqrt(self.w_dim)
            codes.append(y.reshape(1, -1) @ weight.T + self[f"latent_heads.{head}.linear.bias"])
        wp = torch.cat(codes) + w_avg
        if not self.padded:
            return wp, None, []
        y = middle
        for block in range(2):
            y = self._run_block(f"padding_extractor.{block}", y, 1)
        size = 2 ** (self.padded + 1) + 2
        shared = F.interpolate(y, size=(size, size), mode="bicubic", align_corners=True)
        maps = []
        for k in range(self.padded):
            own = self._run_conv(f"padding_modulation_heads.{k}", shared) if self.projections else shared
            maps.append(_middle(own, (4 << k) + 2)[0])
        return wp, _middle(shared, 4)[0], maps

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name].double()

    def _run_conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self[f"{name}.weight"]
        bias = self[f"{name}.bias"] if f"{name}.bias" in self.state else None
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    def _run_norm(self, name: str, x: Tensor) -> Tensor:
        gain = self[f"{name}.weight"] / torch.sqrt(self[f"{name}.running_var"] + 1e-5)
        shift = self[f"{name}.bias"] - self[f"{name}.running_mean"] * gain
        return x * gain[:, None, None] + shift[:, None, None]

    def _run_prelu(self, name: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * self[f"{name}.weight"][:, None, None])

    def _run_block(self, name: str, x: Tensor, stride: int) -> Tensor:
        if f"{name}.shortcut_layer.0.weight" in self.state:
            short = self._run_norm(f"{name}.shortcut_layer.1", self._run_conv(f"{name}.shortcut_layer.0", x, stride))
        else:
            short = x[:, :, ::stride, ::stride]
        y = self._run_conv(f"{name}.res_layer.1", self._run_norm(f"{name}.res_layer.0", x))
        y = self._run_conv(f"{name}.res_layer.3", self._run_prelu(f"{name}.res_layer.2", y), stride)
        y = self._run_norm(f"{name}.res_layer.4", y)
        gate = self._run_conv(f"{name}.res_layer.5.fc1", y.mean(dim=(2, 3), keepdim=True)).clamp(min=0)
        return y * torch.sigmoid(self._run_conv(f"{name}.res_layer.5.fc2", gate)) + short


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def _middle(x: Tensor, size: int) -> Tensor:
    at = (x.shape[-1] - size) // 2
    return x[:, :, at : at + size, at : at + size]
