"""Inference forms of the networks: the same functions with everything that no input changes computed beforehand.

A graph made from these needs no constant folding: weights carry their gains, demodulation its sums over the kernel,
batch normalisation is part of the convolution before it. They also say which numbers may be float16.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from padinv.models.encoder import Encoder
from padinv.models.fast_encoder import ResBlock
from padinv.models.generator import Generator, MappingNetwork
from padinv.models.layers import EqualLinear, StyledConv, ToRGB, upsample_image
from padinv.models.rings import concat_ring

SQRT2 = math.sqrt(2.0)
LEAKY_SLOPE = 0.2


def plain_linear(layer: EqualLinear, gain: float = 1.0) -> nn.Linear:
    """An equalised linear layer (without its activation) times `gain`, as torch's own."""
    scale = layer.lr_mult / math.sqrt(layer.weight.shape[1]) * gain
    linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
    linear.weight.data = layer.weight.detach() * scale
    linear.bias.data = layer.bias.detach() * (layer.lr_mult * gain)
    return linear


class LeanMapping(nn.Module):
    """`MappingNetwork` on plain linear layers: z [N, z_dim] -> w [N, w_dim]."""

    def __init__(self, network: MappingNetwork) -> None:
        super().__init__()
        self.layers = nn.ModuleList(plain_linear(layer) for layer in network.layers)  # type: ignore[arg-type]

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), LEAKY_SLOPE) * SQRT2
        return x


class LeanConv(nn.Module):
    """`StyledConv` with constant noise: modulation, convolution, demodulation, noise, bias, leaky ReLU.

    In half precision the convolution's operands are kept inside float16's range as StyleGAN2 does it (Karras et al.
    2020b, `stylegan2-ada-pytorch`): weights are divided by each output channel's largest one and by the square root of
    the fan-in, styles by each sample's largest one, and the demodulation, computed in float32, takes the factors back.
    The ring is laid beside the modulated map, so it is divided by the style's factor too.
    """

    bias: Tensor
    noise: Tensor
    power: Tensor
    eps: Tensor

    def __init__(self, layer: StyledConv, dtype: torch.dtype) -> None:
        super().__init__()
        self.up = layer.up
        self.half_range = dtype is torch.float16
        self.clamp = layer.conv_clamp
        self.affine = plain_linear(layer.affine)
        weight = layer.weight.detach() * layer.gain  # [C_out, C_in, 3, 3]
        eps = torch.full((weight.shape[0],), layer.demod_eps)
        if self.half_range:
            # The largest weight becomes 1/sqrt(fan_in): a sum over fan_in products then stays near the size of the
            # feature map, where a largest weight of 1 would let 512 channels come within reach of 65504.
            factor = weight.abs().amax(dim=(1, 2, 3)).clamp_min(1e-8) * math.sqrt(weight[0].numel())
            weight, eps = weight / factor[:, None, None, None], eps / factor.square()
        self.register_buffer("power", weight.square().sum(dim=(2, 3)))  # [C_out, C_in], float32
        self.register_buffer("eps", eps)
        # sqrt(2) * lrelu(y) = lrelu(sqrt(2) * y), so the gain goes to the small tensors.
        self.register_buffer("bias", (layer.bias.detach() * SQRT2)[:, None, None].to(dtype))
        noise = (layer.noise_const * layer.noise_strength).detach() * SQRT2
        self.has_noise = bool(noise.any())
        self.register_buffer("noise", noise.to(dtype))
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        self.fir: nn.Conv2d | None = None
        outputs, inputs = weight.shape[:2]
        if self.up:
            self.conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, bias=False)
            self.conv.weight.data = weight.transpose(0, 1).contiguous().to(dtype)
            self.fir = nn.Conv2d(outputs, outputs, 4, padding=1, groups=outputs, bias=False)
            self.fir.weight.data = layer.fir.to(dtype)
        else:
            self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.conv.weight.data = weight.to(dtype)

    def forward(self, x: Tensor, w: Tensor, ring: Tensor | None = None, spatial: Tensor | None = None) -> Tensor:
        """x [N, C_in, h, h], w [N, w_dim], ring [N, C_in, 4h+4] or None -> [N, C_out, r, r].

        w, ring and the spatial code [N, C_in, h, h] are float32.
        """
        style = self.affine(w)  # [N, C_in]
        eps = self.eps
        if self.half_range:
            peak = style.abs().amax(dim=1, keepdim=True).clamp_min(1e-8)
            style = style / peak
            eps = eps / peak.square()
            ring = None if ring is None else ring / peak.unsqueeze(2)
            spatial = None if spatial is None else spatial / peak[:, :, None, None]
        demod = torch.rsqrt(F.linear(style.square(), self.power) + eps) * SQRT2  # [N, C_out]
        x = x * style.to(x.dtype)[:, :, None, None]
        if spatial is not None:
            x = x + spatial.to(x.dtype)
        if ring is not None:
            y = F.conv2d(concat_ring(x, ring.to(x.dtype)), self.conv.weight)
        else:
            y = self.conv(x)
        if self.fir is not None:
            y = self.fir(y)
        y = y * demod.to(y.dtype)[:, :, None, None]
        if self.has_noise:
            y = y + self.noise
        y = F.leaky_relu(y + self.bias, LEAKY_SLOPE)
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)


