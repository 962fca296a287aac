"""Heads of the `fast` and timm bodies: from feature maps of several sizes to codes, constant and rings.

Where the reference computes a 34 x 34 feature map and reads its border, these heads compute border positions only: the
top-down sum and every projection on the way to a ring are 1x1, so they commute with taking the ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from padinv.runtime.spec import ModelSpec


class HeadWidths(Protocol):
    """Channels that the 4 px feature keeps, width of the layer before the codes, and of the top-down pyramid."""

    @property
    def squeeze(self) -> int: ...

    @property
    def hidden(self) -> int: ...

    @property
    def fpn(self) -> int: ...


def _projection(width: int, channels: int) -> nn.Sequential:
    """From the pyramid to what a layer of the generator takes, position by position."""
    return nn.Sequential(nn.PReLU(width), nn.Conv1d(width, channels, 1))


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


class BorderHeads(nn.Module):
    """A body's last part. A subclass sets `spec`, `pad_resolutions` and its backbone, then calls `_make_heads`."""

    spec: ModelSpec
    pad_resolutions: tuple[int, ...]

    def _make_heads(
        self,
        channels: dict[int, int],
        sizes: HeadWidths,
        *,
        const: bool,
        more: int = 0,
        const_level: int | None = None,
    ) -> None:
        """Make the heads; they begin at the average image: zero residuals, zero rings.

        Args:
            channels: resolution -> channels of the feature maps, finest first, down to 4 px, with every one that
                `pad_resolutions` names.
            sizes: widths.
            const: predict the 4 x 4 constant input.
            more: channels of maps coarser than 4 px, whose average the codes see, too.
            const_level: resolution of the map whose centre gives the constant; None: the finest that the spec pads.
        """
        spec, finest = self.spec, max(channels)
        # Codes: the flattened 4 px feature, and the average of every stage (colour, texture, lighting).
        self.squeeze = nn.Conv2d(channels[4], sizes.squeeze, 1)
        self.trunk = nn.Sequential(
            nn.Linear(sizes.squeeze * 16 + sum(channels.values()) + more, sizes.hidden), nn.PReLU(sizes.hidden)
        )
        self.codes = nn.Linear(sizes.hidden, spec.num_layers * spec.w_dim)

        # The constant is read at the map's centre, as in the paper's encoder. Read off the whole 4 px feature it takes
        # more of the latents' part, and a blend shows less of A.
        level = max(spec.pad_resolutions, default=4) if const_level is None else const_level
        self.centre = min(level, finest) if const else 0
        needed = [r for r in channels if r <= max((self.centre, *self.pad_resolutions))]
        self.laterals = nn.ModuleDict({str(r): nn.Conv1d(channels[r], sizes.fpn, 1) for r in needed})
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

    def _predict(
        self, maps: dict[int, Tensor], more: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor | None, dict[int, Tensor]]:
        """Feature maps {r: [N, C_r, r, r]}, finest first, and those coarser than 4 px -> (codes, const, rings)."""
        means = [m.mean(dim=(2, 3)) for m in (*maps.values(), *more)]
        hidden = self.trunk(torch.cat([self.squeeze(maps[4]).flatten(1), *means], dim=1))
        codes = self.codes(hidden).reshape(-1, self.spec.num_layers, self.spec.w_dim)
        return codes, self._const(maps), self._rings(maps) if self.pad_resolutions else {}
