"""GenForce and Hammer restated in float64: nearly the same names, two different arithmetics."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from source_arithmetic import FILTER, Weights, clamp, lrelu, minibatch_statistics, second_moment_norm, upfirdn
from torch import Tensor


class GenForceGenerator:
    """`hammer`: the newer dialect, of Hammer and the paper's release. Channels at 4, 8, ..."""

    def __init__(
        self,
        channels: tuple[int, ...],
        z_dim: int,
        w_dim: int,
        depth: int,
        hammer: bool,
        hidden: int | None = None,
        clamp: float | None = None,
        seed: int = 0,
    ) -> None:
        self.channels, self.w_dim, self.depth, self.hammer, self.clamp = channels, w_dim, depth, hammer, clamp
        w = self.w = Weights(seed)
        widths = [z_dim, *[hidden or w_dim] * (depth - 1), w_dim]
        for i in range(depth):
            w.add(f"mapping.dense{i}.weight", widths[i + 1], widths[i], scale=100.0)
            w.add(f"mapping.dense{i}.bias", widths[i + 1], scale=20.0)
        w.add("w_avg" if hammer else "truncation.w_avg", w_dim)
        w.add("synthesis.early_layer.const", 1, channels[0], 4, 4)
        below = channels[0]
        for k, c in enumerate(channels):
            for layer in (2 * k - 1, 2 * k) if k else (0,):
                name = f"synthesis.layer{layer}"
                self._modulated(name, below if layer % 2 else c, c, 3)
                w.add(f"{name}.noise", 1, 1, 4 << k, 4 << k)
                w.add(f"{name}.noise_strength", scale=0.3)
            self._modulated(f"synthesis.output{k}", c, 3, 1)
            below = c

    def _modulated(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        self.w.add(f"{name}.weight", outputs, inputs, kernel, kernel)
        self.w.add(f"{name}.bias", outputs, scale=0.3)
        self.w.add(f"{name}.style.weight", inputs, self.w_dim)
        self.w.add(f"{name}.style.bias", inputs, scale=0.3, mean=1.0 if self.hammer else 0.0)

    def state_dict(self) -> dict[str, Tensor]:
        ups = [f"synthesis.layer{2 * k - 1}" for k in range(1, len(self.channels))]
        if self.hammer:
            return self.w.file({"synthesis.filter": FILTER, **{f"{n}.filter": FILTER for n in ups}})
        kernel = FILTER[None, None] * 4
        return self.w.file({"synthesis.upsample.kernel": kernel, **{f"{n}.filter.kernel": kernel for n in ups}})

    def mapping(self, z: Tensor) -> Tensor:
        x = second_moment_norm(z)
        for i in range(self.depth):
            weight = self.w[f"mapping.dense{i}.weight"] * (0.01 / math.sqrt(x.shape[1]))
            x = lrelu(F.linear(x, weight) + self.w[f"mapping.dense{i}.bias"] * 0.01)
        return x

    def _conv(self, name: str, x: Tensor, code: Tensor, up: bool = False, rgb: bool = False) -> Tensor:
        weight = self.w[f"{name}.weight"]
        scale = 1 / math.sqrt(weight[0].numel())
        style = F.linear(code, self.w[f"{name}.style.weight"] / math.sqrt(self.w_dim)) + self.w[f"{name}.style.bias"]
        style = style if self.hammer else style + 1.0
        if rgb:
            return F.conv2d(x, weight * scale * style[None, :, None, None])
        weight = weight if self.hammer else weight * scale  # where the epsilon meets it
        weight = weight * style[None, :, None, None]
        weight = weight / torch.sqrt(weight.pow(2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if not up:
            return F.conv2d(x, weight, padding=1)
        kernel = weight if self.hammer else weight.flip(2, 3)
        return upfirdn(F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2), pad=(1, 1), gain=4)

    def synthesis(self, wp: Tensor) -> Tensor:  # [L, w_dim] -> [3, R, R]
        x, image = self.w["synthesis.early_layer.const"], None
        for layer in range(2 * len(self.channels) - 1):
            name = f"synthesis.layer{layer}"
            x = self._conv(name, x, wp[layer], up=layer % 2 == 1)
            x = x + self.w[f"{name}.noise"] * self.w[f"{name}.noise_strength"]
            x = clamp(lrelu(x + self.w[f"{name}.bias"][None, :, None, None]), self.clamp)
            if layer % 2 == 0:
                name = f"synthesis.output{layer // 2}"
                rgb = self._conv(name, x, wp[layer + 1], rgb=True) + self.w[f"{name}.bias"][None, :, None, None]
                rgb = clamp(rgb, self.clamp)
                image = rgb if image is None else upfirdn(image, up=2, pad=(2, 1), gain=4) + rgb
        assert image is not None
        return image[0]


class GenForceDiscriminator:
    """Channels at 4, 8, ...; in GenForce's own dialect the first linear layer may have another width."""

    def __init__(
        self,
        channels: tuple[int, ...],
        hammer: bool,
        architecture: str = "resnet",
        group: int = 4,
        fc: int | None = None,
        clamp: float | None = None,
        seed: int = 1,
    ) -> None:
        self.channels, self.hammer, self.architecture = channels[::-1], hammer, architecture
        self.group, self.clamp = group, clamp
        w = self.w = Weights(seed)
        self.shortcut = "residual" if hammer else "skip_layer"
        n = self.n = len(channels) - 1
        for k, c in enumerate(self.channels):
            if k == 0 or architecture == "skip":
                self._conv(f"input{k}", 3, c, 1)
            if k < n:
                self._conv(f"layer{2 * k}", c, c, 3)
                self._conv(f"layer{2 * k + 1}", c, self.channels[k + 1], 3)
                if architecture == "resnet":
                    w.add(f"{self.shortcut}{k}.weight", self.channels[k + 1], c, 1, 1)
        last = channels[0]
        fc = fc or last
        self._conv(f"layer{2 * n}", last + 1, last, 3)
        self.output = "output" if hammer else f"layer{2 * n + 2}"
        for name, a, b in ((f"layer{2 * n + 1}", last * 16, fc), (self.output, fc, 1)):
            w.add(f"{name}.weight", b, a)
            w.add(f"{name}.bias", b, scale=0.3)

    def _conv(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        self.w.add(f"{name}.weight", outputs, inputs, kernel, kernel)
        self.w.add(f"{name}.bias", outputs, scale=0.3)

    def state_dict(self) -> dict[str, Tensor]:
        downs = [f"layer{2 * k + 1}" for k in range(self.n)]
        if self.architecture == "resnet":
            downs += [f"{self.shortcut}{k}" for k in range(self.n)]
        suffix, kernel = ("filter", FILTER) if self.hammer else ("filter.kernel", FILTER[None, None])
        filters = {f"{name}.{suffix}": kernel for name in downs}
        if self.architecture == "skip":
            filters["filter" if self.hammer else "downsample.kernel"] = kernel
        return self.w.file(filters)

    def _layer(self, name: str, x: Tensor, down: bool = False, linear: bool = False, gain: float = 1.0) -> Tensor:
        weight = self.w[f"{name}.weight"]
        weight = weight / math.sqrt(weight[0].numel())
        side = weight.shape[-1]
        if down:
            x = upfirdn(x, pad=(2, 2) if side == 3 else (1, 1))
        x = F.conv2d(x, weight, stride=2 if down else 1, padding=0 if down else side // 2)
        if linear:
            return x * gain
        x = lrelu(x + self.w[f"{name}.bias"][None, :, None, None], math.sqrt(2) * gain)
        return clamp(x, None if self.clamp is None else self.clamp * gain)

    def __call__(self, images: Tensor) -> Tensor:
        x = self._layer("input0", images)
        for k in range(self.n):
            if self.architecture == "skip" and k:
                images = upfirdn(images, down=2, pad=(1, 1))
                x = x + self._layer(f"input{k}", images)
            half = math.sqrt(0.5) if self.architecture == "resnet" else 1.0
            y = self._layer(f"layer{2 * k + 1}", self._layer(f"layer{2 * k}", x), down=True, gain=half)
            if self.architecture == "resnet":
                y = y + self._layer(f"{self.shortcut}{k}", x, down=True, linear=True, gain=half)
            x = y
        if self.architecture == "skip":
            x = x + self._layer(f"input{self.n}", upfirdn(images, down=2, pad=(1, 1)))
        x = self._layer(f"layer{2 * self.n}", minibatch_statistics(x, self.group)).reshape(len(x), -1)
        for name in (f"layer{2 * self.n + 1}", self.output):
            weight = self.w[f"{name}.weight"]
            x = F.linear(x, weight / math.sqrt(weight.shape[1])) + self.w[f"{name}.bias"]
            x = x if name == self.output else lrelu(x)
        return x


def hammer_file(
    g: GenForceGenerator, d: GenForceDiscriminator | None, settings: dict[str, Any], raw_w_avg: Tensor | None = None
) -> dict[str, Any]:
    """A checkpoint as Hammer's runner writes one; `settings` are its constructors' arguments, by network."""
    smooth = g.state_dict()
    raw = {**smooth, "synthesis.layer0.bias": smooth["synthesis.layer0.bias"] + 1.0}
    if raw_w_avg is not None:
        raw["w_avg"] = raw_w_avg
    models = {"generator": raw, "generator_smooth": smooth}
    if d is not None:
        models["discriminator"] = d.state_dict()
    return {
        "models": models,
        "model_kwargs_init": settings,
        "model_kwargs_val": {"generator": {"trunc_psi": 0.5}},
        "running_metadata": {"iter": 3, "seen_img": 24},
        "optimizers": {"generator": {"state": {0: {"step": 1, "exp_avg": torch.zeros(2)}}, "param_groups": []}},
    }
