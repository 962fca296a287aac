"""The `fast` encoder body: a plain residual backbone down to 4 px, chosen for two cores.

Where the reference computes a 34 x 34 feature map and reads its border, this body computes border positions only: the
top-down sum and every projection on the way to a ring are 1x1, so they commute with taking the ring.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec


class ResBlock(nn.Module):
    """conv, BN, PReLU, conv, BN, plus shortcut, PReLU; BN folds into the convolutions at export."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.act1 = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.act2 = nn.PReLU(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        result: Tensor = self.act2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return result


def _projection(width: int, channels: int) -> nn.Sequential:
    """From the pyramid to what a layer of the generator takes, position by position."""
    return nn.Sequential(nn.PReLU(width), nn.Conv1d(width, channels, 1))


@dataclass(frozen=True)
class Widths:
    """Sizes of the body.

    Attributes:
        stages: resolution -> (channels, blocks) of the backbone, finest first.
        squeeze: channels that the 4 px feature keeps on its way to the codes.
        hidden: width of the layer before the codes.
        fpn: width of the top-down pyramid.
    """

    stages: dict[int, tuple[int, int]]
    squeeze: int
    hidden: int
    fpn: int


# The sizes by name. 'small' (64 px) and 'medium' (128 px) are meant to ship inside a package; 'large' is for 256 px
# models and still far under a quarter of the reference's arithmetic.
SIZES = {
    "small": Widths({32: (64, 1), 16: (112, 2), 8: (160, 2), 4: (208, 1)}, squeeze=32, hidden=144, fpn=96),
    "medium": Widths(
        {64: (32, 1), 32: (96, 2), 16: (128, 3), 8: (256, 2), 4: (256, 1)}, squeeze=64, hidden=640, fpn=160
    ),
    "large": Widths(
        {128: (32, 1), 64: (64, 3), 32: (128, 3), 16: (256, 3), 8: (512, 3), 4: (512, 3)},
        squeeze=96,
        hidden=768,
        fpn=128,
    ),
}


def widths(image_size: int, size: str | None = None) -> Widths:
    """Widths of the body for images of a side, without the stages that such images are too small for.

    `size` is a name from `SIZES`; None: 'small' up to 64 px, 'large' above.
    """
    plan = SIZES[size or ("small" if image_size <= 64 else "large")]
    return replace(plan, stages={r: stage for r, stage in plan.stages.items() if 2 * r <= image_size})


def ring_cells(resolution: int, level: int) -> list[int]:
    """Where the ring around a map of side `resolution` falls on a map of side `level`, repeating the latter's border.

    Returns 4 * resolution + 4 indices into the flattened level x level map, in the ring's order: nearest up-sampling,
    replicated padding and taking the ring, as one gather.
    """
    r = resolution
    span = range(-1, r + 1)
    places = [(-1, j) for j in span] + [(r, j) for j in span]
    places += [(i, -1) for i in range(r)] + [(i, r) for i in range(r)]

    def cell(i: int) -> int:
        return min(max(i, 0), r - 1) * level // r

    return [cell(i) * level + cell(j) for i, j in places]


