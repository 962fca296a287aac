"""Settings of a generator training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args

from padinv.models.projected_discriminator import BACKBONES
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec
from padinv.training.generator.choices import Discriminator, MixedPrecision, Noise


@dataclass(frozen=True)
class GanConfig:
    """Settings of a generator training; lengths are counted in real images shown.

    Attributes:
        spec: geometry of the generator.
        discriminator: 'projected' or 'stylegan2'.
        backbone: 'projected' only: whose features it sees, 'squeezenet' or 'efficientnet-lite0' (Projected GAN's own,
            with batch normalisation in the heads; images are enlarged to `feature_side` first).
        feature_side: for 'efficientnet-lite0': side of the images that the backbone sees.
        balance: adapt both rates so that the discriminator tells 60 to 85 % of the images rightly.
        lr_g, lr_d: Adam's learning rates, betas (0, 0.99).
        ema_half_life: of the generator's weight average, in images.
        style_mixing: chance that a sample's later layers take a second code.
        r1_gamma, r1_interval: for 'stylegan2' only.
        flips: mirror half of the photographs.
        noise: 'none' keeps the noise strengths at zero (inversions then carry no fixed grain), 'random' learns them.
        reconstruct: weight of an autoencoder's loss beside the adversarial one; half of the samples then stand for
            photographs of the batch, their z found by an encoder that learns along (`padinv.models.z_encoder`).
        reconstruct_first: images for which it is an autoencoder alone, before a discriminator joins.
    """

    spec: ModelSpec
    images: int = 200_000
    batch: int = 16
    discriminator: Discriminator = "projected"
    backbone: str = "squeezenet"
    feature_side: int = 224
    balance: bool = False
    lr_g: float = 2e-3
    lr_d: float = 5e-4
    ema_half_life: float = 5_000.0
    style_mixing: float = 0.3
    r1_gamma: float = 1.0
    r1_interval: int = 16
    flips: bool = True
    noise: Noise = "none"
    reconstruct: float = 0.0
    reconstruct_first: int = 0
    mixed_precision: MixedPrecision = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in {
            "discriminator": get_args(Discriminator),
            "backbone": BACKBONES,
            "noise": get_args(Noise),
            "mixed_precision": get_args(MixedPrecision),
        }.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if self.reconstruct < 0 or (self.reconstruct > 0 and self.discriminator != "projected"):
            raise UsageError("reconstruct is a weight, 0 or more, and goes with the projected discriminator only")
        if self.reconstruct_first < 0 or (self.reconstruct_first > 0 and self.reconstruct == 0):
            raise UsageError("reconstruct_first is a count of images, 0 or more, and goes with reconstruct only")
        if not 32 <= self.feature_side <= 1024:
            raise UsageError(f"feature_side must be from 32 to 1024, not {self.feature_side}")
        if self.batch < 2 or self.images < self.batch:
            raise UsageError("batch must be at least 2 and images at least one batch")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "spec": self.spec.to_dict()}
