"""The `reference` encoder body: the paper's (section 3.3 and its reference implementation; docs/how-it-works.md).

An IR-SE-50 backbone, a feature pyramid over its last three stages, a chain of stride-2 convolutions a latent code, and
a padding branch on the pyramid's middle level. Parameter names are those of the reference implementation's files.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.models.irse import IRSEBlock, irse_stages, irse_stem
from padinv.models.layers import EqualLinear
from padinv.models.resnet import resnet_stages, resnet_stem
from padinv.models.rings import extract_ring
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec

FPN_WIDTH = 512
CODES_PER_LEVEL = (3, 4)  # of the coarsest level and the next; the finest level feeds the rest
LEAKY_SLOPE = 0.01  # torch's default, as the paper's heads have it


def stage_strides(image_size: int, max_pad_res: int) -> tuple[int, int, int, int]:
    """Strides of the four stages: early ones lose theirs until the padding feature has max_pad_res / 2 pixels.

    The padding feature is the third stage's output: image_size / 8 when every stage halves.

    Raises:
        UsageError: no choice of strides reaches `max_pad_res`.
    """
    for kept in (4, 3, 2, 1):
        strides = (1,) * (4 - kept) + (2,) * kept
        if image_size // math.prod(strides[:3]) >= max_pad_res // 2:
            return strides  # type: ignore[return-value]
    raise UsageError(f"the reference encoder has no feature fine enough for a {max_pad_res} px ring")


class FPN(nn.Module):
    """Lin et al. 2017 without smoothing: laterals with bias, the coarsest level raw, bilinear with aligned corners."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.lateral_layers = nn.ModuleList(nn.Conv2d(c, FPN_WIDTH, 1) for c in channels[:-1])

    def forward(self, features: list[Tensor]) -> list[Tensor]:  # finest first, in and out
        top = features[-1]
        levels = [top]
        for lateral, feature in zip(reversed(self.lateral_layers), reversed(features[:-1]), strict=True):
            up = F.interpolate(top, size=feature.shape[2:], mode="bilinear", align_corners=True)
            top = lateral(feature) + up
            levels.append(top)
        return levels[::-1]


