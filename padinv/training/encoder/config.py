"""Settings of an encoder training, and the presets that fill them in."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from typing import Any

from padinv.losses.adversarial import FORMS
from padinv.losses.backbones import BACKBONES
from padinv.models.encoder import ARCHITECTURES, EncoderConfig
from padinv.runtime.errors import InputError, UsageError

PRESETS = ("ffhq", "church", "bedroom", "faces64")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("no", "bf16", "fp16")
COMPILERS = ("no", "inductor", "aot_eager", "cudagraphs")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what an encoder training computes. Lengths are counted in training images.

    Attributes:
        arch: 'reference' or 'fast'.
        padding, const, pad_resolutions, size: see `EncoderConfig`.
        padding_dropout: share of the images whose constant and coarse rings are replaced by the generator's own while
            training, so that the latents learn to carry what does not need the padding.
        padding_dropout_max_res: resolution up to which rings are dropped.
        images: length of the training.
        batch: images of a forward pass in each process.
        accumulate: forward and backward passes of a step; a step takes batch * accumulate images in each process.
            Batch statistics are those of each pass.
        lr, beta1, beta2: Adam of the encoder.
        schedule: 'constant' (the paper) or 'cosine' (to zero over `images`).
        warmup: images over which the rate rises from zero.
        clip: largest norm of the encoder's gradient; 0: not clipped.
        ema: decay a step of the weight average that is evaluated and exported; 0: the last weights.
        pix, per, id, adv, reg: weights of the five terms; 0 leaves a term out.
        lpips: backbone of `per`.
        adv_form: 'logistic' (the reference implementation) or 'critic' (the paper's eq. 4 and 7).
        lr_d, beta1_d, beta2_d: Adam of the discriminator.
        r1_gamma, r1_interval: its gradient penalty; interval 1 is the eager form.
        lazy_interval_d: interval for which Adam's rate and betas of the discriminator are rescaled (Karras et al. 2020,
            appendix B); None: `r1_interval`. The reference implementation has 16 here, and the penalty at every step.
        flips: mirror half of the images.
        mixed_precision: 'no', 'bf16' or 'fp16'.
        tf32: let float32 matrix products and convolutions on newer GPUs round their inputs to 10 bits (TF32).
        deterministic: use deterministic kernels only, where torch has them.
        checkpointing: keep no activations inside encoder and generator blocks; slower by a third, far less memory.
        compile: backend of torch.compile, or 'no'.
        seed: of initial weights and of the order of the pictures.
    """

    arch: str = "reference"
    padding: bool = True
    const: bool = True
    pad_resolutions: tuple[int, ...] | None = None
    size: str | None = None
    padding_dropout: float = 0.0
    padding_dropout_max_res: int = 8
    images: int = 6_400_000
    batch: int = 8
    accumulate: int = 1
    lr: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    schedule: str = "constant"
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0
    pix: float = 1.0
    per: float = 0.8
    id: float = 0.0
    adv: float = 0.0
    reg: float = 0.003
    lpips: str = "alex"
    adv_form: str = "logistic"
    lr_d: float = 1e-4
    beta1_d: float = 0.9
    beta2_d: float = 0.99
    r1_gamma: float = 10.0
    r1_interval: int = 16
    lazy_interval_d: int | None = None
    flips: bool = False
    mixed_precision: str = "no"
    tf32: bool = False
    deterministic: bool = False
    checkpointing: bool = False
    compile: str = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            "arch": ARCHITECTURES,
            "schedule": SCHEDULES,
            "lpips": tuple(BACKBONES),
            "adv_form": FORMS,
            "mixed_precision": PRECISIONS,
            "compile": COMPILERS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for name in ("lr", "lr_d", "warmup", "clip", "pix", "per", "id", "adv", "reg", "r1_gamma", "seed"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} must be a number from 0 up, not {value!r}")
        for name in ("beta1", "beta2", "beta1_d", "beta2_d", "ema", "padding_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 0 and below 1, not {getattr(self, name)!r}")
        if min(self.images, self.batch, self.accumulate, self.r1_interval, self.lazy_interval_d or 1) < 1:
            raise UsageError("images, batch, accumulate, r1_interval and lazy_interval_d must be at least 1")
        if self.pix == self.per == self.id == 0:
            raise UsageError("pix, per and id are all 0, so nothing would tie the output to the picture")
        if self.pad_resolutions is not None:
            object.__setattr__(self, "pad_resolutions", tuple(self.pad_resolutions))

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder's own configuration."""
        return EncoderConfig(self.arch, self.padding, self.const, self.pad_resolutions, size=self.size)

    @property
    def weights(self) -> dict[str, float]:
        """Terms that take part, with their weights."""
        return {name: getattr(self, name) for name in ("pix", "per", "id", "adv", "reg") if getattr(self, name) > 0}

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
