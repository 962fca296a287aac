"""NVIDIA's StyleGAN2 in PyTorch restated in float64, and its pickles: objects of classes whose source they carry."""

from __future__ import annotations

import math
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from source_arithmetic import FILTER, Weights, clamp, lrelu, minibatch_statistics, second_moment_norm, upfirdn
from torch import Tensor, nn

CALLS: list[Any] = []  # what the pickles' own reconstructor was called with: nothing, ever
MODULE_SOURCE = "import os\nos.system('touch /tmp/padinv-must-not-exist')\nraise SystemExit('the source was run')\n"


class Module:
    """A network object as NVIDIA's persistence layer pickles one."""

    def __init__(self, class_name: str, **attributes: Any) -> None:
        self.class_name = class_name
        self.attributes = attributes
        self.parameters: OrderedDict[str, Any] = OrderedDict()
        self.buffers: OrderedDict[str, Any] = OrderedDict()
        self.modules: OrderedDict[str, Any] = OrderedDict()

    def __reduce__(self) -> Any:
        state = {
            "training": False,
            "_parameters": self.parameters,
            "_buffers": self.buffers,
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": OrderedDict(),
            "_modules": self.modules,
            **self.attributes,
            "_init_args": (),
            "_init_kwargs": {},
        }
        reconstruct = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj  # type: ignore[attr-defined]
        meta = {
            "type": "class",
            "version": 6,
            "module_src": MODULE_SOURCE,
            "class_name": self.class_name,
            "state": state,
        }
        return reconstruct, (meta,)


def _reconstruct_persistent_obj(meta: Any) -> Any:
    CALLS.append(meta)
    raise AssertionError("the pickle's own code was called")


def dump(path: Path, value: Any, protocol: int = 4) -> None:
    """Pickle `value` where the modules that it names exist for that moment only."""
    package, module, dnnlib, util = (
        types.ModuleType(n) for n in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    )
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    util.EasyDict = easy  # type: ignore[attr-defined]
    names = {"torch_utils": package, "torch_utils.persistence": module, "dnnlib": dnnlib, "dnnlib.util": util}
    sys.modules.update(names)
    try:
        if isinstance(value, dict):
            value = {**value, "training_set_kwargs": easy(path="data.zip", use_labels=False), "augment_pipe": None}
        path.write_bytes(pickle.dumps(value, protocol=protocol))
    finally:
        for name in names:
            del sys.modules[name]


