"""The encoders of pSp, e4e and ReStyle: predictors of latent codes without padding, as baselines.

Their files keep one flat list of blocks where padinv's `reference` encoder has stages, and call the heads `styles`; the
arithmetic is the same (the paper's encoder grew out of pSp's). What the tensors do not tell is in the file's options:
whether codes are relative to the first one (e4e), and how often ReStyle looks again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from padinv.checkpoints.build import without_weights
from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.formats.conversion_plan import Piece, Unsupported, View
from padinv.checkpoints.formats.layout import count_while, setting
from padinv.checkpoints.formats.paper_encoder import EncoderPlan
from padinv.models import irse, resnet
from padinv.runtime.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from padinv.models.encoder import EncoderConfig
    from padinv.runtime.spec import ModelSpec

IMAGE_SIZE = 256
USUAL_REFINEMENTS = 5  # ReStyle's n_iters_per_batch
TYPES = ("psp", "e4e")  # whether codes stand for themselves, or are relative to the first
_ANCHORS = ("styles.0.convs.0.weight", "styles.0.linear.weight")
_RELATIVE = ("Encoder4Editing", "ProgressiveBackboneEncoder", "ResNetProgressiveBackboneEncoder")
_ABSOLUTE = (
    "GradualStyleEncoder",
    "ResNetGradualStyleEncoder",
    "BackboneEncoder",
    "ResNetBackboneEncoder",
)
_COARSEST_CONVS = 4  # the 16 px level needs four halvings, the next ones five and six


@dataclass(frozen=True)
class PspEncoder:
    """A recognised encoder: its network, and the options that its file keeps."""

    network: Network
    options: dict[str, Any]

    @property
    def source(self) -> str:
        """What people call it, as far as the file says."""
        if self.relative is None and self._channels != 6:
            return "pSp or e4e"
        return _called(bool(self.relative), self._channels == 6)

    @property
    def relative(self) -> bool | None:
        """Whether codes are relative to the first one; None where the file does not say."""
        kind = self.options.get("encoder_type")
        return True if kind in _RELATIVE else False if kind in _ABSOLUTE else None

    @property
    def _channels(self) -> int:
        stem = "input_layer.0.weight" if "input_layer.0.weight" in self.network.tensors else "conv1.weight"
        ref = self.network.tensors.get(stem)
        return ref.shape[1] if ref is not None and len(ref.shape) == 4 else 0


def _called(relative: bool, refines: bool) -> str:
    name = "e4e" if relative else "pSp"
    return f"ReStyle ({name})" if refines else name


def source_of(config: EncoderConfig) -> str:
    """What people call the encoder that a configuration came from."""
    return _called(config.relative_codes, config.refinements > 0)


def psp_encoders(networks: Iterable[Network], root: Any = None) -> list[PspEncoder]:
    """The encoders of pSp, e4e and ReStyle in a checkpoint; `root` is the object in the file, which holds options."""
    options = root.get("opts") if isinstance(root, dict) else None
    options = options if isinstance(options, dict) else {}
    found = []
    for network in networks:
        for name in network.tensors:
            prefix = name.removesuffix(_ANCHORS[0])
            if (prefix == "" or prefix.endswith(".")) and prefix != name and prefix + _ANCHORS[1] in network.tensors:
                found.append(PspEncoder(network.below(prefix), options))
    return found


def holds_w_encoder(networks: Iterable[Network]) -> bool:
    """Whether a checkpoint holds one of pSp's encoders into W, which have no heads."""
    names = [name for network in networks for name in network.tensors]
    blocks = any(re.search(r"(^|\.)body\.0\.res_layer\.1\.weight$", name) for name in names)
    return blocks and any(re.search(r"(^|\.)linear\.weight$", name) for name in names)


