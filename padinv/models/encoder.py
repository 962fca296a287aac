"""The PadInv encoder: an image to latent codes, constant input and padding rings (paper section 3.3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from padinv.losses.objective import loss_image
from padinv.models.fast_encoder import SIZES, FastBody
from padinv.models.generator import Generator
from padinv.models.passes import Latents, run_passes, widened
from padinv.models.reference_encoder import ReferenceBody
from padinv.models.spatial_encoder import SpatialEncoder
from padinv.models.timm_encoder import PREFIX, TimmBody, backbone_name
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.spec import MAX_RESOLUTION, ModelSpec

ARCHITECTURES = ("reference", "fast")
BACKBONES = ("irse50", "resnet34")
FEEDBACKS = ("codes", "error")
MAX_REFINEMENTS = 20
MIN_CONST_LEVEL = 4
SPATIAL_WIDTH = 80


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder predicts, and how.

    Attributes:
        architecture: 'reference' (the paper's), 'fast' (at most a quarter of its arithmetic), or 'timm:NAME', a
            backbone of timm with the heads of 'fast'.
        padding: predict the padding space. False: latent codes only, pSp's setting, whatever the next two say.
        const: predict the constant input (p_0).
        pad_resolutions: resolutions whose rings are predicted; None: all that the generator's spec names.
        projections: 'reference' only: one 1x1 projection a ring; False: one shared map, as some of the paper's files
            have it.
        codes_per_level: 'reference' only: codes from the coarsest pyramid level and from the next, the rest coming from
            the finest; None: 3 and 4, as in the paper.
        size: 'fast' only: 'small', 'medium' or 'large'; None: small up to 64 px, large above.
        const_level: not 'reference': resolution of the map whose centre gives the constant; None: the finest that the
            generator's spec pads. Written at export where the spec is widened to rings beyond its default.
        backbone: 'reference' only: 'irse50', or 'resnet34' as in some imported baselines.
        relative_codes: 'reference' only: codes after the first are differences from the first (e4e).
        refinements: 0: codes come from the image alone. n: in n passes, each of which sees what the last one's
            reconstruction looks like (ReStyle, Alaluf et al. 2021); the generator is then part of the encoder.
        feedback: how a pass uses the last one. 'codes': it sees the image and the reconstruction, the first time the
            average image, and adds to the codes, as ReStyle's own files do; only without padding. 'error': see
            `padinv.models.passes`.
        spatial: resolutions at which a spatial code is predicted too, from the image and its reconstruction (beyond
            the paper; `padinv.models.spatial_encoder`).
        spatial_width: channels inside the network that predicts it.
    """

    architecture: str = "reference"
    padding: bool = True
    const: bool = True
    pad_resolutions: tuple[int, ...] | None = None
    projections: bool = True
    codes_per_level: tuple[int, int] | None = None
    size: str | None = None
    backbone: str = "irse50"
    relative_codes: bool = False
    refinements: int = 0
    feedback: str = "codes"
    const_level: int | None = None
    spatial: tuple[int, ...] = ()
    spatial_width: int = SPATIAL_WIDTH

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise UsageError(f"the backbone is one of {', '.join(BACKBONES)}, not {self.backbone!r}")
        if not 0 <= self.refinements <= MAX_REFINEMENTS:
            raise UsageError(f"an encoder refines its codes 0 to {MAX_REFINEMENTS} times, not {self.refinements}")
        if self.feedback not in FEEDBACKS:
            raise UsageError(f"the feedback is one of {', '.join(FEEDBACKS)}, not {self.feedback!r}")
        if self.refinements and self.feedback == "codes" and (self.padding or self.architecture != "reference"):
            raise UsageError("an encoder that adds to its codes in steps is a 'reference' without padding")
        if self.architecture not in ARCHITECTURES and backbone_name(str(self.architecture)) is None:
            raise UsageError(
                f"architecture is one of {', '.join(ARCHITECTURES)}, {PREFIX}NAME, not {self.architecture!r}"
            )
        if self.size is not None and (self.architecture != "fast" or self.size not in SIZES):
            raise UsageError(
                f"size is one of {', '.join(SIZES)} and belongs to the fast architecture, not {self.size!r}"
            )
        object.__setattr__(self, "spatial", tuple(sorted({int(r) for r in self.spatial})))
        if not 1 <= self.spatial_width <= 1024:
            raise UsageError(f"spatial_width is 1 to 1024 channels, not {self.spatial_width}")
        if self.pad_resolutions is not None:
            object.__setattr__(self, "pad_resolutions", tuple(sorted({int(r) for r in self.pad_resolutions})))
        if self.codes_per_level is not None:
            counts = tuple(int(n) for n in self.codes_per_level)
            if len(counts) != 2 or min(counts) < 0:
                raise UsageError(f"codes_per_level are two counts, not {self.codes_per_level!r}")
            object.__setattr__(self, "codes_per_level", counts)

    @property
    def passes(self) -> int:
        """How often the encoder is called for an image; more than once it also takes the error of earlier passes."""
        return self.refinements if self.refinements and self.feedback == "error" else 1

    @classmethod
    def ablation(cls, name: str, architecture: str = "reference") -> EncoderConfig:
        """A row of the paper's Table 2 by its name: 'none', 'p0', 'p0-1', 'p0-1-3', ..., 'p0-1-3-5-7-9'.

        The numbers are layers: 0 is the constant input, 2k + 1 the padded layer of 4 * 2^k px.

        Raises:
            UsageError: not such a name.
        """
        if name == "none":
            return cls(architecture, padding=False)
        try:
            layers = [int(part) for part in name.removeprefix("p").split("-")]
        except ValueError:
            layers = []
        if not name.startswith("p") or not layers or any(k < 0 or (k > 0 and k % 2 == 0) for k in layers):
            raise UsageError(f"{name!r} is not an ablation; write 'none', 'p0', 'p0-1', 'p0-1-3' and so on")
        rings = tuple(4 << (k // 2) for k in layers if k > 0)
        return cls(architecture, const=0 in layers, pad_resolutions=rings)

    def rings_for(self, spec: ModelSpec) -> tuple[int, ...]:
        """The resolutions whose rings an encoder of this configuration predicts for a generator.

        Raises:
            UsageError: the generator has no such resolution.
        """
        if not self.padding:
            return ()
        if self.pad_resolutions is None:
            return spec.pad_resolutions
        if unknown := [r for r in self.pad_resolutions if r not in spec.resolutions]:
            raise UsageError(f"the generator has no {unknown[0]} px layer whose padding could be replaced")
        return self.pad_resolutions

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        value = asdict(self)
        value["pad_resolutions"] = None if self.pad_resolutions is None else list(self.pad_resolutions)
        value["codes_per_level"] = None if self.codes_per_level is None else list(self.codes_per_level)
        value["spatial"] = list(self.spatial)
        if not self.spatial:
            del value["spatial"], value["spatial_width"]
        # Left out where they are as ever, so that older versions read what they can run.
        for name in ("backbone", "relative_codes", "refinements", "feedback", "const_level"):
            if value[name] == EncoderConfig.__dataclass_fields__[name].default:
                del value[name]
        return value

    @classmethod
    def from_dict(cls, value: Any) -> EncoderConfig:
        """The inverse of `to_dict`.

        Raises:
            InputError: not a mapping, or fields that make no sense.
        """
        if not isinstance(value, dict):
            raise InputError(f"an encoder's configuration is a mapping, not {type(value).__name__}")
        if unknown := sorted(set(value) - {f.name for f in fields(cls)}):
            raise InputError(f"the encoder has unknown settings {', '.join(map(repr, unknown))}; update padinv")
        for name in ("padding", "const", "projections", "relative_codes"):
            if not isinstance(value.get(name, True), bool):
                raise InputError(f"the encoder's setting {name} is {value[name]!r}, not true or false")
        for name in ("refinements", "spatial_width"):
            if type(value.get(name, 0)) is not int:
                raise InputError(f"the encoder's setting {name} is {value[name]!r}, not a whole number")
        spatial = value.get("spatial", ())
        if not (isinstance(spatial, list | tuple) and all(type(r) is int for r in spatial)):
            raise InputError(f"the encoder's spatial resolutions are {spatial!r}, not a list of sizes")
        level = value.get("const_level")
        if level is not None and (type(level) is not int or not MIN_CONST_LEVEL <= level <= MAX_RESOLUTION):
            raise InputError(f"the encoder's const_level is {level!r}, not a resolution")
        rings = value.get("pad_resolutions")
        if rings is not None and not (isinstance(rings, list | tuple) and all(type(r) is int for r in rings)):
            raise InputError(f"the encoder's pad_resolutions are {rings!r}, not a list of sizes")
        counts = value.get("codes_per_level")
        if counts is not None and not (isinstance(counts, list | tuple) and all(type(n) is int for n in counts)):
            raise InputError(f"the encoder's codes_per_level are {counts!r}, not two counts")
        try:
            return cls(**{**value, "pad_resolutions": None if rings is None else tuple(rings)})
        except (TypeError, UsageError) as error:
            raise InputError(f"the encoder's configuration is not usable: {error}") from error


class Encoder(nn.Module):
    """image [N, 3, S, S] in [-1, 1] -> (wp, const, rings), ready for `Generator.synthesis`.

    `w_avg` [w_dim] and `const` [C_4, 4, 4] are the generator's, stored with the encoder so that one file is enough.

    Raises:
        UsageError: the configuration does not fit the generator's geometry.
    """

    w_avg: Tensor
    const: Tensor

    def __init__(self, spec: ModelSpec, config: EncoderConfig) -> None:
        super().__init__()
        spec = replace(spec, spatial_resolutions=config.spatial)
        self.spec = spec
        self.config = config
        rings = config.rings_for(spec)
        const = config.padding and config.const
        self.body: nn.Module
        if config.architecture == "reference":
            self.body = ReferenceBody(
                spec,
                const,
                rings,
                config.projections,
                config.codes_per_level,
                backbone=config.backbone,
                in_channels=6 if config.refinements else 3,
                relative_codes=config.relative_codes,
            )
        else:
            channels, level = 6 if config.refinements else 3, config.const_level
            name = backbone_name(config.architecture)
            if name is None:
                self.body = FastBody(spec, const, rings, config.size, channels, const_level=level)
            else:
                self.body = TimmBody(spec, const, rings, name, channels, const_level=level)
        self.register_buffer("w_avg", torch.zeros(spec.w_dim))
        self.register_buffer("const", torch.zeros(*spec.const_shape))
        self.generator: nn.Module | None = Generator(spec).requires_grad_(False) if config.refinements else None
        self.spatial: nn.Module | None = SpatialEncoder(spec, config.spatial_width) if config.spatial else None

    @classmethod
    def from_generator(cls, generator: Generator, config: EncoderConfig) -> Encoder:
        """A fresh encoder for a generator, with the latter's `w_avg` and learned constant."""
        encoder = cls(generator.spec, config)
        with torch.no_grad():
            encoder.w_avg.copy_(generator.w_avg)
            encoder.const.copy_(generator.const)
            if encoder.generator is not None:
                encoder.generator.load_state_dict(generator.state_dict())
        return encoder

    def freeze_all_but_spatial(self) -> None:
        """Train the spatial code alone: everything else keeps its weights and its batch statistics."""
        self.requires_grad_(False)
        if self.spatial is not None:
            self.spatial.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """Training mode, in which a frozen body stays in evaluation mode."""
        super().train(mode)
        if not any(weight.requires_grad for weight in self.body.parameters()):
            self.body.eval()
        return self

    def spatial_code(self, image: Tensor, reconstruction: Tensor) -> dict[int, Tensor]:
        """What a reconstruction misses: resolution -> [N, C_r, r, r], float32; empty for an encoder without one.

        Args:
            image: [N, 3, S, S] in [-1, 1].
            reconstruction: of the same shape, the generator's image without a spatial code, unclamped.
        """
        if self.spatial is None:
            return {}
        return {r: code.float() for r, code in self.spatial(image, reconstruction).items()}

    @property
    def takes_error(self) -> bool:
        """Whether one pass of it takes the error of earlier ones besides the image."""
        return self.config.refinements > 0 and self.config.feedback == "error"

    def forward(self, image: Tensor, error: Tensor | None = None, *, passes: int | None = None) -> Latents:
        """image [N, 3, S, S] in [-1, 1] -> wp [N, L, w_dim]; const [N, C_4, 4, 4] or None; rings {r: [N, C_r, 4r+4]}
        or None. Always float32, whatever precision the body runs in.

        Args:
            error: [N, 3, S, S], what earlier passes' reconstructions lacked, for one more pass; see
                `padinv.models.passes`. None: all passes.
            passes: how many; None: as many as it was trained for.

        Raises:
            MismatchError: images of another size. UsageError: an encoder that was not trained for so many passes.
        """
        size = self.spec.image_size
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise MismatchError(f"the encoder takes images [N, 3, {size}, {size}], not {list(image.shape)}")
        if passes is not None and not 1 <= passes <= self.config.passes:
            raise UsageError(f"the encoder was trained for up to {self.config.passes} passes, not {passes}")
        if not self.takes_error:
            if error is not None:
                raise UsageError("the encoder was trained for a single pass, so it takes no error of earlier ones")
            return (self._refine(image), None, None) if self.config.refinements else self._predict(image)
        if error is not None:
            return self._predict(torch.cat([image, error.to(image.dtype)], dim=1))
        assert isinstance(self.generator, Generator)
        *_, (latents, _) = run_passes(self.forward, self.generator.synthesis, image, passes or self.config.passes)
        return latents

    def _predict(self, x: Tensor) -> Latents:
        """One call of the body, [N, 3 or 6, S, S]."""
        codes, const, rings = self.body(x)
        wp = self.w_avg + codes.float()
        if const is not None:
            # The paper's body predicts the constant itself, the others a residual.
            const = const.float() if self.config.architecture == "reference" else self.const + const.float()
        return wp, const, {r: ring.float() for r, ring in rings.items()} or None

    def _refine(self, image: Tensor) -> Tensor:
        """image [N, 3, S, S] -> wp [N, L, w_dim] in steps, each a residual on the last (ReStyle, section 3.2)."""
        assert self.generator is not None
        average = self.w_avg.expand(1, self.spec.num_layers, -1)
        wp = self.w_avg.expand(image.shape[0], self.spec.num_layers, -1)
        shown = self._shown(average).expand(image.shape[0], -1, -1, -1)
        for step in range(self.config.refinements):
            shown = shown if step == 0 else self._shown(wp)
            codes, _, _ = self.body(torch.cat([image, shown.to(image.dtype)], dim=1))
            wp = wp + codes.float()
        return wp

    def _shown(self, wp: Tensor) -> Tensor:
        """The generator's images at the encoder's size: wp [N, L, w_dim] -> [N, 3, S, S]."""
        assert self.generator is not None
        image: Tensor = self.generator.synthesis(wp)  # type: ignore[operator]
        return loss_image(image, self.spec.image_size)


@dataclass(frozen=True)
class Encoded:
    """What `Generator.synthesis` takes: everything an encoder gives for N images.

    Attributes:
        wp: [N, L, w_dim].
        const: [N, C_4, 4, 4], or None: the learned one.
        rings: resolution -> [N, C_r, 4r+4], or None: zeros.
        spatial: resolution -> [N, C_r, r, r]; empty: none.
    """

    wp: Tensor
    const: Tensor | None
    rings: dict[int, Tensor] | None
    spatial: dict[int, Tensor]

    def generate(self, generator: Generator) -> Tensor:
        """Images [N, 3, R, R] in [-1, 1], unclamped."""
        return generator.synthesis(self.wp, self.const, self.rings, spatial=self.spatial)


def encode_images(encoder: Encoder, generator: Generator, image: Tensor) -> Encoded:
    """Latents and padding of images [N, 3, S, S] in [-1, 1], and their spatial code where the encoder predicts one."""
    return with_spatial_code(encoder, generator, image, encoder(image))


def with_spatial_code(encoder: Encoder, generator: Generator, image: Tensor, latents: Latents) -> Encoded:
    """Latents and padding of images [N, 3, S, S] with the spatial code of what they miss, where the encoder has one."""
    if not encoder.spec.spatial_resolutions:
        return Encoded(*latents, {})
    shown = loss_image(generator.synthesis(*latents), encoder.spec.image_size)
    return Encoded(*latents, encoder.spatial_code(image, shown))


def shared_weights(source: Encoder, target: Encoder) -> dict[str, Tensor]:
    """The weights of one encoder that another one has the same place for, such as a baseline's backbone and heads.

    A head is taken whole or not at all. Nothing is shared by encoders of other architectures, backbones or generators.
    Where the target takes an error besides the image, its first convolution begins with `widened` weights.

    Returns:
        name -> tensor, for `target.load_state_dict({**target.state_dict(), **shared})`; empty where nothing fits.
    """
    a, b = source.config, target.config
    same_generator = (source.spec.channels, source.spec.wp_shape) == (target.spec.channels, target.spec.wp_shape)
    if (a.architecture, a.backbone, a.size) != (b.architecture, b.backbone, b.size) or not same_generator:
        return {}
    theirs, ours = source.state_dict(), target.state_dict()
    found = {
        n: t for n, t in theirs.items() if n in ours and ours[n].shape == t.shape and not n.startswith("generator.")
    }
    if target.takes_error and not a.refinements:
        # Only the first convolution has another shape.
        for name in theirs.keys() & ours.keys() - found.keys():
            if theirs[name].ndim == 4 and widened(theirs[name]).shape == ours[name].shape:
                found[name] = widened(theirs[name])
    for layer in range(target.spec.num_layers):
        head = f"body.latent_heads.{layer}."
        whole = {n for n in ours if n.startswith(head)} == {n for n in theirs if n.startswith(head)}
        # The first head of e4e gives a code; the others give what theirs differ from it.
        if not whole or (layer and a.relative_codes != b.relative_codes):
            found = {n: t for n, t in found.items() if not n.startswith(head)}
    return found