def centre_cells(resolution: int, level: int) -> list[int]:
    """Where the central 4 x 4 of a map of side `resolution` falls on a map of side `level`, row by row.

    Returns 16 indices into the flattened level x level map.
    """
    span = range(resolution // 2 - 2, resolution // 2 + 2)
    return [i * level // resolution * level + j * level // resolution for i in span for j in span]


class FastBody(nn.Module):
    """Image -> residual codes, residual constant, rings.

    Args:
        spec: geometry of the generator.
        const: predict the 4 x 4 constant input.
        pad_resolutions: resolutions whose rings are predicted; empty for the W+ only baseline.
        size: a name from `SIZES`; None: by the image's side.
        in_channels: 3, or 6 where the error of earlier passes comes with the image.
        const_level: resolution of the map whose centre gives the constant; None: the finest that the spec pads.

    Raises:
        UsageError: a ring is asked for above half the picture's side.
    """

    def __init__(
        self,
        spec: ModelSpec,
        const: bool,
        pad_resolutions: tuple[int, ...],
        size: str | None = None,
        in_channels: int = 3,
        *,
        const_level: int | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        sizes = widths(spec.image_size, size)
        plan = sizes.stages
        self.resolutions = tuple(plan)  # finest first
        if too_fine := [r for r in pad_resolutions if r not in plan]:
            raise UsageError(f"the fast encoder has no feature at {too_fine[0]} px for a {spec.image_size} px picture")
        self.pad_resolutions = tuple(sorted(pad_resolutions))

        channels, _ = plan[self.resolutions[0]]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 4, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.PReLU(channels)
        )
        stages = []
        for resolution, (width, blocks) in plan.items():
            stride = 1 if resolution == self.resolutions[0] else 2
            stage = [ResBlock(channels, width, stride)] + [ResBlock(width, width, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(*stage))
            channels = width
        self.stages = nn.ModuleList(stages)

        # Codes: the flattened 4 px feature, and the average of every stage (colour, texture, lighting).
        self.squeeze = nn.Conv2d(channels, sizes.squeeze, 1)
        self.trunk = nn.Sequential(
            nn.Linear(sizes.squeeze * 16 + sum(width for width, _ in plan.values()), sizes.hidden),
            nn.PReLU(sizes.hidden),
        )
        self.codes = nn.Linear(sizes.hidden, spec.num_layers * spec.w_dim)

        # The constant is read at the map's centre, as in the paper's encoder. Read off the whole 4 px feature it takes
        # more of the latents' part, and a blend shows less of A.
        finest = max(spec.pad_resolutions, default=4) if const_level is None else const_level
        self.centre = min(finest, self.resolutions[0]) if const else 0
        needed = [r for r in self.resolutions if r <= max((self.centre, *self.pad_resolutions))]
        self.laterals = nn.ModuleDict({str(r): nn.Conv1d(plan[r][0], sizes.fpn, 1) for r in needed})
        self.const_head = _projection(sizes.fpn, spec.channels[0]) if const else None
        self.projections = nn.ModuleDict(
            {str(r): _projection(sizes.fpn, spec.channels_at(r)) for r in self.pad_resolutions}
        )
        for level in needed:
            if level <= self.centre:
                central = torch.tensor(centre_cells(self.centre, level), device="cpu")
                self.register_buffer(f"centre_{level}", central, persistent=False)
            cells = ring_cells(level, level)
            self.register_buffer(f"cells_{level}", torch.tensor(cells, device="cpu"), persistent=False)
            for r in (r for r in self.pad_resolutions if r > level):
                lift = [cells.index(cell) for cell in ring_cells(r, level)]
                self.register_buffer(f"lift_{level}_{r}", torch.tensor(lift, device="cpu"), persistent=False)
        # Everything starts at the average image: zero residuals, zero rings.
        last: list[nn.Module] = [self.codes, *([self.const_head.get_submodule("1")] if self.const_head else [])]
        last += [p.get_submodule("1") for p in self.projections.values()]
        for module in last:
            for parameter in module.parameters():
                nn.init.zeros_(parameter)

    def _const(self, maps: dict[int, Tensor]) -> Tensor | None:
        """Top-down pyramid evaluated at the centre only."""
        if self.const_head is None:
            return None
        centres = [
            lateral(maps[int(level)].flatten(2).index_select(2, getattr(self, f"centre_{level}")))
            for level, lateral in self.laterals.items()
            if int(level) <= self.centre  # rings may need finer ones
        ]
        result: Tensor | None = self.const_head(torch.stack(centres).sum(dim=0)).unflatten(2, (4, 4))
        return result

    def _rings(self, maps: dict[int, Tensor]) -> dict[int, Tensor]:
        """Top-down pyramid evaluated at ring positions only; the border of a map stands for what lies beyond it."""
        borders = {
            int(level): lateral(maps[int(level)].flatten(2).index_select(2, getattr(self, f"cells_{level}")))
            for level, lateral in self.laterals.items()
            if int(level) <= self.pad_resolutions[-1]  # the constant may need finer ones
        }
        rings: dict[int, Tensor] = {}
        for r in self.pad_resolutions:
            total = borders[r]
            for level in (x for x in borders if x < r):
                total = total + borders[level].index_select(2, getattr(self, f"lift_{level}_{r}"))
            rings[r] = self.projections[str(r)](total)
        return rings

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None, dict[int, Tensor]]:
        """image [N, in_channels, S, S] in [-1, 1] -> (codes, const, rings).

        codes [N, L, w_dim] are residuals on `w_avg`; const [N, C_4, 4, 4] is a residual on the learned constant, or
        None; rings map a resolution r to [N, C_r, 4r+4].
        """
        x = self.stem(image)
        maps: dict[int, Tensor] = {}
        for resolution, stage in zip(self.resolutions, self.stages, strict=True):
            x = stage(x)
            maps[resolution] = x
        means = [m.mean(dim=(2, 3)) for m in maps.values()]
        hidden = self.trunk(torch.cat([self.squeeze(x).flatten(1), *means], dim=1))
        codes = self.codes(hidden).reshape(-1, self.spec.num_layers, self.spec.w_dim)
        return codes, self._const(maps), self._rings(maps) if self.pad_resolutions else {}