class NvidiaGenerator:
    """Channels at 4, 8, ...; `clamp` is conv_clamp; attributes differ a little between the two repositories."""

    def __init__(
        self,
        channels: tuple[int, ...],
        z_dim: int,
        w_dim: int,
        depth: int,
        clamp: float | None = None,
        hidden: int | None = None,
        seed: int = 0,
        noise: bool = True,
    ) -> None:
        self.channels, self.z_dim, self.w_dim, self.depth, self.clamp = channels, z_dim, w_dim, depth, clamp
        self.hidden, self.noise, self.lr = hidden or w_dim, noise, 0.01
        w = self.w = Weights(seed)
        widths = [z_dim, *[self.hidden] * (depth - 1), w_dim]
        for i in range(depth):
            w.add(f"mapping.fc{i}.weight", widths[i + 1], widths[i], scale=100.0)
            w.add(f"mapping.fc{i}.bias", widths[i + 1], scale=20.0)
        w.add("mapping.w_avg", w_dim)
        w.add("synthesis.b4.const", channels[0], 4, 4)
        below = channels[0]
        for k, c in enumerate(channels):
            for conv in ("conv0", "conv1") if k else ("conv1",):
                name, inputs = f"synthesis.b{4 << k}.{conv}", below if conv == "conv0" else c
                self._modulated(name, inputs, c, 3)
                if noise:
                    w.add(f"{name}.noise_const", 4 << k, 4 << k)
                    w.add(f"{name}.noise_strength", scale=0.3)
            self._modulated(f"synthesis.b{4 << k}.torgb", c, 3, 1)
            below = c

    def _modulated(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        self.w.add(f"{name}.weight", outputs, inputs, kernel, kernel)
        self.w.add(f"{name}.bias", outputs, scale=0.3)
        self.w.add(f"{name}.affine.weight", inputs, self.w_dim)
        self.w.add(f"{name}.affine.bias", inputs, scale=0.3, mean=1.0)

    def state_dict(self) -> dict[str, Tensor]:
        filters = {f"synthesis.b{4 << k}.resample_filter": FILTER for k in range(len(self.channels))}
        filters |= {f"synthesis.b{4 << k}.conv1.resample_filter": FILTER for k in range(len(self.channels))}
        filters |= {f"synthesis.b{4 << k}.conv0.resample_filter": FILTER for k in range(1, len(self.channels))}
        return self.w.file(filters)

    def pickled(self, newer: bool = False, c_dim: int = 0, architecture: str = "skip", **block: Any) -> Module:
        """The object; `newer`: as the stylegan3 repository writes it."""
        state = self.state_dict()
        resolution = 4 << (len(self.channels) - 1)
        top = Module("Generator", z_dim=self.z_dim, c_dim=c_dim, w_dim=self.w_dim, img_resolution=resolution)
        mapping = Module("MappingNetwork", z_dim=self.z_dim, c_dim=c_dim, w_dim=self.w_dim, num_layers=self.depth)
        mapping.buffers["w_avg"] = state["mapping.w_avg"]
        for i in range(self.depth):
            mapping.modules[f"fc{i}"] = _linear(state, f"mapping.fc{i}", self.lr, "lrelu")
        synthesis = Module("SynthesisNetwork", w_dim=self.w_dim, img_resolution=resolution, img_channels=3)
        for k in range(len(self.channels)):
            r = 4 << k
            at = Module("SynthesisBlock", resolution=r, architecture=architecture, use_fp16=k > 1, **block)
            if newer:
                at.attributes["fused_modconv_default"] = "inference_only"
            at.buffers["resample_filter"] = state[f"synthesis.b{r}.resample_filter"]
            if k == 0:
                at.parameters["const"] = nn.Parameter(state["synthesis.b4.const"])
            for conv in ("conv0", "conv1") if k else ("conv1",):
                at.modules[conv] = self._layer(state, f"synthesis.b{r}.{conv}", k > 1)
            at.modules["torgb"] = self._layer(state, f"synthesis.b{r}.torgb", k > 1)
            synthesis.modules[f"b{r}"] = at
        top.modules["synthesis"], top.modules["mapping"] = synthesis, mapping
        return top

    def _layer(self, state: dict[str, Tensor], name: str, channels_last: bool) -> Module:
        rgb = name.endswith("torgb")
        module = Module("ToRGBLayer" if rgb else "SynthesisLayer", conv_clamp=self.clamp)
        weight = state[f"{name}.weight"]
        if channels_last:  # half-precision layers keep their weights in this order
            weight = weight.to(memory_format=torch.channels_last)
        module.parameters["weight"] = nn.Parameter(weight)
        module.parameters["bias"] = nn.Parameter(state[f"{name}.bias"])
        if rgb:
            module.attributes["weight_gain"] = 1 / np.sqrt(weight.shape[1])
        else:
            module.attributes |= {"activation": "lrelu", "up": 2 if name.endswith("conv0") else 1, "padding": 1}
            module.attributes |= {"act_gain": np.sqrt(2), "use_noise": self.noise}
            module.buffers["resample_filter"] = state[f"{name}.resample_filter"]
            if self.noise:
                module.buffers["noise_const"] = state[f"{name}.noise_const"]
                module.parameters["noise_strength"] = nn.Parameter(state[f"{name}.noise_strength"])
        module.modules["affine"] = _linear(state, f"{name}.affine", 1, "linear")
        return module

    def mapping(self, z: Tensor) -> Tensor:
        x = second_moment_norm(z)
        for i in range(self.depth):
            weight = self.w[f"mapping.fc{i}.weight"] * (self.lr / math.sqrt(x.shape[1]))
            x = lrelu(F.linear(x, weight) + self.w[f"mapping.fc{i}.bias"] * self.lr)
        return x

    def _conv(self, name: str, x: Tensor, code: Tensor, up: bool = False, rgb: bool = False) -> Tensor:
        weight = self.w[f"{name}.weight"]
        style = F.linear(code, self.w[f"{name}.affine.weight"] / math.sqrt(self.w_dim)) + self.w[f"{name}.affine.bias"]
        if rgb:
            style = style / math.sqrt(weight.shape[1])
        weight = weight * style[None, :, None, None]
        if not rgb:
            weight = weight / torch.sqrt(weight.pow(2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up:
            # The source's definition of its shortcut: up-sample with the filter, then convolve (kernel turned round).
            x = upfirdn(x, up=2, pad=(3, 2), gain=4)
            return F.conv2d(x, weight.flip(2, 3))
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def _styled(self, name: str, x: Tensor, code: Tensor) -> Tensor:
        x = self._conv(name, x, code, up=name.endswith("conv0"))
        if self.noise:
            x = x + self.w[f"{name}.noise_const"] * self.w[f"{name}.noise_strength"]
        return clamp(lrelu(x + self.w[f"{name}.bias"][None, :, None, None]), self.clamp)

    def synthesis(self, wp: Tensor) -> Tensor:  # [L, w_dim] -> [3, R, R]
        x, image, used = self.w["synthesis.b4.const"][None], None, 0
        for k in range(len(self.channels)):
            name = f"synthesis.b{4 << k}"
            for conv in ("conv0", "conv1") if k else ("conv1",):
                x = self._styled(f"{name}.{conv}", x, wp[used])
                used += 1
            rgb = self._conv(f"{name}.torgb", x, wp[used], rgb=True) + self.w[f"{name}.torgb.bias"][None, :, None, None]
            rgb = clamp(rgb, self.clamp)
            image = rgb if image is None else upfirdn(image, up=2, pad=(2, 1), gain=4) + rgb
        assert image is not None
        return image[0]


def _linear(state: dict[str, Tensor], name: str, lr: float, activation: str) -> Module:
    weight = state[f"{name}.weight"]
    module = Module(
        "FullyConnectedLayer", activation=activation, weight_gain=lr / np.sqrt(weight.shape[1]), bias_gain=lr
    )
    module.parameters["weight"] = nn.Parameter(weight)
    module.parameters["bias"] = nn.Parameter(state[f"{name}.bias"])
    return module


class NvidiaDiscriminator:
    """Channels at 4, 8, ...; architectures 'resnet', 'skip', 'orig'."""

    def __init__(
        self,
        channels: tuple[int, ...],
        architecture: str = "resnet",
        group: int | None = 4,
        clamp: float | None = None,
        seed: int = 1,
    ) -> None:
        self.channels, self.architecture, self.group, self.clamp = channels, architecture, group, clamp
        w = self.w = Weights(seed)
        for k in range(len(channels) - 1, 0, -1):
            name, c, out = f"b{4 << k}", channels[k], channels[k - 1]
            if k == len(channels) - 1 or architecture == "skip":
                self._conv(f"{name}.fromrgb", 3, c, 1)
            self._conv(f"{name}.conv0", c, c, 3)
            self._conv(f"{name}.conv1", c, out, 3)
            if architecture == "resnet":
                w.add(f"{name}.skip.weight", out, c, 1, 1)
        last = channels[0]
        if architecture == "skip":
            self._conv("b4.fromrgb", 3, last, 1)
        self._conv("b4.conv", last + 1, last, 3)
        for name, a, b in (("b4.fc", last * 16, last), ("b4.out", last, 1)):
            w.add(f"{name}.weight", b, a)
            w.add(f"{name}.bias", b, scale=0.3)

    def _conv(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        self.w.add(f"{name}.weight", outputs, inputs, kernel, kernel)
        self.w.add(f"{name}.bias", outputs, scale=0.3)

    def pickled(self) -> Module:
        state = self.w.file()
        top = Module("Discriminator", c_dim=0, img_resolution=4 << (len(self.channels) - 1), img_channels=3)
        for name in dict.fromkeys(n.partition(".")[0] for n in state):
            block = Module("DiscriminatorEpilogue" if name == "b4" else "DiscriminatorBlock", resolution=int(name[1:]))
            block.attributes["architecture"] = self.architecture
            if name == "b4":
                block.modules["mbstd"] = Module("MinibatchStdLayer", group_size=self.group, num_channels=1)
            else:
                block.buffers["resample_filter"] = FILTER.float()
            for part in dict.fromkeys(n.split(".")[1] for n in state if n.startswith(f"{name}.")):
                full = f"{name}.{part}"
                if part in ("fc", "out"):
                    block.modules[part] = _linear(state, full, 1, "lrelu" if part == "fc" else "linear")
                    continue
                clamped = None if part == "skip" or full == "b4.fromrgb" else self.clamp
                layer = Module("Conv2dLayer", activation="linear" if part == "skip" else "lrelu", conv_clamp=clamped)
                layer.buffers["resample_filter"] = FILTER.float()
                layer.parameters["weight"] = nn.Parameter(state[f"{full}.weight"])
                layer.parameters["bias"] = None if part == "skip" else nn.Parameter(state[f"{full}.bias"])
                block.modules[part] = layer
            top.modules[name] = block
        return top

    def _layer(self, name: str, x: Tensor, down: bool = False, gain: float = 1.0, clamped: bool = True) -> Tensor:
        weight = self.w[f"{name}.weight"]
        weight = weight / math.sqrt(weight[0].numel())
        side = weight.shape[-1]
        if down:
            x = upfirdn(x, pad=(2, 2) if side == 3 else (1, 1))
            x = F.conv2d(x, weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=side // 2)
        if name.endswith("skip"):
            return x * gain
        x = lrelu(x + self.w[f"{name}.bias"][None, :, None, None], math.sqrt(2.0) * gain)
        return clamp(x, None if self.clamp is None or not clamped else self.clamp * gain)

    def __call__(self, images: Tensor) -> Tensor:
        x: Tensor | None = None
        for k in range(len(self.channels) - 1, 0, -1):
            name = f"b{4 << k}"
            if x is None or self.architecture == "skip":
                rgb = self._layer(f"{name}.fromrgb", images)
                x = rgb if x is None else x + rgb
                if self.architecture == "skip":
                    images = upfirdn(images, down=2, pad=(1, 1))
            half = math.sqrt(0.5) if self.architecture == "resnet" else 1.0
            y = self._layer(f"{name}.conv1", self._layer(f"{name}.conv0", x), down=True, gain=half)
            x = y + self._layer(f"{name}.skip", x, down=True, gain=half) if self.architecture == "resnet" else y
        assert x is not None
        if self.architecture == "skip":
            x = x + self._layer("b4.fromrgb", images, clamped=False)
        x = self._layer("b4.conv", minibatch_statistics(x, self.group or len(x))).reshape(len(x), -1)
        for name in ("b4.fc", "b4.out"):
            weight = self.w[f"{name}.weight"]
            x = F.linear(x, weight / math.sqrt(weight.shape[1])) + self.w[f"{name}.bias"]
            x = lrelu(x) if name == "b4.fc" else x
        return x
