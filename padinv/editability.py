"""Whether codes can still be edited: the change that a fixed set of directions makes, compared with an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from padinv.losses.objective import loss_image
from padinv.models.generator import Generator
from padinv.models.passes import Latents

TOLERANCE = 0.1
_SMALLEST = 1e-12


class Editability:
    """How much of a set of edits survives when codes and padding move away from where they were.

    The effect of an edit is the change d that it makes to the image. For codes that have moved, the figure is the part
    of the new change along the old one, <d', d> / <d, d>: 1 where the edit does what it did, 0 where it does nothing
    of it, below 0 where it does the opposite.

    Args:
        generator: draws the images.
        start: codes and padding before they move.
        edits: changes of (wp [L, w_dim], const [C_4, 4, 4] or None, rings {r: [C_r, 4r+4]} or None).
        tolerance: how far the mean over the edits of |figure - 1| may be from 0.
    """

    def __init__(
        self, generator: Generator, start: Latents, edits: Sequence[Latents], *, tolerance: float = TOLERANCE
    ) -> None:
        self.generator, self.edits, self.tolerance = generator, edits, tolerance
        self.before = self._changes(start)

    @torch.no_grad()
    def effects(self, latents: Latents) -> Tensor:
        """The figure of every edit: [N, number of edits]."""
        after = self._changes(latents)
        figures = [
            (new * old).sum(dim=(1, 2, 3)) / old.square().sum(dim=(1, 2, 3)).clamp(min=_SMALLEST)
            for new, old in zip(after, self.before, strict=True)
        ]
        return torch.stack(figures, dim=1)

    def deviation(self, latents: Latents) -> Tensor:
        """Mean over the edits of |figure - 1|: [N]."""
        return (self.effects(latents) - 1).abs().mean(dim=1)

    def error(self, latents: Latents, image: Tensor, step: int) -> Tensor:
        """How far an edited reconstruction is from the edited image: [N], for one edit a step, in turns.

        The edited image is `image` [N, 3, S, S] plus the change that the edit made at the start. As a term of a loss it
        keeps edits working, where a bound on the codes' distance alone would not.
        """
        turn = step % len(self.edits)
        output = loss_image(self.generator.synthesis(*moved(latents, self.edits[turn])), image.shape[-1])
        wanted = image + loss_image(self.before[turn], image.shape[-1])
        return (output - wanted).square().mean(dim=(1, 2, 3))

    def __call__(self, latents: Latents) -> Tensor:
        """bool [N]: whose edits still do what they did, up to the tolerance."""
        return self.deviation(latents) <= self.tolerance

    @torch.no_grad()
    def _changes(self, latents: Latents) -> list[Tensor]:
        """What each edit changes in the images, clamped as they are shown."""
        plain = self._draw(latents)
        return [self._draw(moved(latents, edit)) - plain for edit in self.edits]

    def _draw(self, latents: Latents) -> Tensor:
        return self.generator.synthesis(*latents).clamp(-1, 1)


def moved(latents: Latents, edit: Latents) -> Latents:
    """Codes and padding with an edit added; padding that is the generator's own stays so."""
    wp, const, rings = latents
    if const is not None and edit[1] is not None:
        const = const + edit[1]
    if rings is not None and edit[2] is not None:
        rings = {r: ring + edit[2][r] if r in edit[2] else ring for r, ring in rings.items()}
    return wp + edit[0], const, rings


@torch.no_grad()
def sampled_edits(generator: Generator, count: int = 3, seed: int = 0) -> list[Latents]:
    """Edits for a generator that has no named directions: half the way between pairs of its own random codes."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(2 * count, generator.spec.z_dim, generator=random).to(generator.w_avg.device)
    a, b = generator.mapping(z).chunk(2)
    return [(generator.broadcast(step[None])[0], None, None) for step in 0.5 * (a - b)]
