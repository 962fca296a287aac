"""The encoder files of the paper's own implementation, for padinv's `reference` encoder.

Names and arithmetic are the same; what differs is what a file leaves unsaid. Its heads may be more than the generator
has layers (the last are then ignored, as the original does), the padding map may be shared by all layers, and the
average code that the predictions are added to lies with a generator, not with the encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from padinv.checkpoints.build import without_weights
from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.formats.conversion_plan import Piece, Unsupported, View
from padinv.checkpoints.formats.layout import count_while, setting
from padinv.runtime.errors import InputError, UsageError

if TYPE_CHECKING:
    from padinv.models.encoder import EncoderConfig
    from padinv.runtime.spec import ModelSpec

SOURCE = "the paper's own implementation"
IMAGE_SIZE = 256
USUAL_PADDED_LAYERS = 4
MAX_PADDED_LAYERS = 5
STAGE_BLOCKS = (3, 4, 14, 3)
_OTHER_BACKBONES = {(3, 13, 30, 3): "IR-SE-100", (3, 8, 36, 3): "IR-SE-152"}
_COARSEST_CONVS = 4  # the 16 px level needs four halvings, the next ones five and six


@dataclass
class EncoderPlan:
    """An encoder to be read: its configuration and the pieces of its body.

    Attributes:
        from_w_avg: codes are residuals on the average code; False: they are the codes themselves.
    """

    config: EncoderConfig
    pieces: dict[str, Piece] = field(repr=False)
    from_w_avg: bool
    notes: list[str]


def plan_encoder(network: Network, spec: ModelSpec, padded_layers: int | None = None) -> EncoderPlan:
    """Check an encoder against the generator it is meant for.

    Args:
        padded_layers: how many layers a shared padding map serves, where the file does not say; None: 4, the original's
            default.

    Raises:
        Unsupported: an encoder that padinv's `reference` cannot run. Refused: incomplete, or of wrong shapes.
    """
    view = View(network)
    if spec.image_size != IMAGE_SIZE:
        raise Unsupported(
            f"holds an encoder for pictures of {IMAGE_SIZE} px, but the generator makes {spec.resolution} px ones"
        )
    _check_backbone(view)
    codes = view.shape("latent_heads.0.linear.weight")
    if codes != (spec.w_dim, spec.w_dim):
        raise Unsupported(f"holds an encoder of {codes[0]}-dimensional codes, but the generator takes {spec.w_dim}")
    notes: list[str] = []
    levels = _levels(view)
    if len(levels) < spec.num_layers:
        raise Unsupported(f"holds an encoder of {len(levels)} codes, but the generator takes {spec.num_layers}")
    if extra := len(levels) - spec.num_layers:
        notes.append(
            f"{len(levels)} heads for {spec.num_layers} layers: the last {extra} are dropped, as they never acted"
        )
    config = _config(view, levels, spec, padded_layers, notes)
    pieces = _pieces(view, config, spec)
    dropped = tuple(f"latent_heads.{i}." for i in range(spec.num_layers, len(levels)))
    view.refuse_rest(lambda name: bool(dropped) and name.startswith(dropped), "the paper's encoder")
    from_w_avg = setting(network.settings, "start_from_latent_avg", bool, True)
    if not from_w_avg:
        notes.append("its codes are not residuals: w_avg is zero")
    return EncoderPlan(config, pieces, from_w_avg, notes)


def _check_backbone(view: View) -> None:
    stages = tuple(
        count_while(lambda b, s=s: f"backbone_stages.{s}.{b}.res_layer.1.weight" in view)  # type: ignore[misc]
        for s in range(4)
    )
    if stages in _OTHER_BACKBONES:
        raise Unsupported(f"holds an encoder with an {_OTHER_BACKBONES[stages]} backbone; padinv's has IR-SE-50")
    if stages != STAGE_BLOCKS:
        raise Unsupported(f"holds an encoder whose backbone has stages of {stages} blocks; padinv's has {STAGE_BLOCKS}")
    if "backbone_stages.0.0.res_layer.5.fc1.weight" not in view:
        raise Unsupported("holds an encoder without squeeze-and-excitation, which padinv's has")


def _levels(view: View) -> list[int]:
    """Pyramid level (0 the coarsest) of every head, by how often it halves its input."""
    count = count_while(lambda i: f"latent_heads.{i}.linear.weight" in view)
    levels = [
        count_while(lambda c, i=i: f"latent_heads.{i}.convs.{2 * c}.weight" in view) - _COARSEST_CONVS  # type: ignore[misc]
        for i in range(count)
    ]
    if levels != sorted(levels) or not all(0 <= level <= 2 for level in levels):
        raise Unsupported(f"holds an encoder whose {count} heads are not those of three pyramid levels")
    return levels


def _config(
    view: View, levels: list[int], spec: ModelSpec, padded_layers: int | None, notes: list[str]
) -> EncoderConfig:
    from padinv.models.encoder import EncoderConfig

    counts = (levels.count(0), levels.count(1))
    per_level = None if counts == (3, 4) else counts
    settings = view.network.settings
    blocks = count_while(lambda b: f"padding_extractor.{b}.res_layer.1.weight" in view)
    if blocks == 0:
        notes.append("predicts no padding (pSp's setting)")
        return EncoderConfig("reference", padding=False, codes_per_level=per_level)
    if blocks != 2:
        raise Unsupported(f"holds an encoder whose padding branch has {blocks} blocks; padinv's has 2")
    if not setting(settings, "only_pad_even", bool, True):
        raise Unsupported("holds an encoder that also pads up-sampling layers, which padinv does not")
    heads = count_while(lambda k: f"padding_modulation_heads.{k}.weight" in view)
    if heads:
        layers = heads
    else:
        known = setting(settings, "pad_layer_num", int, None)
        layers = padded_layers or known or USUAL_PADDED_LAYERS
        note = "one shared padding map, without a projection a layer"
        if not (padded_layers or known):
            note += f"; the file does not say for how many layers, so {layers} is taken, the original's default"
        notes.append(note)
    if not 1 <= layers <= MAX_PADDED_LAYERS:
        raise Unsupported(f"holds an encoder for {layers} padded layers; the original pads 1 to {MAX_PADDED_LAYERS}")
    rings = tuple(4 << k for k in range(layers))
    if rings[-1] > spec.resolution:
        raise Unsupported(f"pads up to {rings[-1]} px, but the generator ends at {spec.resolution}")
    const = setting(settings, "encode_const_input", bool, True)
    return EncoderConfig(
        "reference", const=const, pad_resolutions=rings, projections=heads > 0, codes_per_level=per_level
    )


def _pieces(view: View, config: EncoderConfig, spec: ModelSpec) -> dict[str, Piece]:
    import torch

    from padinv.models.encoder import Encoder

    # The original has 512 channels everywhere; a generator of other widths gave it other shapes or none.
    narrow = [r for r in (4, *(config.pad_resolutions or ())) if config.padding and spec.channels_at(r) != 512]
    if narrow:
        raise Unsupported(
            f"holds an encoder whose padding has 512 channels, but the generator has {spec.channels_at(narrow[0])} at "
            f"{narrow[0]} px; it was trained for another generator"
        )
    try:
        with without_weights():
            body = Encoder(spec, config).body
    except (UsageError, InputError) as error:
        raise Unsupported(f"holds an encoder that does not fit the generator: {error}") from error
    pieces = {}
    for name, tensor in body.state_dict().items():
        if name.endswith("num_batches_tracked") and name not in view:
            pieces[f"body.{name}"] = Piece((), fill=lambda shape: torch.zeros(shape, dtype=torch.long))
        else:
            pieces[f"body.{name}"] = view.take(name, tuple(tensor.shape))
    return pieces


def facts_of(plan: EncoderPlan, network: Network) -> dict[str, Any]:
    """What `padinv import --encoder` prints and keeps. JSON-ready."""
    config = plan.config
    padded = list(config.pad_resolutions or ()) if config.padding else []
    return {
        "network": network.path or "(the file itself)",
        "padded_resolutions": padded,
        "const": config.padding and config.const,
        "projections": config.projections if padded else None,
        "parameters": sum(
            math.prod(p.shape)
            for n, p in plan.pieces.items()
            if not n.endswith(("running_mean", "running_var", "num_batches_tracked"))
        ),
        "notes": list(plan.notes),
    }
