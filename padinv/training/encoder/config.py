"""Settings of an encoder training, and the presets that fill them in."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from padinv.runtime.errors import InputError, UsageError
from padinv.training.settings import MAX_SEED, check_settings, setting

if TYPE_CHECKING:
    from padinv.models.encoder import EncoderConfig

PRESETS = ("ffhq", "church", "bedroom", "faces64", "faces128")
# Restated from the modules that need torch, so that the command line's help does not; a test compares them.
ARCHITECTURES = ("reference", "fast")
SIZES = ("small", "medium", "large")
BACKBONES = ("alex", "vgg", "squeeze")
FORMS = ("logistic", "critic")
VIEWS = ("whole", "border")
MAX_PASSES = 20


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what an encoder training computes. Lengths are counted in training images.

    Each field carries its help, as `padinv train --help` prints it.
    """

    arch: str = setting(
        "reference",
        "Encoder architecture: the paper's, a fast one, or a backbone of timm by its name.",
        choices=ARCHITECTURES,
        prefix="timm:",
        metavar="reference|fast|timm:NAME",
    )
    size: str | None = setting(None, "Size of the fast architecture; by the image's side if omitted.", choices=SIZES)
    padding: bool = setting(True, "Predict the padding space, or W+ codes only (pSp's setting).")
    const: bool = setting(True, "Predict the constant input, or leave the generator its own.")
    pad_resolutions: tuple[int, ...] | None = setting(
        None, "Resolutions whose padding is predicted; all if omitted.", metavar="4,8,..."
    )
    passes: int = setting(
        1,
        "Passes of iterative encoding: from the second on, the encoder also sees what its earlier reconstructions "
        "lacked, and corrects codes, constant and rings (after ReStyle).",
        low=1,
        high=MAX_PASSES,
    )
    padding_dropout: float = setting(
        0.0,
        "Share of the images whose constant and coarse rings are replaced by the generator's own while training, so "
        "that the latents learn to carry what does not need the padding.",
        low=0,
        below=1,
    )
    padding_dropout_max_res: int = setting(8, "Resolution up to which padding is dropped.", low=4)
    ring_noise: float = setting(
        0.0, "Noise on the predicted padding while training, relative to the size of each ring.", low=0
    )
    spatial: tuple[int, ...] | None = setting(
        None,
        "Resolutions of a spatial code inside the ring (beyond the paper), predicted from the image and its "
        "reconstruction. It is trained on its own: the encoder given with --init stays as it is.",
        metavar="32,...",
    )
    images: int = setting(6_400_000, "Length of the training in images.", low=1)
    batch: int = setting(8, "Images per forward pass in each process.", low=1)
    accumulate: int = setting(
        1,
        "Forward and backward passes of a step: it takes --batch times --accumulate images in each process.",
        low=1,
    )
    lr: float = setting(1e-4, "Learning rate of the encoder.", low=0)
    beta1: float = setting(0.9, "Adam's first beta, of the encoder.", low=0, below=1)
    beta2: float = setting(0.999, "Adam's second beta, of the encoder.", low=0, below=1)
    schedule: str = setting(
        "constant", "Learning-rate schedule; cosine falls to zero over --images.", choices=("constant", "cosine")
    )
    warmup: int = setting(0, "Images over which the learning rate rises from zero.", low=0)
    clip: float = setting(0.0, "Largest norm of the encoder's gradient; 0: not clipped.", low=0)
    ema: float = setting(
        0.0, "Decay per step of the weight average that is evaluated and exported; 0: the last weights.", low=0, below=1
    )
    pix: float = setting(1.0, "Weight of the pixel term.", low=0)
    per: float = setting(0.8, "Weight of the perceptual term (LPIPS).", low=0)
    id: float = setting(0.0, "Weight of the identity term; faces only.", low=0)
    adv: float = setting(0.0, "Weight of the adversarial term.", low=0)
    reg: float = setting(0.003, "Weight of the latent regularisation.", low=0)
    smooth: float = setting(0.0, "Weight of the smoothness of the predicted padding along each ring.", low=0)
    lpips: str = setting("alex", "LPIPS backbone.", choices=BACKBONES)
    adv_form: str = setting(
        "logistic",
        "Form of the adversarial term: the reference implementation's, or critic as printed in the paper.",
        choices=FORMS,
    )
    adv_view: str = setting(
        "whole",
        "What the discriminator sees: whole images, or patches along the border (with a new discriminator).",
        choices=VIEWS,
    )
    lr_d: float = setting(1e-4, "Learning rate of the discriminator.", low=0)
    beta1_d: float = setting(0.9, "Adam's first beta, of the discriminator.", low=0, below=1)
    beta2_d: float = setting(0.99, "Adam's second beta, of the discriminator.", low=0, below=1)
    r1_gamma: float = setting(10.0, "Weight of the discriminator's gradient penalty (R1).", low=0)
    r1_interval: int = setting(16, "Steps between two gradient penalties; 1: at every step.", low=1)
    lazy_interval_d: int | None = setting(
        None,
        "Interval for which Adam's rate and betas of the discriminator are rescaled; --r1-interval if omitted. The "
        "reference implementation has 16 here, and --r1-interval 1.",
        low=1,
    )
    flips: bool = setting(False, "Mirror half of the images.")
    mixed_precision: str = setting("no", "Number format in which the networks compute.", choices=("no", "bf16", "fp16"))
    tf32: bool = setting(False, "Let float32 on newer GPUs round its inputs to 10 bits (TF32): faster, less exact.")
    deterministic: bool = setting(False, "Use deterministic GPU kernels where torch has them.")
    checkpointing: bool = setting(
        False, "Keep no activations inside blocks: a third slower, and less than half the memory."
    )
    compile: str = setting("no", "Backend of torch.compile.", choices=("no", "inductor", "aot_eager", "cudagraphs"))
    seed: int = setting(0, "Seed of initial weights and of the order of the images.", low=0, high=MAX_SEED)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.pix == self.per == self.id == 0:
            raise UsageError("pix, per and id are all 0, so nothing would tie the output to the picture")
        if self.pad_resolutions is not None:
            object.__setattr__(self, "pad_resolutions", tuple(self.pad_resolutions))
        if self.spatial is not None:
            object.__setattr__(self, "spatial", tuple(self.spatial))

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder's own configuration."""
        from padinv.models.encoder import EncoderConfig  # needs torch; the settings do not

        config = EncoderConfig(
            self.arch, self.padding, self.const, self.pad_resolutions, size=self.size, spatial=self.spatial or ()
        )
        return config if self.passes == 1 else replace(config, refinements=self.passes, feedback="error")

    @property
    def weights(self) -> dict[str, float]:
        """Terms that take part, with their weights."""
        names = ("pix", "per", "id", "adv", "reg", "smooth")
        return {name: getattr(self, name) for name in names if getattr(self, name) > 0}

    def rate_at(self, images_seen: int) -> float:
        """The encoder's learning rate for the step that begins after `images_seen` images."""
        rate = self.lr
        if self.warmup and images_seen < self.warmup:
            rate *= (images_seen + 1) / self.warmup
        if self.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, images_seen / self.images)))
        return rate

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        value = asdict(self)
        value["pad_resolutions"] = None if self.pad_resolutions is None else list(self.pad_resolutions)
        value["spatial"] = None if self.spatial is None else list(self.spatial)
        return value


