"""What a source calls the weights of StyleGAN2, and what every source's plan has in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.container.lazy_tensors import Refused
from padinv.checkpoints.formats.conversion_plan import DiscriminatorPlan, GeneratorPlan, Piece, Unsupported, View
from padinv.runtime.errors import InputError
from padinv.runtime.spec import MAX_MAPPING_LAYERS, ModelSpec

if TYPE_CHECKING:
    import torch

MAX_RESOLUTIONS = 9  # 4 ... 1024
NOISE_SEED = 0
# What the truncation centre is called beside a network, or within its state dict.
CENTRES = ("latent_avg", "mean_latent", "w_avg", "dlatent_avg", "latent_mean", "avg_latent", "w_mean", "mean_w")


@dataclass(frozen=True)
class Layer:
    """Names of one modulated layer's tensors; an output layer has neither noise nor strength."""

    weight: str
    bias: str
    affine_weight: str
    affine_bias: str
    noise: str = ""
    strength: str = ""


@dataclass(frozen=True)
class GeneratorLayout:
    """Where a source keeps a generator's weights.

    Attributes:
        source: the source, as people call it.
        anchors: tensor names by which the layout is recognised; all must be there.
        mapping: layer index -> its name, to which '.weight' and '.bias' are added.
        layer: index of the 3x3 layer -> its names.
        output: index of the resolution -> names of its ToRGB layer.
        w_avg: name of the truncation centre; None: kept elsewhere.
        is_filter: whether a tensor is a resampling filter.
        hyper: what tensors cannot tell: conv_clamp, mapping_lr_mult; refuses settings that padinv's layers lack.
        demod_eps_scaled: see ModelSpec.
        flip_up: up-sampling weights are stored mirrored.
        style_offset: added to the style's bias at run time by the source, and therefore here.
        one_of: further names, of which one must be there.
        assumed: (network) -> what the file does not say and padinv takes for granted, as sentences.
    """

    source: str
    anchors: tuple[str, ...]
    const: str
    mapping: Callable[[int], str]
    layer: Callable[[int], Layer]
    output: Callable[[int], Layer]
    w_avg: str | None
    is_filter: Callable[[str], bool]
    hyper: Callable[[Network], dict[str, Any]]
    demod_eps_scaled: bool
    flip_up: bool = False
    style_offset: float = 0.0
    one_of: tuple[str, ...] = ()
    assumed: Callable[[Network], list[str]] = lambda network: []

    def plan(self, network: Network) -> GeneratorPlan:
        """Check a network against this layout.

        Raises:
            Unsupported: a StyleGAN2 that padinv cannot run. Refused: incomplete, or of wrong shapes.
        """
        view = View(network)
        hyper = self.hyper(network)
        labels = ("embed", "label_weight")
        if any(n.startswith("mapping.") and any(part in n.lower() for part in labels) for n in network.tensors):
            raise Unsupported(
                "holds a class-conditional generator (its mapping network embeds labels); padinv takes only "
                "unconditional ones"
            )
        channels = self._channels(view)
        resolution = 4 << (len(channels) - 1)
        pieces, depth, z_dim, w_dim, width = self._mapping(view)
        const = view.shape(self.const)
        if len(const) < 3 or const[-2] < 1:
            raise Refused(f"has a constant input of shape {list(const)}, which is not a feature map")
        if const[-2:] != (4, 4):
            raise Unsupported(f"holds a generator that starts at {const[-2]} x {const[-1]} px, not at 4 x 4")
        if resolution < 8:
            raise Unsupported("holds a generator of 4 px; padinv starts at 8")
        try:
            spec = ModelSpec(
                resolution,
                channels,
                z_dim,
                w_dim,
                depth,
                mapping_width=None if width == w_dim else width,
                demod_eps_scaled=self.demod_eps_scaled,
                **hyper,
            )
        except InputError as error:
            raise Refused(f"describes a generator that cannot be: {error}") from error
        pieces["const"] = view.take(self.const, spec.const_shape)
        noise = self._layers(view, spec, pieces)
        w_avg = self._w_avg(view, spec)
        view.check_filters(self.is_filter)
        view.refuse_rest(lambda name: self.is_filter(name) or name in CENTRES, "StyleGAN2's generator")
        return GeneratorPlan(spec, pieces, w_avg, self.source, network.path, noise, self.assumed(network))

    def _channels(self, view: View) -> tuple[int, ...]:
        """Channels at 4, 8, ...: as many resolutions as there are 3x3 layers."""
        channels = []
        for k in range(MAX_RESOLUTIONS + 1):
            if self.layer(2 * k).weight not in view:
                break
            channels.append(view.kernel(self.layer(2 * k).weight)[0])
        if len(channels) > MAX_RESOLUTIONS:
            raise Unsupported("holds a generator of more than 1024 px; padinv ends there")
        missing = [k for k in range(len(channels)) if self.output(k).weight not in view]
        if missing and len(missing) == len(channels) - 1:
            raise Unsupported(
                "holds a generator of the 'resnet' or 'orig' architecture (one output, at the last resolution); "
                "padinv runs the 'skip' architecture, which nearly every StyleGAN2 has"
            )
        rgb = view.kernel(self.output(len(channels) - 1).weight)
        if rgb[0] != 3:
            raise Unsupported(f"holds a generator of {rgb[0]} image channels; padinv takes RGB")
        return tuple(channels)

    def _mapping(self, view: View) -> tuple[dict[str, Piece], int, int, int, int]:
        """Pieces of the mapping network; its depth, z_dim, w_dim and hidden width."""
        depth = 0
        while f"{self.mapping(depth)}.weight" in view and depth <= MAX_MAPPING_LAYERS:
            depth += 1
        if depth == 0:
            raise Refused(f"is not whole: it lacks the mapping network's {self.mapping(0)}.weight")
        shapes = [view.shape(f"{self.mapping(i)}.weight") for i in range(depth)]
        if any(len(s) != 2 for s in shapes):
            raise Refused(f"has a mapping network whose weights are no matrices ({list(shapes[0])})")
        z_dim, w_dim = shapes[0][1], shapes[-1][0]
        style_in = view.shape(self.layer(0).affine_weight)[-1]
        if w_dim != style_in and w_dim % style_in == 0:
            raise Unsupported("maps to a code of its own for every layer (repeat_w off), which padinv does not")
        width = shapes[0][0] if depth > 1 else w_dim
        pieces = {}
        widths = (z_dim, *[width] * (depth - 1), w_dim)
        for i in range(depth):
            name = self.mapping(i)
            pieces[f"mapping_network.layers.{i}.weight"] = view.take(f"{name}.weight", (widths[i + 1], widths[i]))
            pieces[f"mapping_network.layers.{i}.bias"] = view.take(f"{name}.bias", (widths[i + 1],))
        return pieces, depth, z_dim, w_dim, width

    def _layers(self, view: View, spec: ModelSpec, pieces: dict[str, Piece]) -> str:
        """Add the pieces of all 3x3 and output layers; say how the noise is kept."""
        absent = [layer for layer in range(spec.num_layers - 1) if self.layer(layer).noise not in view]
        silent = [layer for layer in range(spec.num_layers - 1) if self.layer(layer).strength not in view]
        below = spec.channels[0]
        for k, (resolution, channels) in enumerate(zip(spec.resolutions, spec.channels, strict=True)):
            for layer in (2 * k - 1, 2 * k) if k else (0,):
                names, inputs = self.layer(layer), below if layer % 2 else channels
                flip = self.flip_up and layer % 2 == 1
                to = f"layers.{layer}."
                pieces[to + "weight"] = view.take(names.weight, (channels, inputs, 3, 3), flip)
                pieces[to + "bias"] = view.take(names.bias, (channels,))
                pieces |= self._affine(view, names, to, inputs, spec.w_dim)
                pieces[to + "noise_const"] = self._noise(view, names, resolution, layer, layer in silent)
                if layer in silent:
                    pieces[to + "noise_strength"] = Piece((), fill=_zeros)
                else:
                    pieces[to + "noise_strength"] = view.take(names.strength, ())
            names, to = self.output(k), f"to_rgb.{k}."
            pieces[to + "weight"] = view.take(names.weight, (3, channels, 1, 1))
            pieces[to + "bias"] = view.take(names.bias, (3,))
            pieces |= self._affine(view, names, to, channels, spec.w_dim)
            below = channels
        if len(silent) == spec.num_layers - 1:
            return "none"
        if silent:
            return "none in some layers"
        return "constant, seeded here (the file has strengths but no noise)" if absent else "constant"

    def _affine(self, view: View, names: Layer, to: str, channels: int, w_dim: int) -> dict[str, Piece]:
        return {
            to + "affine.weight": view.take(names.affine_weight, (channels, w_dim)),
            to + "affine.bias": view.take(names.affine_bias, (channels,), offset=self.style_offset),
        }

    def _noise(self, view: View, names: Layer, resolution: int, layer: int, silent: bool) -> Piece:
        shape = (resolution, resolution)
        if names.noise in view:
            found = view.shape(names.noise)
            if len(found) == 4 and found[-2:] == (1, 1) and resolution > 1 and found[1] > 1:
                raise Unsupported("adds one noise value a channel, not one a pixel, which padinv does not")
            return view.take(names.noise, shape)
        return Piece(shape, fill=_zeros if silent else _seeded_noise(layer))

    def _w_avg(self, view: View, spec: ModelSpec) -> Piece | None:
        if self.w_avg is None or self.w_avg not in view:
            return None
        return view.take(self.w_avg, (spec.w_dim,))


