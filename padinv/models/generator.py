"""StyleGAN2's generator with its padding as an input (paper section 3; docs/how-it-works.md)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from padinv.models.layers import EqualLinear, StyledConv, ToRGB, upsample_image
from padinv.runtime.errors import MismatchError
from padinv.runtime.spec import ModelSpec


class MappingNetwork(nn.Module):
    """z [N, z_dim] -> w [N, w_dim]: second-moment normalisation, then fully connected layers with leaky ReLU."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr_mult=spec.mapping_lr_mult, activate=True) for a, b in pairwise(spec.mapping_widths)
        )

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = layer(x)
        return x


class Generator(nn.Module):
    """A StyleGAN2 generator whose constant input and convolution padding may be given.

    `w_avg` [w_dim] is the centre of W. `layers[l]` is 3x3 layer l (0 at 4 px; 2k-1 up-sampling to and 2k at
    4 * 2^k px); `to_rgb[k]` is the output of 4 * 2^k px.
    """

    w_avg: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mapping_network = MappingNetwork(spec)
        self.register_buffer("w_avg", torch.zeros(spec.w_dim))
        self.const = nn.Parameter(torch.randn(*spec.const_shape))
        layers, to_rgb = [], []
        below = spec.channels[0]
        for resolution, channels in zip(spec.resolutions, spec.channels, strict=True):
            if resolution > 4:
                layers.append(StyledConv(spec, below, channels, resolution, up=True))
            layers.append(StyledConv(spec, channels, channels, resolution, up=False))
            to_rgb.append(ToRGB(channels, spec.w_dim, spec.conv_clamp))
            below = channels
        self.layers = nn.ModuleList(layers)
        self.to_rgb = nn.ModuleList(to_rgb)

    def mapping(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """z [N, z_dim] ~ N(0, 1) -> w [N, w_dim]; `truncation` pulls w towards w_avg: w_avg + t (w - w_avg)."""
        w = self.mapping_network(z)
        return w if truncation == 1.0 else self.w_avg.lerp(w, truncation)

    @torch.no_grad()
    def measure_w_avg(self) -> None:
        """Set `w_avg` to the mean code of 10,000 samples, the same ones at every call."""
        z = torch.randn(10_000, self.spec.z_dim, generator=torch.Generator().manual_seed(0)).to(self.w_avg.device)
        self.w_avg.copy_(torch.cat([self.mapping(part) for part in z.split(1_000)]).mean(dim=0))

    def broadcast(self, w: Tensor) -> Tensor:
        """w [N, w_dim] -> wp [N, L, w_dim], the same code for every layer."""
        return w.unsqueeze(1).expand(-1, self.spec.num_layers, -1)

    def synthesis(
        self,
        wp: Tensor,
        const: Tensor | None = None,
        rings: Mapping[int, Tensor] | None = None,
        noise: str = "const",
        spatial: Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Images from latent codes and padding.

        Args:
            wp: [N, L, w_dim], one latent code a layer.
            const: [N, C_4, 4, 4] in place of the learned constant; None: the learned one.
            rings: resolution -> [N, C_r, 4r+4], in place of the zero padding of that resolution's non-up-sampling
                3x3 convolution; None or a missing resolution: zeros.
            noise: 'const' (the checkpoint's own), 'random', or 'none'.
            spatial: resolution -> [N, C_r, r, r], added to the input of that resolution's non-up-sampling 3x3
                convolution inside the ring; None or a missing resolution: zeros.

        Returns:
            float [N, 3, R, R] in [-1, 1], not clamped.

        Raises:
            MismatchError: a shape does not fit `spec`.
        """
        spec = self.spec
        rings = rings or {}
        if wp.ndim != 3 or wp.shape[1:] != spec.wp_shape:
            raise MismatchError(f"wp must be [N, {spec.num_layers}, {spec.w_dim}], not {list(wp.shape)}")
        spatial = spatial or {}
        for what, given in (("rings", rings), ("spatial codes", spatial)):
            if unknown := sorted(set(given) - set(spec.resolutions)):
                raise MismatchError(f"{what} are given for {unknown}, but this generator has {spec.resolutions}")
        for r, code in spatial.items():
            if code.shape[1:] != (spec.channels_at(r), r, r):
                raise MismatchError(
                    f"the spatial code for {r} px must be [N, {spec.channels_at(r)}, {r}, {r}], not {list(code.shape)}"
                )
        if const is None:
            const = self.const.unsqueeze(0).expand(wp.shape[0], -1, -1, -1)
        elif const.shape[1:] != spec.const_shape:
            raise MismatchError(f"const must be [N, {', '.join(map(str, spec.const_shape))}], not {list(const.shape)}")
        if noise not in ("const", "random", "none"):
            raise MismatchError(f"noise is 'const', 'random' or 'none', not {noise!r}")

        x = self.layers[0](const, wp[:, 0], rings.get(4), noise, spatial.get(4))
        image = self.to_rgb[0](x, wp[:, 1])
        for k, resolution in enumerate(spec.resolutions[1:], start=1):
            x = self.layers[2 * k - 1](x, wp[:, 2 * k - 1], None, noise)
            x = self.layers[2 * k](x, wp[:, 2 * k], rings.get(resolution), noise, spatial.get(resolution))
            image = upsample_image(image) + self.to_rgb[k](x, wp[:, 2 * k + 1])
        result: Tensor = image
        return result

    def forward(self, z: Tensor, truncation: float = 1.0, noise: str = "const") -> Tensor:
        """z [N, z_dim] -> images [N, 3, R, R]: mapping and synthesis with the generator's own padding."""
        return self.synthesis(self.broadcast(self.mapping(z, truncation)), noise=noise)