def read_preset(name: str) -> dict[str, tuple[Any, str]]:
    """A preset's settings: name -> (value, reason).

    Raises:
        UsageError: no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"the presets are {', '.join(PRESETS)}, not {name!r}")
    document = json.loads(files("padinv.training").joinpath(f"presets/{name}.json").read_text("utf-8"))
    return {key: (entry["value"], entry["reason"]) for key, entry in document["settings"].items()}


def resolve(preset: str | None, overrides: dict[str, Any]) -> tuple[TrainConfig, dict[str, str]]:
    """A configuration from a preset and explicit settings, with the reason of every value.

    Args:
        preset: its name, or None for the defaults.
        overrides: settings given outright; None entries do not count.

    Raises:
        UsageError: an unknown preset or setting, or a value that makes no sense.
    """
    known = {f.name for f in fields(TrainConfig)}
    settings = read_preset(preset) if preset else {}
    if unknown := sorted((set(settings) | set(overrides)) - known):
        raise UsageError(f"there is no training setting {unknown[0]!r}")
    if overrides.get("arch") not in (None, "fast"):
        settings.pop("size", None)  # the preset's, which belongs to its own architecture
    values = {name: value for name, (value, _) in settings.items()}
    reasons = {name: reason for name, (_, reason) in settings.items()}
    for name, value in overrides.items():
        if value is not None:
            values[name], reasons[name] = value, "asked for"
    try:
        config = TrainConfig(**values)
    except TypeError as error:
        raise InputError(f"the preset {preset} is not usable: {error}") from error
    return config, {name: reasons.get(name, "default") for name in known}
