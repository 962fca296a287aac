"""Building blocks of StyleGAN2 (Karras et al. 2020): equalised layers, resampling, modulated convolution.

Weights are stored raw (about unit variance) and scaled at run time, as every public StyleGAN2 does, so that their
checkpoints map onto these names without arithmetic.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.models.rings import concat_ring
from padinv.runtime.spec import ModelSpec

DEMOD_EPS = 1e-8
_TAPS = (1.0, 3.0, 3.0, 1.0)  # StyleGAN2's resampling filter


def fir_kernel(gain: float) -> Tensor:
    """The 4 x 4 resampling filter: outer product of [1, 3, 3, 1], normalised to sum `gain`."""
    scale = gain / sum(_TAPS) ** 2
    # On the CPU even where a module is built on torch's meta device: its values are not in any file.
    return torch.tensor([[a * b * scale for b in _TAPS] for a in _TAPS], device="cpu")


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision widened to float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def upsample_image(x: Tensor) -> Tensor:
    """StyleGAN2's 2x up-sampling of the RGB skip: [N, C, H, W] -> [N, C, 2H, 2W].

    With zeros outside the picture the filter [1, 3, 3, 1] has phases (1, 3)/4 and (3, 1)/4: bilinear interpolation of
    the zero-padded picture, for which every runtime has a fast kernel.
    """
    y = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2.0, mode="bilinear", align_corners=False)
    return y[:, :, 2:-2, 2:-2]


class EqualLinear(nn.Module):
    """Fully connected layer with equalised learning rate: y = x W^T * lr_mult/sqrt(in) + b * lr_mult.

    `activate` adds leaky ReLU (slope 0.2) with gain sqrt(2).
    """

    def __init__(
        self, in_features: int, out_features: int, bias_init: float = 0.0, lr_mult: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mult)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init) / lr_mult))
        self.lr_mult = lr_mult
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:  # [N, in] -> [N, out]
        gain = self.lr_mult / math.sqrt(self.weight.shape[1])
        y = F.linear(x, self.weight * gain, self.bias * self.lr_mult)
        return F.leaky_relu(y, 0.2) * math.sqrt(2.0) if self.activate else y


class EqualConv2d(nn.Module):
    """Convolution with equalised learning rate, for discriminators; 'same' padding unless `padding` is given."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
        gain = 1.0 / math.sqrt(self.weight[0].numel())
        padding = self.weight.shape[-1] // 2 if padding is None else padding
        return F.conv2d(x, self.weight * gain, self.bias, stride=stride, padding=padding)


class StyledConv(nn.Module):
    """One 3x3 layer of the synthesis network: modulation, convolution, demodulation, noise, bias, leaky ReLU.

    The form is un-fused: the feature map is scaled by the style, convolved with weights that no sample changes, and
    scaled by the demodulation. A batch therefore needs no grouped convolution, and the ring, laid around the map after
    the style has scaled it, is itself not scaled (docs/how-it-works.md; the paper's reference does the same).
    """

    fir: Tensor
    noise_const: Tensor

    def __init__(self, spec: ModelSpec, in_channels: int, out_channels: int, resolution: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv_clamp = spec.conv_clamp
        self.affine = EqualLinear(spec.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.gain = 1.0 / math.sqrt(in_channels * 9)
        # The convolution runs on weights scaled by 1/sqrt(fan_in); an epsilon on raw weights shrinks with them.
        self.demod_eps = DEMOD_EPS if spec.demod_eps_scaled else DEMOD_EPS * self.gain**2
        if up:
            self.register_buffer("fir", fir_kernel(4.0).expand(out_channels, 1, 4, 4).contiguous(), persistent=False)

    def forward(
        self,
        x: Tensor,
        w: Tensor,
        ring: Tensor | None = None,
        noise: str = "const",
        spatial: Tensor | None = None,
    ) -> Tensor:
        """x [N, C_in, h, h], w [N, w_dim], ring [N, C_in, 4h+4] or None (zeros) -> [N, C_out, r, r].

        `noise` is 'const' (the checkpoint's), 'random' or 'none'. `spatial` [N, C_in, h, h] is added inside the ring,
        and like the ring it is not scaled by the style.
        """
        style = self.affine(w)  # [N, C_in]
        weight = self.weight * self.gain
        eps: Tensor | float = self.demod_eps
        half = x.dtype is torch.float16 or (
            x.is_cuda and torch.get_autocast_dtype("cuda") is torch.float16 and torch.is_autocast_enabled("cuda")
        )
        if half:  # keep products inside float16's range; the ring shares the style's factor
            peak = at_least_float32(style).abs().amax(dim=1, keepdim=True).clamp_min(1e-8)
            style = style / peak.to(style.dtype)
            eps = self.demod_eps / peak.square()
            ring = None if ring is None else ring / peak.to(ring.dtype).unsqueeze(2)
            spatial = None if spatial is None else spatial / peak.to(spatial.dtype)[:, :, None, None]
        with torch.autocast(x.device.type, enabled=False):  # eight bits of demodulation would tint whole channels
            power = at_least_float32(weight).square().sum(dim=(2, 3))  # [C_out, C_in]
            demod = torch.rsqrt(F.linear(at_least_float32(style).square(), power) + eps)  # [N, C_out]

        x = x * style.to(x.dtype)[:, :, None, None]
        if spatial is not None:
            x = x + spatial.to(x.dtype)
        if self.up:
            y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            y = F.conv2d(y, self.fir.to(y.dtype), padding=1, groups=y.shape[1])
        elif ring is None:
            y = F.conv2d(x, weight, padding=1)
        else:
            y = F.conv2d(concat_ring(x, ring.to(x.dtype)), weight)

        # sqrt(2) * lrelu(z) = lrelu(sqrt(2) * z): the gain moves onto the small tensors.
        shift = self.bias[None, :, None, None]
        if noise == "const":
            shift = shift + self.noise_const * self.noise_strength
        elif noise == "random":
            shift = shift + torch.randn_like(y[:, :1]) * self.noise_strength
        scale = (demod * math.sqrt(2.0)).to(y.dtype)[:, :, None, None]
        y = F.leaky_relu(torch.addcmul((shift * math.sqrt(2.0)).to(y.dtype), y, scale), 0.2)
        return y if self.conv_clamp is None else y.clamp(-self.conv_clamp, self.conv_clamp)


class ToRGB(nn.Module):
    """1x1 convolution to RGB: modulated, not demodulated, without noise; the style is scaled by 1/sqrt(C_in)."""

    def __init__(self, in_channels: int, w_dim: int, conv_clamp: float | None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # [N, C, r, r], [N, w_dim] -> at least float32 [N, 3, r, r]
        style = self.affine(w) * (1.0 / math.sqrt(x.shape[1]))
        y = at_least_float32(F.conv2d(x * style.to(x.dtype)[:, :, None, None], self.weight))
        y = y + self.bias[None, :, None, None]
        return y if self.conv_clamp is None else y.clamp(-self.conv_clamp, self.conv_clamp)