def plan_psp_encoder(
    found: PspEncoder, spec: ModelSpec, encoder_type: str | None = None, refinements: int | None = None
) -> EncoderPlan:
    """Check an encoder against the generator it is meant for.

    Args:
        encoder_type: 'psp' or 'e4e', where the file does not say; otherwise it must agree with the file.
        refinements: ReStyle's number of steps; None: 5, as its authors have it.

    Raises:
        Unsupported: an encoder that padinv cannot run. Refused: incomplete, or of wrong shapes. UsageError: an argument
        contradicts the file.
    """
    view = View(found.network)
    if spec.image_size != IMAGE_SIZE:
        raise Unsupported(
            f"holds an encoder for pictures of {IMAGE_SIZE} px, but the generator makes {spec.resolution} px ones"
        )
    codes = view.shape(_ANCHORS[1])
    if codes != (spec.w_dim, spec.w_dim):
        raise Unsupported(f"holds an encoder of {codes[0]}-dimensional codes, but the generator takes {spec.w_dim}")
    notes = ["predicts no padding: a baseline of latent codes, which the edits in the padding space refuse"]
    backbone = _backbone(view)
    steps = _refinements(view, backbone, refinements, notes)
    levels = _levels(view)
    if len(levels) < spec.num_layers:
        raise Unsupported(f"holds an encoder of {len(levels)} codes, but the generator takes {spec.num_layers}")
    if extra := len(levels) - spec.num_layers:
        notes.append(f"{len(levels)} heads for {spec.num_layers} layers: the last {extra} are dropped")
    config = _config(levels[: spec.num_layers], backbone, _relative(found, encoder_type), steps)
    pieces = _pieces(view, config, spec)
    dropped = tuple(f"styles.{i}." for i in range(spec.num_layers, len(levels)))
    # A face-recognition network's last layers travel along in some files of ReStyle; nothing uses them.
    view.refuse_rest(
        lambda name: (bool(dropped) and name.startswith(dropped)) or name.startswith(("output_layer.", "fc.")),
        "pSp's, e4e's and ReStyle's encoders",
    )
    from_w_avg = bool(steps) or setting(found.options, "start_from_latent_avg", bool, True)
    if not from_w_avg:
        notes.append("its codes are not residuals: w_avg is zero")
    return EncoderPlan(config, pieces, from_w_avg, notes)


def _backbone(view: View) -> str:
    """'irse50' or 'resnet34'."""
    if "body.0.res_layer.1.weight" in view:
        blocks = count_while(lambda i: f"body.{i}.res_layer.1.weight" in view)
        wanted = sum(count for _, count in irse.STAGES)
        if blocks != wanted:
            raise Unsupported(f"holds an encoder whose backbone has {blocks} blocks; padinv's IR-SE-50 has {wanted}")
        if "body.0.res_layer.5.fc1.weight" not in view:
            raise Unsupported("holds an encoder without squeeze-and-excitation, which padinv's has")
        return "irse50"
    blocks = count_while(lambda i: f"body.{i}.conv1.weight" in view)
    wanted = sum(count for _, count, _ in resnet.STAGES)
    if blocks != wanted:
        raise Unsupported(f"holds an encoder whose backbone has {blocks} blocks; padinv knows ResNet-34 with {wanted}")
    return "resnet34"


def _refinements(view: View, backbone: str, asked: int | None, notes: list[str]) -> int:
    """Steps of ReStyle, told by the six channels that it looks at; 0 for pSp and e4e."""
    channels = view.kernel("input_layer.0.weight" if backbone == "irse50" else "conv1.weight")[1]
    if channels not in (3, 6):
        raise Unsupported(
            f"holds an encoder for inputs of {channels} channels (sketches or segmentation maps); padinv inverts "
            "photographs"
        )
    if channels == 3:
        if asked is not None:
            raise UsageError("--refinements goes with ReStyle's encoders, and this one sees the image alone")
        return 0
    steps = USUAL_REFINEMENTS if asked is None else asked
    notes.append(f"looks {steps} times, at the image and its own reconstruction; the generator is part of the encoder")
    return steps


def _levels(view: View) -> list[int]:
    """Pyramid level (0 the coarsest) of every head, by how often it halves its input."""
    count = count_while(lambda i: f"styles.{i}.linear.weight" in view)
    levels = [
        count_while(lambda c, i=i: f"styles.{i}.convs.{2 * c}.weight" in view) - _COARSEST_CONVS  # type: ignore[misc]
        for i in range(count)
    ]
    if levels != sorted(levels) or not all(0 <= level <= 2 for level in levels):
        raise Unsupported(f"holds an encoder whose {count} heads are not those of three pyramid levels")
    if max(levels) > 0 and "latlayer1.weight" not in view:
        raise Unsupported("holds an encoder with heads for a feature pyramid, but without the pyramid (no latlayer1)")
    return levels