class CodeHead(nn.Module):
    """Feature map [N, 512, s, s] -> code [N, w_dim]: stride-2 convolutions down to 1 x 1, then a linear layer."""

    def __init__(self, w_dim: int, size: int) -> None:
        super().__init__()
        convs: list[nn.Module] = []
        channels = FPN_WIDTH
        for _ in range(max(1, int(math.log2(size)))):
            convs += [nn.Conv2d(channels, w_dim, 3, 2, 1), nn.LeakyReLU(LEAKY_SLOPE)]
            channels = w_dim
        self.convs = nn.Sequential(*convs)
        self.linear = EqualLinear(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(self.convs(x).flatten(1))
        return result


class ReferenceBody(nn.Module):
    """Image -> residual codes, constant, rings.

    Args:
        spec: geometry of the generator.
        const: predict the 4 x 4 constant input (itself, not a residual).
        pad_resolutions: resolutions whose rings are predicted.
        projections: one 1x1 projection a ring. False: one shared map serves all, as in some of the paper's files;
            the generator then needs 512 channels there.
        codes_per_level: codes of the coarsest pyramid level and of the next; the finest level feeds the rest.
        backbone: 'irse50', or 'resnet34' (some encoders of ReStyle).
        in_channels: 3, or 6 where an earlier reconstruction comes with the image (ReStyle).
        relative_codes: codes after the first are differences from the first (e4e).

    Raises:
        UsageError: a ring, or an image size, that this geometry cannot have.
    """

    def __init__(
        self,
        spec: ModelSpec,
        const: bool,
        pad_resolutions: tuple[int, ...],
        projections: bool = True,
        codes_per_level: tuple[int, int] | None = None,
        *,
        backbone: str = "irse50",
        in_channels: int = 3,
        relative_codes: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.relative_codes = relative_codes
        self.predicts_const = const
        self.pad_resolutions = tuple(sorted(pad_resolutions))
        size = spec.image_size
        # The same backbone for every choice of rings, so that ablations and baselines compare the rings alone.
        finest = max(min(32, spec.resolution // 2), *self.pad_resolutions, 4)
        strides = stage_strides(size, finest)
        if backbone == "resnet34":
            if strides != (2, 2, 2, 2):
                raise UsageError(f"the backbone resnet34 takes images of 256 px, not of {size}")
            self.input_layer = resnet_stem(in_channels)
            self.backbone_stages = nn.ModuleList(resnet_stages())
        else:
            self.input_layer = irse_stem(in_channels)
            self.backbone_stages = nn.ModuleList(irse_stages(strides))
        self.fpn = FPN((128, 256, 512))

        sizes = [size // math.prod(strides[: k + 1]) for k in range(4)]
        level_of = [level for level, count in enumerate(codes_per_level or CODES_PER_LEVEL) for _ in range(count)]
        level_of += [2] * max(0, spec.num_layers - len(level_of))
        self.level_of = level_of[: spec.num_layers]  # code -> pyramid level, 0 the coarsest
        self.latent_heads = nn.ModuleList(CodeHead(spec.w_dim, sizes[3 - level]) for level in self.level_of)

        self.const_projection: nn.Module | None = None
        self.padding_modulation_heads = nn.ModuleList()
        if const or self.pad_resolutions:
            self.map_size = self.pad_resolutions[-1] + 2 if self.pad_resolutions else 4
            self.padding_extractor = nn.Sequential(*(IRSEBlock(FPN_WIDTH, FPN_WIDTH, 1) for _ in range(2)))
            if const and spec.channels[0] != FPN_WIDTH:
                self.const_projection = nn.Conv2d(FPN_WIDTH, spec.channels[0], 1)
            for r in self.pad_resolutions:
                if projections:
                    self.padding_modulation_heads.append(nn.Conv2d(FPN_WIDTH, spec.channels_at(r), 1))
                elif spec.channels_at(r) != FPN_WIDTH:
                    raise UsageError(
                        f"one shared padding map has {FPN_WIDTH} channels, but the generator has "
                        f"{spec.channels_at(r)} at {r} px; give every ring its projection"
                    )

    def padding_map(self, feature: Tensor) -> Tensor:
        """The pyramid's middle level [N, 512, s, s] -> the unprojected padding map [N, 512, P + 2, P + 2]."""
        x = self.padding_extractor(feature)
        return F.interpolate(x, size=(self.map_size, self.map_size), mode="bicubic", align_corners=True)

    def rings(self, padding_map: Tensor) -> dict[int, Tensor]:
        """Rings of the projected map. A 1x1 projection commutes with taking the ring, so only that is projected."""
        rings = {}
        for k, r in enumerate(self.pad_resolutions):
            ring = extract_ring(centre(padding_map, r + 2))
            if len(self.padding_modulation_heads):
                ring = self.padding_modulation_heads[k](ring.unsqueeze(3)).squeeze(3)
            rings[r] = ring
        return rings

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None, dict[int, Tensor]]:
        """image [N, 3 or 6, S, S] in [-1, 1] -> (codes, const, rings).

        codes [N, L, w_dim] are residuals on `w_avg`; const [N, C_4, 4, 4] or None; rings map a resolution r to
        [N, C_r, 4r+4].
        """
        x = self.input_layer(image)
        features = []
        for stage in self.backbone_stages:
            x = stage(x)
            features.append(x)
        levels = self.fpn(features[1:])[::-1]  # coarsest first
        heads = zip(self.latent_heads, self.level_of, strict=True)
        codes = [head(levels[level]) for head, level in heads]
        if self.relative_codes:
            codes = [codes[0], *(codes[0] + code for code in codes[1:])]
        stacked = torch.stack(codes, dim=1)  # [N, L, w_dim]
        if not (self.predicts_const or self.pad_resolutions):
            return stacked, None, {}
        padding_map = self.padding_map(levels[1])
        const = None
        if self.predicts_const:
            const = centre(padding_map, 4)
            const = const if self.const_projection is None else self.const_projection(const)
        return stacked, const, self.rings(padding_map)


def centre(x: Tensor, size: int) -> Tensor:
    """The central size x size of a square map."""
    edge = (x.shape[-1] - size) // 2
    return x[:, :, edge : edge + size, edge : edge + size]
