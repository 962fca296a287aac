"""The geometry of a model, defined once and without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from padinv.runtime.errors import InputError

MIN_RESOLUTION, MAX_RESOLUTION = 8, 1024
MAX_WIDTH = 1 << 14  # channels, z_dim, w_dim; sizes beyond it are damage, not models
MAX_MAPPING_LAYERS = 64


def ring_length(resolution: int) -> int:
    """Number of positions in the one-pixel ring around a square map of side `resolution`: 4r + 4."""
    return 4 * resolution + 4


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a generator (and the encoder that fits it) that is not a weight.

    Attributes:
        resolution: side R of the generated image in pixels, a power of two.
        channels: feature channels at 4, 8, ..., R; one entry a resolution.
        z_dim, w_dim: widths of the input noise and of a latent code.
        mapping_layers: fully connected layers of the mapping network.
        mapping_lr_mult: learning-rate multiplier baked into the mapping network's weight scale.
        conv_clamp: activations are clamped to [-conv_clamp, conv_clamp] (256 in NVIDIA ADA files); None: no clamp.
        demod_eps_scaled: True where the 1e-8 of the demodulation sits on weights scaled by 1/sqrt(fan_in)
            (rosinality), False where it sits on raw weights (NVIDIA, GenForce).
        max_pad_res: largest resolution whose padding is replaced; None takes min(32, R/2) (paper section 3.2).
        template: how the training pictures were aligned (`Template.code`: 'faces' for the five-landmark template of
            FairFace-aligned models); None: pictures are taken as they are.
        mapping_width: width of the mapping network's hidden layers; None: w_dim, as nearly everywhere.
        spatial_resolutions: resolutions at which the encoder also predicts a spatial code (beyond the paper;
            docs/how-it-works.md). The weights of the generator do not depend on it, so it does not count when two
            specs are compared.
    """

    resolution: int
    channels: tuple[int, ...]
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_mult: float = 0.01
    conv_clamp: float | None = None
    demod_eps_scaled: bool = False
    max_pad_res: int | None = None
    template: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)
    mapping_width: int | None = None
    spatial_resolutions: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        r = self.resolution
        if not (isinstance(r, int) and MIN_RESOLUTION <= r <= MAX_RESOLUTION and r & (r - 1) == 0):
            raise InputError(f"resolution {r!r} is not a power of two from {MIN_RESOLUTION} to {MAX_RESOLUTION}")
        object.__setattr__(self, "channels", tuple(int(c) for c in self.channels))
        if len(self.channels) != len(self.resolutions) or min(self.channels, default=0) < 1:
            raise InputError(f"a {r} px generator has {len(self.resolutions)} channel counts, not {self.channels!r}")
        if self.max_pad_res is None:
            object.__setattr__(self, "max_pad_res", min(32, r // 2))
        elif self.max_pad_res not in (0, *self.resolutions):
            raise InputError(f"max_pad_res {self.max_pad_res!r} is not 0 or one of {self.resolutions}")
        object.__setattr__(self, "spatial_resolutions", tuple(sorted(set(self.spatial_resolutions))))
        if wrong := [r for r in self.spatial_resolutions if r not in self.resolutions]:
            raise InputError(f"a spatial code at {wrong[0]!r} does not fit a generator with {self.resolutions}")
        width = self.w_dim if self.mapping_width is None else self.mapping_width
        if min(self.z_dim, self.w_dim, self.mapping_layers, width) < 1:
            raise InputError("z_dim, w_dim, mapping_layers and mapping_width must be at least 1")
        if max(self.z_dim, self.w_dim, width, *self.channels) > MAX_WIDTH or self.mapping_layers > MAX_MAPPING_LAYERS:
            raise InputError(f"width above {MAX_WIDTH} or mapping depth above {MAX_MAPPING_LAYERS} is not supported")
        if not (math.isfinite(self.mapping_lr_mult) and math.isfinite(self.conv_clamp or 0)):
            raise InputError("mapping_lr_mult and conv_clamp must be finite")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ..., R."""
        return tuple(4 << k for k in range(int(math.log2(self.resolution)) - 1))

    @property
    def mapping_widths(self) -> tuple[int, ...]:
        """Widths along the mapping network: z_dim, the hidden layers, w_dim."""
        hidden = self.w_dim if self.mapping_width is None else self.mapping_width
        return (self.z_dim, *[hidden] * (self.mapping_layers - 1), self.w_dim)

    @property
    def num_layers(self) -> int:
        """L, the number of latent codes: 2 log2(R) - 2."""
        return 2 * len(self.resolutions)

    @property
    def image_size(self) -> int:
        """S = min(R, 256): side of the encoder's input and of the image the losses see."""
        return min(self.resolution, 256)

    @property
    def pad_resolutions(self) -> tuple[int, ...]:
        """The resolutions whose non-up-sampling 3x3 convolution takes a ring."""
        assert self.max_pad_res is not None
        return tuple(r for r in self.resolutions if r <= self.max_pad_res)

    def channels_at(self, resolution: int) -> int:
        """Feature channels at `resolution`; also C_in of that resolution's padded convolution."""
        return self.channels[self.resolutions.index(resolution)]

    @property
    def wp_shape(self) -> tuple[int, int]:
        """[L, w_dim]."""
        return (self.num_layers, self.w_dim)

    @property
    def const_shape(self) -> tuple[int, int, int]:
        """[C_4, 4, 4]."""
        return (self.channels[0], 4, 4)

    def ring_shape(self, resolution: int) -> tuple[int, int]:
        """[C_in, 4r + 4] of `pad_r`."""
        return (self.channels_at(resolution), ring_length(resolution))

    @property
    def encoder_shapes(self) -> dict[str, tuple[int, ...]]:
        """What the encoder's graph gives, graph name -> shape without the batch axis: `wp`, `const`, `pad_4`, ..."""
        shapes: dict[str, tuple[int, ...]] = {"wp": self.wp_shape, "const": self.const_shape}
        shapes.update({f"pad_{r}": self.ring_shape(r) for r in self.pad_resolutions})
        return shapes

    @property
    def spatial_shapes(self) -> dict[str, tuple[int, int, int]]:
        """`spatial_r` -> [C_r, r, r], what the generator's graph takes of a spatial code; empty where there is none."""
        return {f"spatial_{r}": (self.channels_at(r), r, r) for r in self.spatial_resolutions}

    @property
    def latent_shapes(self) -> dict[str, tuple[int, ...]]:
        """What the generator's graph takes, in graph order: `encoder_shapes`, then `spatial_shapes`."""
        return {**self.encoder_shapes, **self.spatial_shapes}

    @property
    def inversion_shapes(self) -> dict[str, tuple[int, ...]]:
        """What an inversion holds: a spatial code has three channels more than the generator takes, the colours of the
        reconstruction it was predicted beside (see `padinv.runtime.spatial`)."""
        spatial = {name: (channels + 3, r, r) for name, (channels, r, _) in self.spatial_shapes.items()}
        return {**self.encoder_shapes, **spatial}

    def accepts(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether arrays of these shapes, without the batch axis, are an inversion of this generator.

        A spatial code may be missing: its neutral value is zero.
        """
        own = self.inversion_shapes
        return self.encoder_shapes.keys() <= shapes.keys() and all(own.get(n) == shape for n, shape in shapes.items())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        value = asdict(self)
        value["channels"] = list(self.channels)
        if self.spatial_resolutions:
            value["spatial_resolutions"] = list(self.spatial_resolutions)
        else:
            del value["spatial_resolutions"]  # older versions read specs without it
        return value

    @classmethod
    def from_dict(cls, value: Any) -> ModelSpec:
        """The inverse of `to_dict`.

        Raises:
            InputError: `value` is not a mapping, lacks a field, or holds one that makes no sense.
        """
        if not isinstance(value, dict):
            raise InputError(f"a model spec is a mapping, not {type(value).__name__}")
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(value) - known):
            raise InputError(f"the model spec has unknown fields {', '.join(map(repr, unknown))}; update padinv")
        if problem := _json_problem(value):
            raise InputError(f"the model spec is not usable: {problem}")
        try:
            spatial = tuple(value.get("spatial_resolutions", ()))
            return cls(**{**value, "channels": tuple(value["channels"]), "spatial_resolutions": spatial})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the model spec is not usable: {error}") from error


_JSON_KINDS: dict[str, tuple[type, ...]] = {
    "resolution": (int,),
    "channels": (list, tuple),
    "z_dim": (int,),
    "w_dim": (int,),
    "mapping_layers": (int,),
    "mapping_lr_mult": (int, float),
    "conv_clamp": (int, float, type(None)),
    "demod_eps_scaled": (bool,),
    "max_pad_res": (int, type(None)),
    "template": (str, type(None)),
    "extra": (dict,),
    "mapping_width": (int, type(None)),
    "spatial_resolutions": (list, tuple),
}


def _json_problem(value: dict[str, Any]) -> str | None:
    """Why these fields, read from a file, are of the wrong kind; None when they are not. (A bool is no number here.)"""
    for name, entry in value.items():
        kinds = _JSON_KINDS[name]
        if not isinstance(entry, kinds) or (isinstance(entry, bool) and bool not in kinds):
            return f"{name} is {str(entry)[:40]!r}"
    for name in ("channels", "spatial_resolutions"):
        if not all(isinstance(c, int) and not isinstance(c, bool) for c in value.get(name, ())):
            return f"{name} are not whole numbers"
    return None