def _relative(found: PspEncoder, asked: str | None) -> bool:
    """Whether codes are relative to the first one.

    Raises:
        UsageError: neither the file nor the caller says, or they contradict each other.
    """
    if asked is not None and asked not in TYPES:
        raise UsageError(f"an encoder's type is one of {', '.join(TYPES)}, not {asked!r}")
    if found.relative is None:
        if asked is None:
            raise UsageError(
                "the file does not say whether this is pSp's encoder or e4e's, whose tensors have the same names; "
                "nothing was imported; say which with --encoder-type psp or --encoder-type e4e"
            )
        return asked == "e4e"
    if asked is not None and (asked == "e4e") != found.relative:
        raise UsageError(f"--encoder-type {asked}, but the file says {found.options.get('encoder_type')!s:.60}")
    return found.relative


def _config(levels: list[int], backbone: str, relative: bool, steps: int) -> EncoderConfig:
    from padinv.models.encoder import MAX_REFINEMENTS, EncoderConfig

    if not 0 <= steps <= MAX_REFINEMENTS:
        raise UsageError(f"--refinements takes 1 to {MAX_REFINEMENTS} steps, not {steps}")
    counts = (levels.count(0), levels.count(1))
    return EncoderConfig(
        "reference",
        padding=False,
        codes_per_level=None if counts == (3, 4) else counts,
        backbone=backbone,
        relative_codes=relative,
        refinements=steps,
    )


def _pieces(view: View, config: EncoderConfig, spec: ModelSpec) -> dict[str, Piece]:
    import torch

    from padinv.models.encoder import Encoder

    try:
        with without_weights():
            body = Encoder(spec, config).body
    except (UsageError, InputError) as error:
        raise Unsupported(f"holds an encoder that does not fit the generator: {error}") from error
    rename = _names(config.backbone)
    pyramid = "latlayer1.weight" in view
    pieces = {}
    for name, tensor in body.state_dict().items():
        theirs, shape = rename(name), tuple(tensor.shape)
        if name.endswith("num_batches_tracked") and theirs not in view:
            pieces[f"body.{name}"] = Piece((), fill=lambda shape: torch.zeros(shape, dtype=torch.long))
        elif name.startswith("fpn.") and not pyramid:
            pieces[f"body.{name}"] = Piece(shape, fill=torch.zeros)  # no head looks at these levels
        else:
            pieces[f"body.{name}"] = view.take(theirs, shape)
    return pieces


def _names(backbone: str) -> Callable[[str], str]:
    """padinv's name of a tensor -> the file's."""
    counts = [c for _, c in irse.STAGES] if backbone == "irse50" else [c for _, c, _ in resnet.STAGES]
    starts = [sum(counts[:stage]) for stage in range(len(counts))]
    stem = {"input_layer.0.": "conv1.", "input_layer.1.": "bn1.", "input_layer.2.": "relu."}
    inner = {
        "first.0.": "conv1.", "first.1.": "bn1.", "second.0.": "conv2.", "second.1.": "bn2.",
        "shortcut.0.": "downsample.0.", "shortcut.1.": "downsample.1.",
    }  # fmt: skip
    laterals = {"fpn.lateral_layers.1.": "latlayer1.", "fpn.lateral_layers.0.": "latlayer2."}

    def rename(name: str) -> str:
        if name.startswith("latent_heads."):
            return name.replace("latent_heads.", "styles.", 1)
        if name.startswith("backbone_stages."):
            _, stage, block, rest = name.split(".", 3)
            if backbone != "irse50":
                rest = next((new + rest.removeprefix(old) for old, new in inner.items() if rest.startswith(old)), rest)
            return f"body.{starts[int(stage)] + int(block)}.{rest}"
        table = laterals if backbone == "irse50" else {**laterals, **stem}
        return next((new + name.removeprefix(old) for old, new in table.items() if name.startswith(old)), name)

    return rename


def fold_average(state: dict[str, Tensor], rows: Tensor, mean: Tensor, relative: bool) -> None:
    """Add what the rows of an average code [L, w_dim] differ from `mean` [w_dim] to the heads' biases, in place.

    padinv keeps one average code for all layers; files of pSp keep one a layer, in practice all the same.
    """
    for layer, row in enumerate(rows):
        base = rows[0] if relative and layer else mean
        name = f"body.latent_heads.{layer}.linear.bias"
        state[name] = (state[name].double() + row.double() - base.double()).float()