class LeanToRGB(nn.Module):
    """`ToRGB`; its output is float32 in every precision, because the sum over resolutions is the picture."""

    bias: Tensor

    def __init__(self, layer: ToRGB, dtype: torch.dtype) -> None:
        super().__init__()
        self.clamp = layer.conv_clamp
        self.affine = plain_linear(layer.affine, 1.0 / math.sqrt(layer.weight.shape[1]))
        self.conv = nn.Conv2d(layer.weight.shape[1], 3, 1, bias=False)
        self.conv.weight.data = layer.weight.detach().to(dtype)
        self.register_buffer("bias", layer.bias.detach()[:, None, None].clone())

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)
        y = self.conv(x * style.to(x.dtype)[:, :, None, None]).float() + self.bias
        result: Tensor = y if self.clamp is None else y.clamp(-self.clamp, self.clamp)
        return result


class LeanGenerator(nn.Module):
    """`Generator.synthesis` with constant noise; inputs and output are float32, feature maps of `dtype`."""

    def __init__(self, generator: Generator, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = generator.spec
        self.dtype = dtype
        self.layers = nn.ModuleList(LeanConv(layer, dtype) for layer in generator.layers)  # type: ignore[arg-type]
        self.to_rgb = nn.ModuleList(LeanToRGB(layer, dtype) for layer in generator.to_rgb)  # type: ignore[arg-type]
        self.eval().requires_grad_(False)

    def forward(
        self, wp: Tensor, const: Tensor, rings: dict[int, Tensor], spatial: dict[int, Tensor] | None = None
    ) -> Tensor:
        """wp [N, L, w_dim], const [N, C_4, 4, 4], rings {r: [N, C_r, 4r+4]}, spatial {r: [N, C_r, r, r]} ->
        [N, 3, R, R]."""
        spatial = spatial or {}
        x = self.layers[0](const.to(self.dtype), wp[:, 0], rings.get(4), spatial.get(4))
        image = self.to_rgb[0](x, wp[:, 1])
        for k, resolution in enumerate(self.spec.resolutions[1:], start=1):
            x = self.layers[2 * k - 1](x, wp[:, 2 * k - 1])
            x = self.layers[2 * k](x, wp[:, 2 * k], rings.get(resolution), spatial.get(resolution))
            image = upsample_image(image) + self.to_rgb[k](x, wp[:, 2 * k + 1])
        result: Tensor = image
        return result


class LeanSynthesis(nn.Module):
    """`Generator.synthesis` from latent codes alone: the learned constant, zero padding; float32."""

    const: Tensor

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.lean = LeanGenerator(generator)
        self.register_buffer("const", generator.const.detach().clone())

    def synthesis(self, wp: Tensor) -> Tensor:
        """wp [N, L, w_dim] -> [N, 3, R, R]."""
        result: Tensor = self.lean(wp, self.const.expand(wp.shape[0], -1, -1, -1), {})
        return result


class ChannelAffine(nn.Module):
    """x * scale + shift a channel: batch normalisation in eval mode."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps) * norm.weight
        self.register_buffer("scale", scale.detach()[:, None, None])
        self.register_buffer("shift", (norm.bias - norm.running_mean * scale).detach()[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def fold_batchnorm(module: nn.Module) -> None:
    """Fold every batch normalisation into the convolution before it, in place; one that has none becomes an affine.

    `module` must be in eval mode.
    """
    if isinstance(module, ResBlock):
        pairs = [("conv1", "bn1"), ("conv2", "bn2")]
    elif isinstance(module, nn.Sequential):
        names = list(module._modules)
        pairs = list(pairwise(names))
    else:
        pairs = []
    for first, second in pairs:
        conv, norm = module._modules[first], module._modules[second]
        if isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d:
            setattr(module, first, fuse_conv_bn_eval(conv, norm))
            setattr(module, second, nn.Identity())
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:  # timm's subclasses do more than this class, and stay as they are
            setattr(module, name, ChannelAffine(child))
        else:
            fold_batchnorm(child)


class LeanEncoder(nn.Module):
    """An encoder without batch normalisation; its input and outputs are float32, its body is of `dtype`."""

    def __init__(self, encoder: Encoder, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        fold_batchnorm(self.encoder.body)
        if self.encoder.takes_error:
            self.encoder.generator = None  # the graph is one pass; whoever calls it runs the generator between two
        elif self.encoder.generator is not None:  # part of an encoder that refines its codes in steps
            self.encoder.generator = LeanSynthesis(self.encoder.generator)  # type: ignore[arg-type]
        self.encoder.body.to(dtype)
        self.dtype = dtype

    def forward(
        self, image: Tensor, error: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, dict[int, Tensor] | None]:
        """image, error [N, 3, S, S] -> (wp, const or None, rings or None), as `Encoder`."""
        result: tuple[Tensor, Tensor | None, dict[int, Tensor] | None] = self.encoder(image.to(self.dtype), error)
        return result


class LeanSpatial(nn.Module):
    """The spatial encoder of an encoder without batch normalisation; its inputs and outputs are float32."""

    def __init__(self, encoder: Encoder, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        assert encoder.spatial is not None
        self.spatial = copy.deepcopy(encoder.spatial).eval().requires_grad_(False)
        fold_batchnorm(self.spatial)
        self.spatial.to(dtype)
        self.dtype = dtype

    def forward(self, image: Tensor, reconstruction: Tensor) -> dict[int, Tensor]:
        """image, reconstruction [N, 3, S, S] in [-1, 1] -> {r: [N, C_r, r, r]}, as `Encoder.spatial_code`."""
        codes = self.spatial(image.to(self.dtype), reconstruction.to(self.dtype))
        return {r: code.float() for r, code in codes.items()}
