"""NVIDIA's stylegan2-ada-pytorch and stylegan3 repositories (StyleGAN2 configurations).

Their pickles carry each module's plain attributes beside its tensors, so clamps, learning-rate multipliers and group
sizes are read and not assumed. A bare state dict of the same names carries none; the repositories' usual values are
then taken, and said so.
"""

from __future__ import annotations

import math
from typing import Any

from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.formats.conversion_plan import Unsupported, View
from padinv.checkpoints.formats.layout import DiscriminatorLayout, GeneratorLayout, Layer, count_while

USUAL_CLAMP = 256.0
USUAL_MAPPING_LR_MULT = 0.01
USUAL_MBSTD_GROUP = 4
WHOLE_BATCH = 1 << 20  # a group size that no batch reaches: the source's "entire minibatch"


def _block(index: int) -> str:
    """'b8.conv0' and so on: the 3x3 layer `index` within the synthesis network."""
    resolution = 4 << ((index + 1) // 2)
    return f"synthesis.b{resolution}.conv{0 if index % 2 else 1}"


def _names(name: str) -> Layer:
    return Layer(
        weight=f"{name}.weight",
        bias=f"{name}.bias",
        affine_weight=f"{name}.affine.weight",
        affine_bias=f"{name}.affine.bias",
        noise=f"{name}.noise_const",
        strength=f"{name}.noise_strength",
    )


def _is_filter(name: str) -> bool:
    return name.endswith("resample_filter")


def _one_clamp(network: Network, modules: list[str], what: str) -> float | None:
    """The clamp that all these modules share.

    Raises:
        Unsupported: they differ.
    """
    found = {network.attributes[m].get("conv_clamp") for m in modules if m in network.attributes}
    if not found:
        return USUAL_CLAMP
    if len(found) > 1:
        raise Unsupported(f"clamps some layers of its {what} and not others, which padinv does not")
    value = found.pop()
    return None if value is None else float(value)


def _check_activation(network: Network, modules: list[str]) -> None:
    for name in modules:
        activation = network.attributes.get(name, {}).get("activation", "lrelu")
        if activation != "lrelu":
            raise Unsupported(f"uses the activation {activation!r} in {name}; padinv's layers have leaky ReLU")


def _generator_hyper(network: Network) -> dict[str, Any]:
    attributes = network.attributes
    c_dim = attributes.get("mapping", {}).get("c_dim", attributes.get("", {}).get("c_dim", 0))
    if c_dim:
        raise Unsupported(f"holds a class-conditional generator (c_dim {c_dim}); padinv takes unconditional ones")
    for name, entry in attributes.items():
        architecture = entry.get("architecture", "skip")
        if name.startswith("synthesis.b") and architecture != "skip":
            raise Unsupported(
                f"holds a generator of the {architecture!r} architecture; padinv runs 'skip', which nearly every "
                "StyleGAN2 has"
            )
    convs = [n for n in attributes if n.startswith("synthesis.b") and n.endswith(("conv0", "conv1"))]
    fcs = [n for n in attributes if n.startswith("mapping.fc")]
    _check_activation(network, convs + fcs)
    outputs = [n for n in attributes if n.startswith("synthesis.b") and n.endswith("torgb")]
    lr_mult = attributes.get("mapping.fc0", {}).get("bias_gain", USUAL_MAPPING_LR_MULT)
    if any(attributes[n].get("bias_gain", lr_mult) != lr_mult for n in fcs):
        raise Unsupported("has a mapping network whose layers learn at different rates, which padinv does not")
    return {
        "conv_clamp": _one_clamp(network, convs + outputs, "generator"),
        "mapping_lr_mult": float(lr_mult) if math.isfinite(lr_mult) else USUAL_MAPPING_LR_MULT,
    }


def _assumed(network: Network) -> list[str]:
    if network.attributes:
        return []
    return [
        f"the file keeps tensors only, so its activations are clamped at {USUAL_CLAMP:g} and its mapping network has "
        f"the learning-rate multiplier {USUAL_MAPPING_LR_MULT}, as NVIDIA's configurations have"
    ]


GENERATOR = GeneratorLayout(
    source="NVIDIA stylegan2-ada-pytorch / stylegan3",
    anchors=("synthesis.b4.conv1.weight", "synthesis.b4.const"),
    const="synthesis.b4.const",
    mapping=lambda i: f"mapping.fc{i}",
    layer=lambda i: _names(_block(i)),
    output=lambda k: _names(f"synthesis.b{4 << k}.torgb"),
    w_avg="mapping.w_avg",
    is_filter=_is_filter,
    hyper=_generator_hyper,
    demod_eps_scaled=False,
    assumed=_assumed,
)


def _blocks(view: View) -> int:
    return count_while(lambda k: f"b{8 << k}.conv0.weight" in view)


def _at(block: int, blocks: int) -> str:
    """'b64' and so on: block 0 is the finest, block `blocks` the 4 px epilogue."""
    return f"b{4 << (blocks - block)}"


def _pair(name: str) -> tuple[str, str]:
    return f"{name}.weight", f"{name}.bias"


def _discriminator_hyper(network: Network) -> dict[str, Any]:
    attributes = network.attributes
    if c_dim := attributes.get("", {}).get("c_dim", 0):
        raise Unsupported(f"has a class-conditional discriminator (c_dim {c_dim})")
    convs = [n for n in attributes if n.startswith("b") and n.endswith(("conv0", "conv1", "fromrgb", ".conv"))]
    # In the 'skip' architecture NVIDIA's 4 px layer takes RGB without a clamp; nothing there comes near it.
    clamped = [n for n in convs if n != "b4.fromrgb"]
    _check_activation(network, convs)
    statistics = attributes.get("b4.mbstd")
    group: Any = USUAL_MBSTD_GROUP
    if statistics is not None:
        size = statistics.get("group_size")
        group = WHOLE_BATCH if size is None else int(size)
    return {"mbstd_group": group, "conv_clamp": _one_clamp(network, clamped, "discriminator")}


DISCRIMINATOR = DiscriminatorLayout(
    source="NVIDIA stylegan2-ada-pytorch / stylegan3",
    anchors=("b4.conv.weight", "b4.fc.weight", "b4.out.weight", "b8.conv0.weight"),
    blocks=_blocks,
    from_rgb=lambda k, n: _pair(f"{_at(k, n)}.fromrgb"),
    conv=lambda k, index, n: _pair(f"{_at(k, n)}.conv{index}"),
    skip=lambda k, n: f"{_at(k, n)}.skip.weight",
    last=lambda n: _pair("b4.conv"),
    fc=lambda n: _pair("b4.fc"),
    out=lambda n: _pair("b4.out"),
    is_filter=_is_filter,
    hyper=_discriminator_hyper,
)
