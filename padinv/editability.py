"""Whether codes can still be edited: the change that a fixed set of directions makes, compared with an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from padinv.losses.objective import loss_image
from padinv.models.generator import Generator
from padinv.models.passes import Latents
from padinv.runtime.spatial import kept

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
    def effects(self, latents: Any) -> Tensor:
        """The figure of every edit: [N, number of edits]."""
        after = self._changes(latents)
        figures = [
            (new * old).sum(dim=(1, 2, 3)) / old.square().sum(dim=(1, 2, 3)).clamp(min=_SMALLEST)
            for new, old in zip(after, self.before, strict=True)
        ]
        return torch.stack(figures, dim=1)

    def deviation(self, latents: Any) -> Tensor:
        """Mean over the edits of |figure - 1|: [N]."""
        return (self.effects(latents) - 1).abs().mean(dim=1)

    def error(self, latents: Any, image: Tensor, step: int) -> Tensor:
        """How far an edited reconstruction is from the edited image: [N], for one edit a step, in turns.

        The edited image is `image` [N, 3, S, S] plus the change that the edit made at the start. As a term of a loss it
        keeps edits working, where a bound on the codes' distance alone would not.
        """
        turn = step % len(self.edits)
        output = loss_image(self._edited(latents, turn), image.shape[-1])
        wanted = image + loss_image(self.before[turn], image.shape[-1])
        return (output - wanted).square().mean(dim=(1, 2, 3))

    def __call__(self, latents: Any) -> Tensor:
        """bool [N]: whose edits still do what they did, up to the tolerance."""
        return self.deviation(latents) <= self.tolerance

    @torch.no_grad()
    def _changes(self, latents: Any) -> list[Tensor]:
        """What each edit changes in the images, clamped as they are shown."""
        plain = self._plain(latents).clamp(-1, 1)
        return [self._edited(latents, k).clamp(-1, 1) - plain for k in range(len(self.edits))]

    def _plain(self, latents: Any) -> Tensor:
        """Images [N, 3, R, R] without an edit."""
        return self.generator.synthesis(*latents)

    def _edited(self, latents: Any, k: int) -> Tensor:
        """Images [N, 3, R, R] with edit `k`."""
        return self.generator.synthesis(*moved(latents, self.edits[k]))


class SpatialEditability(Editability):
    """`Editability` of a spatial code that moves, while codes and padding stay.

    What an edit shows is the edited reconstruction with the code, which fades where that one is changed
    (`padinv.runtime.spatial`). How much it fades does not depend on the code, so it is computed once.

    Args:
        generator, edits, tolerance: as there. Edits leave the spatial code alone.
        latents: codes and padding, which stay.
        start: the spatial code before it moves, resolution -> [N, C_r, r, r].
        colours: beside the code, resolution -> [N, 3, r, r].
    """

    def __init__(
        self,
        generator: Generator,
        latents: Latents,
        start: dict[int, Tensor],
        colours: dict[int, Tensor],
        edits: Sequence[Latents],
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        self._latents = latents
        self._moved = [moved(latents, edit) for edit in edits]
        self._kept = [self._strengths(generator, one, colours) for one in self._moved]
        super().__init__(generator, start, edits, tolerance=tolerance)  # type: ignore[arg-type]

    @staticmethod
    @torch.no_grad()
    def _strengths(generator: Generator, latents: Latents, colours: dict[int, Tensor]) -> dict[int, Tensor]:
        """What is left of the code after an edit: resolution -> [N, 1, r, r]."""
        output = generator.synthesis(*latents).cpu().numpy()
        found = {r: kept(colour.cpu().numpy(), output)[:, None] for r, colour in colours.items()}
        return {r: torch.from_numpy(part).to(generator.w_avg.device) for r, part in found.items()}

    def _plain(self, latents: Any) -> Tensor:
        return self.generator.synthesis(*self._latents, spatial=latents)

    def _edited(self, latents: Any, k: int) -> Tensor:
        code = {r: one * self._kept[k][r] for r, one in latents.items()}
        return self.generator.synthesis(*self._moved[k], spatial=code)


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
