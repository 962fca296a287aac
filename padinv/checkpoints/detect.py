"""Which networks of a checkpoint are which, by the names of their tensors; and what the others are, said in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.container.lazy_tensors import Refused, TensorRef
from padinv.checkpoints.formats import genforce, nvidia, rosinality
from padinv.checkpoints.formats.conversion_plan import Unsupported
from padinv.checkpoints.formats.layout import DiscriminatorLayout, GeneratorLayout

GENERATORS: tuple[GeneratorLayout, ...] = (
    nvidia.GENERATOR,
    rosinality.GENERATOR,
    genforce.GENFORCE_GENERATOR,
    genforce.HAMMER_GENERATOR,
)
DISCRIMINATORS: tuple[DiscriminatorLayout, ...] = (
    nvidia.DISCRIMINATOR,
    rosinality.DISCRIMINATOR,
    genforce.HAMMER_DISCRIMINATOR,
    genforce.GENFORCE_DISCRIMINATOR,
)
ENCODER_ANCHORS = ("backbone_stages.0.0.res_layer.1.weight", "latent_heads.0.linear.weight")
_PSP_ENCODER = re.compile(r"(^|\.)styles\.0\.convs\.0\.weight$")

MAX_NETWORKS = 64  # of one kind; more are an attack on the reader's time

# Averaged weights make the better pictures; a name that says so is preferred, then a decoder, then the rest in order.
# (An unnamed list is NVIDIA's tuple of generator, discriminator and averaged generator: its last entry.)
_AVERAGED = re.compile(r"ema(?![a-z])|smooth|avg|average|shadow|swa(?![a-z])|(^|\.)gs($|\.)", re.I)
_DECODER = re.compile(r"decoder", re.I)
_EXPLAINED = 20_000  # names that are looked at to say what a file is


@dataclass(frozen=True)
class Found:
    """A network of a checkpoint together with its layout: those tensors of `whole` whose names begin with `prefix`."""

    layout: GeneratorLayout | DiscriminatorLayout
    whole: Network
    prefix: str

    @property
    def network(self) -> Network:
        """The network alone, its names without the prefix."""
        return self.whole.below(self.prefix)

    @property
    def path(self) -> str:
        """Where it lies: `network.path`."""
        return ".".join(part for part in (self.whole.path, self.prefix.rstrip(".")) if part)

    @property
    def averaged(self) -> bool:
        """Whether its name says that its weights are averaged over training."""
        return _AVERAGED.search(self.path) is not None


def generators(networks: Iterable[Network]) -> list[Found]:
    """The StyleGAN2 generators of a checkpoint, the one to use first."""
    return sorted(_match(networks, GENERATORS), key=_rank)


def discriminators(networks: Iterable[Network]) -> list[Found]:
    """The StyleGAN2 discriminators of a checkpoint."""
    return sorted(_match(networks, DISCRIMINATORS), key=_rank)


def paper_encoders(networks: Iterable[Network]) -> list[Network]:
    """The encoders of the paper's own implementation."""
    return [network.below(prefix) for network in networks for prefix in _prefixes(network, ENCODER_ANCHORS)]


def has_psp_encoder(networks: Iterable[Network]) -> bool:
    """Whether a checkpoint holds an encoder of pSp, e4e or ReStyle."""
    return any(_PSP_ENCODER.search(name) for network in networks for name in network.tensors)


def _match(networks: Iterable[Network], layouts: Sequence[GeneratorLayout | DiscriminatorLayout]) -> list[Found]:
    found: list[Found] = []
    for network in networks:
        for layout in layouts:
            for prefix in _prefixes(network, layout.anchors):
                if not layout.one_of or any(prefix + name in network.tensors for name in layout.one_of):
                    found.append(Found(layout, network, prefix))
        if len(found) > MAX_NETWORKS:
            raise Refused("holds more networks than any checkpoint does")
    return found


def _prefixes(network: Network, anchors: tuple[str, ...]) -> list[str]:
    """What stands before the anchors' names in this network: '' or 'decoder.' and the like."""
    first, *rest = anchors
    prefixes = (n[: -len(first)] for n in network.tensors if n == first or n.endswith("." + first))
    found = [p for p in prefixes if all(p + name in network.tensors for name in rest)]
    if len(found) > MAX_NETWORKS:
        raise Refused("holds more networks than any checkpoint does")
    return found


def _rank(found: Found) -> tuple[int, int]:
    path = found.path
    last = path.rpartition(".")[2]
    place = int(last) if last.isdecimal() and len(last) < 4 else 0
    return (0 if found.averaged else 1 if _DECODER.search(path) else 2), -place


