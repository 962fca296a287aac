"""rosinality's stylegan2-pytorch restated in float64: names, shapes and arithmetic of its two networks."""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch
import torch.nn.functional as F
from source_arithmetic import FILTER, Weights, lrelu, minibatch_statistics, second_moment_norm, upfirdn
from torch import Tensor


class RosinalityGenerator:
    """`channels` at 4, 8, ...; `w_dim` is both z's and w's width."""

    def __init__(self, channels: tuple[int, ...], w_dim: int, depth: int, seed: int = 0) -> None:
        self.channels, self.w_dim, self.depth = channels, w_dim, depth
        w = self.w = Weights(seed)
        for i in range(depth):
            w.add(f"style.{i + 1}.weight", w_dim, w_dim, scale=100.0)
            w.add(f"style.{i + 1}.bias", w_dim, scale=20.0)
        w.add("input.input", 1, channels[0], 4, 4)
        below = channels[0]
        for k, c in enumerate(channels):
            for layer in (2 * k - 1, 2 * k) if k else (0,):
                name = "conv1" if layer == 0 else f"convs.{layer - 1}"
                inputs = below if layer % 2 else c
                self._modulated(f"{name}.conv", inputs, c, 3)
                w.add(f"{name}.noise.weight", 1, scale=0.3)
                w.add(f"{name}.activate.bias", c, scale=0.3)
                w.add(f"noises.noise_{layer}", 1, 1, 4 << k, 4 << k)
            name = "to_rgb1" if k == 0 else f"to_rgbs.{k - 1}"
            self._modulated(f"{name}.conv", c, 3, 1)
            w.add(f"{name}.bias", 1, 3, 1, 1, scale=0.3)
            below = c

    def _modulated(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        self.w.add(f"{name}.weight", 1, outputs, inputs, kernel, kernel)
        self.w.add(f"{name}.modulation.weight", inputs, self.w_dim)
        self.w.add(f"{name}.modulation.bias", inputs, scale=0.3, mean=1.0)

    def state_dict(self, prefix: str = "", noises: bool = True) -> dict[str, Tensor]:
        kernels = {}
        for k in range(1, len(self.channels)):
            kernels[f"convs.{2 * k - 2}.conv.blur.kernel"] = FILTER * 4
            kernels[f"to_rgbs.{k - 1}.upsample.kernel"] = FILTER * 4
        state = self.w.file(kernels, prefix)
        return {n: v for n, v in state.items() if noises or "noises." not in n}

    def mapping(self, z: Tensor) -> Tensor:
        x = second_moment_norm(z)
        for i in range(self.depth):
            weight, bias = self.w[f"style.{i + 1}.weight"], self.w[f"style.{i + 1}.bias"]
            x = lrelu(F.linear(x, weight * (0.01 / math.sqrt(x.shape[1]))) + bias * 0.01)
        return x

    def _conv(self, name: str, x: Tensor, code: Tensor, demodulate: bool = True, up: bool = False) -> Tensor:
        """One picture at a time: the weight is modulated, demodulated, and convolved with."""
        raw = self.w[f"{name}.weight"][0]
        modulation = self.w[f"{name}.modulation.weight"]
        style = F.linear(code, modulation / math.sqrt(self.w_dim)) + self.w[f"{name}.modulation.bias"]
        weight = raw * style[None, :, None, None] / math.sqrt(raw[0].numel())
        if demodulate:
            weight = weight / torch.sqrt(weight.pow(2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up:
            return upfirdn(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), pad=(1, 1), gain=4)
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def _styled(self, layer: int, x: Tensor, code: Tensor) -> Tensor:
        name = "conv1" if layer == 0 else f"convs.{layer - 1}"
        x = self._conv(f"{name}.conv", x, code, up=layer % 2 == 1)
        x = x + self.w[f"{name}.noise.weight"] * self.w[f"noises.noise_{layer}"]
        return lrelu(x + self.w[f"{name}.activate.bias"][None, :, None, None])

    def synthesis(self, wp: Tensor) -> Tensor:  # [L, w_dim] -> [3, R, R]
        x = self._styled(0, self.w["input.input"], wp[0])
        skip = self._conv("to_rgb1.conv", x, wp[1], demodulate=False) + self.w["to_rgb1.bias"]
        for k in range(1, len(self.channels)):
            x = self._styled(2 * k - 1, x, wp[2 * k - 1])
            x = self._styled(2 * k, x, wp[2 * k])
            name = f"to_rgbs.{k - 1}"
            rgb = self._conv(f"{name}.conv", x, wp[2 * k + 1], demodulate=False) + self.w[f"{name}.bias"]
            skip = upfirdn(skip, up=2, pad=(2, 1), gain=4) + rgb
        return skip[0]


class RosinalityDiscriminator:
    """`channels` at 4, 8, ..."""

    def __init__(self, channels: tuple[int, ...], seed: int = 1) -> None:
        self.channels = channels[::-1]
        w = self.w = Weights(seed)
        w.add("convs.0.0.weight", self.channels[0], 3, 1, 1)
        w.add("convs.0.1.bias", self.channels[0], scale=0.3)
        for k, (a, b) in enumerate(zip(self.channels, self.channels[1:], strict=False), start=1):
            w.add(f"convs.{k}.conv1.0.weight", a, a, 3, 3)
            w.add(f"convs.{k}.conv1.1.bias", a, scale=0.3)
            w.add(f"convs.{k}.conv2.1.weight", b, a, 3, 3)
            w.add(f"convs.{k}.conv2.2.bias", b, scale=0.3)
            w.add(f"convs.{k}.skip.1.weight", b, a, 1, 1)
        last = self.channels[-1]
        w.add("final_conv.0.weight", last, last + 1, 3, 3)
        w.add("final_conv.1.bias", last, scale=0.3)
        w.add("final_linear.0.weight", last, last * 16)
        w.add("final_linear.0.bias", last, scale=0.3)
        w.add("final_linear.1.weight", 1, last)
        w.add("final_linear.1.bias", 1, scale=0.3)

    def state_dict(self) -> dict[str, Tensor]:
        blocks = range(1, len(self.channels))
        kernels = {f"convs.{k}.{part}.0.kernel": FILTER for k in blocks for part in ("conv2", "skip")}
        return self.w.file(kernels)

    def _layer(self, x: Tensor, weight: str, bias: str = "", down: bool = False) -> Tensor:
        kernel = self.w[weight] / math.sqrt(self.w[weight][0].numel())
        side = kernel.shape[-1]
        if down:
            x = upfirdn(x, pad=(2, 2) if side == 3 else (1, 1))
        x = F.conv2d(x, kernel, stride=2 if down else 1, padding=0 if down else side // 2)
        return lrelu(x + self.w[bias][None, :, None, None]) if bias else x

    def __call__(self, images: Tensor) -> Tensor:
        x = self._layer(images, "convs.0.0.weight", "convs.0.1.bias")
        for k in range(1, len(self.channels)):
            y = self._layer(x, f"convs.{k}.conv1.0.weight", f"convs.{k}.conv1.1.bias")
            y = self._layer(y, f"convs.{k}.conv2.1.weight", f"convs.{k}.conv2.2.bias", down=True)
            x = (y + self._layer(x, f"convs.{k}.skip.1.weight", down=True)) / math.sqrt(2)
        x = self._layer(minibatch_statistics(x, 4), "final_conv.0.weight", "final_conv.1.bias")
        x = x.reshape(len(x), -1)
        for i in range(2):
            weight = self.w[f"final_linear.{i}.weight"]
            x = F.linear(x, weight / math.sqrt(weight.shape[1])) + self.w[f"final_linear.{i}.bias"]
            x = lrelu(x) if i == 0 else x
        return x


def training_file(g: RosinalityGenerator, d: RosinalityDiscriminator) -> dict[str, Any]:
    """A checkpoint as its train.py writes one: networks, optimisers, the command line."""
    other = RosinalityGenerator(g.channels, g.w_dim, g.depth, seed=99)
    exp = {0: {"step": 3, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}}
    optimizer = {"state": exp, "param_groups": [{"lr": 0.002, "betas": (0.0, 0.99), "params": [0]}]}
    args = argparse.Namespace(path="lmdb", size=4 << (len(g.channels) - 1), latent=g.w_dim, n_mlp=g.depth, ckpt=None)
    return {
        "g": other.state_dict(),
        "d": d.state_dict(),
        "g_ema": g.state_dict(),
        "g_optim": optimizer,
        "d_optim": optimizer,
        "args": args,
        "ada_aug_p": 0.0,
    }


def psp_file(g: RosinalityGenerator, latent_avg: Tensor) -> dict[str, Any]:
    """A checkpoint as pSp, e4e and ReStyle write one: encoder and decoder in one state dict."""
    encoder = {
        "encoder.input_layer.0.weight": torch.zeros(64, 3, 3, 3),
        "encoder.body.0.res_layer.1.weight": torch.zeros(64, 64, 3, 3),
        "encoder.styles.0.convs.0.weight": torch.zeros(8, 8, 3, 3),
    }
    opts = {"device": "cuda:0", "output_size": 4 << (len(g.channels) - 1), "start_from_latent_avg": True}
    return {"state_dict": {**encoder, **g.state_dict("decoder.")}, "opts": opts, "latent_avg": latent_avg}
