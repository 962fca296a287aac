"""Keeping generator and discriminator in step: a discriminator at chance teaches nothing, a perfect one little.

Measured on this project's faces: heads without normalisation stayed at chance for a whole training, and the samples
kept etched contours; a generator that also had to reproduce photographs from 64 numbers was told from real ones every
time, and fell into one face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from padinv.runtime.errors import PadInvError

# The share of correctly classified images that the rates aim at; between the two bounds nothing changes.
LOWEST, HIGHEST = 0.60, 0.85
# Within this distance of one half the discriminator knows nothing.
AT_CHANCE = 0.02
SLOWEST = 0.1
HALF_LIFE = 1_000  # images over which the share is averaged


class ChanceError(PadInvError):
    """The discriminator stayed at chance, so that nothing is learned from it."""


@dataclass
class Balance:
    """Factors on both learning rates that hold the discriminator's accuracy in range.

    Attributes:
        accuracy: running share of real and generated images that are classified correctly, 0 to 1.
        scale_g, scale_d: factors on the rates of generator and discriminator, `SLOWEST` to 1.
        patience: images at chance after which training stops.
    """

    patience: int = 100_000
    accuracy: float = 0.75
    scale_g: float = 1.0
    scale_d: float = 1.0
    images_at_chance: int = 0

    def update(self, accuracy: float, images: int) -> None:
        """Take one step's share of correctly classified images into account.

        Raises:
            ChanceError: it stayed at chance for `patience` images.
        """
        self.accuracy += (accuracy - self.accuracy) * (1 - 0.5 ** (images / HALF_LIFE))
        step = 2.0 ** (images / HALF_LIFE)
        self.scale_g = _moved(self.scale_g, step, slower=self.accuracy < LOWEST)
        self.scale_d = _moved(self.scale_d, step, slower=self.accuracy > HIGHEST)
        at_chance = abs(self.accuracy - 0.5) < AT_CHANCE
        self.images_at_chance = self.images_at_chance + images if at_chance else 0
        if self.images_at_chance >= self.patience:
            raise ChanceError(
                f"the discriminator has told real from generated images no better than chance for "
                f"{self.images_at_chance:,} images, so the generator learns nothing from it; the last checkpoint is "
                "intact. Try a higher --lr-d, a lower --lr-g, or --backbone efficientnet-lite0"
            )

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume; unknown names are refused by dataclass semantics."""
        for name, value in state.items():
            if name not in vars(self):
                raise KeyError(name)
            setattr(self, name, value)


def _moved(scale: float, step: float, *, slower: bool) -> float:
    return max(SLOWEST, scale / step) if slower else min(1.0, scale * step)
