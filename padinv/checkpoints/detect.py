"""Which networks of a checkpoint are which, by the names of their tensors; and what the others are, said in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.container.lazy_tensors import Refused
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
_PSP_ENCODER = re.compile(r"(^|\.)(styles\.0\.convs\.0\.weight|body\.0\.res_layer\.1\.weight)$")

MAX_NETWORKS = 64  # of one kind in one state dict; more are an attack on the reader's time

# Averaged weights make the better pictures; a name that says so is preferred, then a decoder, then the rest in order.
_PREFERENCE = (re.compile(r"ema|smooth|avg", re.I), re.compile(r"decoder", re.I))


@dataclass(frozen=True)
class Found:
    """A network of a checkpoint together with its layout."""

    layout: GeneratorLayout | DiscriminatorLayout
    network: Network


def generators(networks: Iterable[Network]) -> list[Found]:
    """The StyleGAN2 generators of a checkpoint, the one to use first."""
    return sorted(_match(networks, GENERATORS), key=_rank)


def discriminators(networks: Iterable[Network]) -> list[Found]:
    """The StyleGAN2 discriminators of a checkpoint."""
    return sorted(_match(networks, DISCRIMINATORS), key=_rank)


def paper_encoders(networks: Iterable[Network]) -> list[Network]:
    """The encoders of the paper's own implementation."""
    found = []
    for network in networks:
        for prefix in _prefixes(network, ENCODER_ANCHORS):
            found.append(network.below(prefix))
    return found


def has_psp_encoder(networks: Iterable[Network]) -> bool:
    """Whether a checkpoint holds an encoder of pSp, e4e or ReStyle."""
    return any(_PSP_ENCODER.search(name) for network in networks for name in network.tensors)


def _match(networks: Iterable[Network], layouts: Sequence[GeneratorLayout | DiscriminatorLayout]) -> list[Found]:
    found = []
    for network in networks:
        for layout in layouts:
            for prefix in _prefixes(network, layout.anchors):
                if not layout.one_of or any(prefix + name in network.tensors for name in layout.one_of):
                    found.append(Found(layout, network.below(prefix)))
    return found


def _prefixes(network: Network, anchors: tuple[str, ...]) -> list[str]:
    """What stands before the anchors' names in this network: '' or 'decoder.' and the like."""
    first, *rest = anchors
    prefixes = (n[: -len(first)] for n in network.tensors if n == first or n.endswith("." + first))
    found = [p for p in prefixes if all(p + name in network.tensors for name in rest)]
    if len(found) > MAX_NETWORKS:
        raise Refused("holds more networks than any checkpoint does")
    return found


def _rank(found: Found) -> int:
    path = found.network.path
    return next((i for i, pattern in enumerate(_PREFERENCE) if pattern.search(path)), len(_PREFERENCE))


def explain(networks: Sequence[Network]) -> Refused:
    """Why a checkpoint without a usable generator has none: another family by name, or what it does hold."""
    names = [name for network in networks for name in network.tensors]
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
    if paper_encoders(networks):
        return Refused("holds an encoder and no generator; import it with --encoder and --generator")
    if not names:
        return Refused("holds no network: no dictionary of tensors is in it")
    some = ", ".join(names[:3])
    return Unsupported(
        f"holds no StyleGAN2 generator that padinv knows (its {len(names)} tensors have names such as {some[:150]}); "
        "it reads NVIDIA's, rosinality's, GenForce's, Hammer's and pSp's"
    )


def _variant(networks: Sequence[Network]) -> str:
    """' (configuration t)' or '(configuration r)', by the size of the kernels."""
    for network in networks:
        for name, ref in network.tensors.items():
            if re.search(r"\.(L1_\d+_\d+|layer1\.conv)\.weight$", name) and len(ref.shape) == 4:
                return " (configuration r)" if ref.shape[-1] == 1 else " (configuration t)"
    return ""
