"""The `fast` encoder body: a plain residual backbone down to 4 px, chosen for two cores."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from padinv.models.border_heads import BorderHeads
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


class FastBody(BorderHeads):
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

        self._make_heads({r: width for r, (width, _) in plan.items()}, sizes, const=const, const_level=const_level)

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
        return self._predict(maps)