def explain(networks: Sequence[Network], root: Any = None) -> Refused:
    """Why a checkpoint without a usable generator has none: another family by name, or what it does hold.

    Args:
        root: the object in the file, to recognise files that hold latent codes or a direction and no network.
    """
    names = list(islice((name for network in networks for name in network.tensors), _EXPLAINED))
    if any(re.search(r"(^|\.)(input\.(freqs|phases)|early_layer\.(frequency|phase))$", n) for n in names):
        return Unsupported(
            f"holds a StyleGAN3 generator{_variant(networks)}: recognised, not supported, because it starts from "
            "Fourier features instead of a constant input and crops its borders away, so it has no padding to replace"
        )
    if any(
        re.search(r"(^|\.)(layer0\.apply_noise\.|g_synthesis\.blocks\.|progression\.0\.)|style_mod", n) for n in names
    ):
        return Unsupported(
            "holds a StyleGAN1 generator: recognised, not supported, because its layers normalise features and then "
            "apply the style (AdaIN) where StyleGAN2 modulates the weights"
        )
    if any(re.search(r"^(output\d+|layer0)\.conv\.weight$", n) for n in names):
        return Unsupported(
            "holds a progressive GAN (PGGAN) generator: recognised, not supported, because it has neither styles nor a "
            "constant input"
        )
    if paper_encoders(networks) or has_psp_encoder(networks):
        return Refused("holds an encoder and no generator; import it with --encoder and --generator")
    if codes := _latent_codes(root):
        return Refused(
            f"holds {codes} and no network: latent codes, or a direction, of another program; import the "
            "checkpoint of the generator that they belong to"
        )
    if not names:
        return Refused("holds no network: no dictionary of tensors is in it")
    for pattern, what in _OTHER_NETWORKS:
        if any(pattern.search(name) for name in names):
            return Unsupported(f"holds {what}, not a StyleGAN2 generator")
    some = ", ".join(names[:3])
    return Unsupported(
        f"holds no StyleGAN2 generator that padinv knows (its {len(names)} tensors have names such as {some[:150]}); "
        "it reads NVIDIA's, rosinality's, GenForce's, Hammer's and pSp's"
    )


def name_contents(networks: Sequence[Network], root: Any = None) -> str:
    """What a file holds, as an object: 'the linear heads of LPIPS', 'latent codes (a tensor of [18, 512])'."""
    if codes := _latent_codes(root):
        return f"{codes}: latent codes, or a direction, of another program"
    names = list(islice((name for network in networks for name in network.tensors), _EXPLAINED))
    if not names:
        return "no network"
    for pattern, what in _OTHER_NETWORKS:
        if any(pattern.search(name) for name in names):
            return what
    if generators(networks):
        return "a StyleGAN2 generator"
    if paper_encoders(networks) or has_psp_encoder(networks):
        return "an encoder"
    return f"another network, with tensors such as {', '.join(names[:2])[:150]}"


# Networks of other kinds that are often given by mistake; names are those of the files in circulation.
_OTHER_NETWORKS = (
    (re.compile(r"(^|\.)lin0\.model\.1\.weight$"), "the linear heads of LPIPS"),
    (re.compile(r"^features\.0\.weight$"), "a classifier of torchvision's (AlexNet, VGG, SqueezeNet; LPIPS needs it)"),
    (re.compile(r"^output_layer\.3\.weight$"), "the face-recognition network IR-SE-50 (the identity loss needs it)"),
    (re.compile(r"^dw_conv\.depthwise\.weight$"), "the face-recognition network MobileFaceNet"),
    (re.compile(r"^(layer1\.0\.)?prelu\.weight$"), "a face-recognition ResNet of InsightFace's (arcface_torch)"),
    (re.compile(r"^layer1\.0\.conv1\.weight$"), "a ResNet"),
    (re.compile(r"^(conv2d_1a|mixed_5a|repeat_1)\."), "FaceNet (Inception-ResNet)"),
    (re.compile(r"(^|\.)(visual\.proj|transformer\.resblocks\.0\.)"), "a CLIP model"),
    (re.compile(r"(^model\.diffusion_model|^unet\.|time_embed)"), "a diffusion model"),
)


def _latent_codes(root: Any) -> str | None:
    """'a tensor of [18, 512]' where the file is one tensor, or a few, of the shape of latent codes; else None."""
    if isinstance(root, dict):
        values = list(root.values())[:4]
    elif isinstance(root, (list, tuple)):
        values = list(root)[:4]
    else:
        values = [root]
    if not values or not all(isinstance(v, TensorRef) and 1 <= len(v.shape) <= 3 for v in values):
        return None
    shape = values[0].shape
    if shape[-1] not in (256, 512, 1024) or (len(shape) > 1 and shape[-2] > 64 and len(shape) == 3):
        return None
    return f"{'a tensor' if values[0] is root else 'tensors'} of {list(shape)}"


def _variant(networks: Sequence[Network]) -> str:
    """' (configuration t)' or '(configuration r)', by the size of the kernels."""
    for network in networks:
        for name, ref in network.tensors.items():
            if re.search(r"\.(L1_\d+_\d+|layer1\.conv)\.weight$", name) and len(ref.shape) == 4:
                return " (configuration r)" if ref.shape[-1] == 1 else " (configuration t)"
    return ""
