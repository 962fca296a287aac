"""Disturbing the predicted padding while training: dropping some of it, and adding noise to it."""

from __future__ import annotations

import torch
from torch import Tensor

from padinv.losses.border import noisy_rings
from padinv.models.generator import Generator
from padinv.training.encoder.config import TrainConfig


def disturb_padding(
    config: TrainConfig,
    generator: Generator,
    const: Tensor | None,
    rings: dict[int, Tensor] | None,
    *,
    kept: Tensor | None = None,
) -> tuple[Tensor | None, dict[int, Tensor] | None]:
    """The padding that the generator gets in a training step, as the settings say. Arguments: see `drop_padding`."""
    if config.ring_noise > 0 and rings is not None:
        rings = noisy_rings(rings, config.ring_noise)
    if config.padding_dropout > 0:
        const, rings = drop_padding(
            generator, const, rings, config.padding_dropout, max_res=config.padding_dropout_max_res, kept=kept
        )
    return const, rings


def drop_padding(
    generator: Generator,
    const: Tensor | None,
    rings: dict[int, Tensor] | None,
    share: float,
    *,
    max_res: int,
    kept: Tensor | None = None,
) -> tuple[Tensor | None, dict[int, Tensor] | None]:
    """Replace the predicted constant and coarse rings of some images by the generator's own.

    Args:
        generator: whose constant and zero padding take their place.
        const: [N, C_4, 4, 4] or None.
        rings: {r: [N, C_r, 4r+4]} or None.
        share: chance per image, 0 to 1.
        max_res: resolution up to which rings are replaced.
        kept: bool [N], the images that keep theirs, see `keep_padding`; None: drawn here.
    """
    first = const if const is not None else next(iter((rings or {}).values()), None)
    if first is None:
        return const, rings
    kept = (keep_padding(len(first), share, first.device) if kept is None else kept).reshape(-1, 1, 1)
    if const is not None:
        const = torch.where(kept[..., None], const, generator.const.to(const.dtype))
    if rings is not None:
        rings = {r: ring * kept.to(ring.dtype) if r <= max_res else ring for r, ring in rings.items()}
    return const, rings


def keep_padding(count: int, share: float, device: torch.device) -> Tensor:
    """bool [count]: which images keep their padding where each loses it with the chance `share`."""
    return torch.rand(count, device=device) >= share