def _zeros(shape: tuple[int, ...]) -> torch.Tensor:
    import torch

    return torch.zeros(shape)


def _seeded_noise(layer: int) -> Callable[[tuple[int, ...]], torch.Tensor]:
    def make(shape: tuple[int, ...]) -> torch.Tensor:
        import numpy as np
        import torch

        random = np.random.RandomState(NOISE_SEED + layer)
        return torch.from_numpy(random.standard_normal(shape).astype(np.float32))

    return make


@dataclass(frozen=True)
class DiscriminatorLayout:
    """Where a source keeps a discriminator's weights; block 0 is the finest.

    Attributes:
        source, anchors, one_of, is_filter: as in GeneratorLayout.
        blocks: number of blocks in a network.
        from_rgb: (block, blocks) -> names of the layer that takes RGB in; block = blocks for the 4 px one.
        conv: (block, 0 or 1, blocks) -> names of a block's convolution.
        skip: (block, blocks) -> name of the shortcut's weight.
        last, fc, out: blocks -> names of the 4 px layers.
        hyper: (network) -> mbstd_group, conv_clamp.
    """

    source: str
    anchors: tuple[str, ...]
    blocks: Callable[[View], int]
    from_rgb: Callable[[int, int], tuple[str, str]]
    conv: Callable[[int, int, int], tuple[str, str]]
    skip: Callable[[int, int], str]
    last: Callable[[int], tuple[str, str]]
    fc: Callable[[int], tuple[str, str]]
    out: Callable[[int], tuple[str, str]]
    is_filter: Callable[[str], bool]
    hyper: Callable[[Network], dict[str, Any]]
    one_of: tuple[str, ...] = ()

    def plan(self, network: Network) -> DiscriminatorPlan:
        """Check a network against this layout.

        Raises:
            Unsupported: a discriminator that padinv cannot run. Refused: incomplete, or of wrong shapes.
        """
        view = View(network)
        n = self.blocks(view)
        if not 1 <= n < MAX_RESOLUTIONS:
            raise Unsupported(f"holds a discriminator of {4 << n} px; padinv takes 8 to 1024")
        channels = [view.kernel(self.conv(k, 0, n)[0])[0] for k in range(n)]  # finest first
        channels.append(view.kernel(self.conv(n - 1, 1, n)[0])[0])
        last_in = view.kernel(self.last(n)[0])
        if last_in[1] != channels[-1] + 1:
            raise Unsupported(
                f"has {last_in[1] - channels[-1]} channels of minibatch statistics in its discriminator; padinv has one"
            )
        fc = view.shape(self.fc(n)[0])
        if len(fc) != 2 or fc[1] != channels[-1] * 16:
            raise Refused(f"has a tensor {self.fc(n)[0]} of shape {list(fc)}, which fits no 4 px map")
        out = view.shape(self.out(n)[0])
        if len(out) == 2 and out[0] != 1:
            raise Unsupported("has a class-conditional discriminator")
        resnet = self.skip(0, n) in view
        rgb = [k for k in range(n + 1) if self.from_rgb(k, n)[0] in view]
        architecture = "resnet" if resnet else "skip" if len(rgb) == n + 1 else "orig"
        pieces: dict[str, Piece] = {}

        def add(to: str, names: tuple[str, str], shape: tuple[int, ...]) -> None:
            pieces[f"{to}.weight"] = view.take(names[0], shape)
            pieces[f"{to}.bias"] = view.take(names[1], shape[:1])

        for index, k in enumerate(range(n + 1) if architecture == "skip" else (0,)):
            add(f"from_rgb.{index}", self.from_rgb(k, n), (channels[k], 3, 1, 1))
        for k in range(n):
            add(f"blocks.{k}.conv0", self.conv(k, 0, n), (channels[k], channels[k], 3, 3))
            add(f"blocks.{k}.conv1", self.conv(k, 1, n), (channels[k + 1], channels[k], 3, 3))
            if resnet:
                pieces[f"blocks.{k}.skip.weight"] = view.take(self.skip(k, n), (channels[k + 1], channels[k], 1, 1))
        add("conv", self.last(n), (channels[-1], channels[-1] + 1, 3, 3))
        add("fc", self.fc(n), (fc[0], channels[-1] * 16))
        add("out", self.out(n), (1, fc[0]))
        view.check_filters(self.is_filter)
        view.refuse_rest(self.is_filter, "StyleGAN2's discriminator")
        config = {
            "resolution": 4 << n,
            "channels": list(reversed(channels)),
            "architecture": architecture,
            "fc_channels": fc[0],
            **self.hyper(network),
        }
        return DiscriminatorPlan(config, pieces, network.path)


def count_while(present: Callable[[int], bool], limit: int = 64) -> int:
    """How many of 0, 1, 2, ... are present before the first gap."""
    return next((k for k in range(limit) if not present(k)), limit)


def setting(settings: dict[str, Any], name: str, kind: type | tuple[type, ...], default: Any) -> Any:
    """A constructor argument kept in a file, if it is of the right kind and finite."""
    value = settings.get(name, default)
    if isinstance(value, bool) and bool not in (kind if isinstance(kind, tuple) else (kind,)):
        return default
    if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
        return default
    return value
