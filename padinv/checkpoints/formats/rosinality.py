"""rosinality's stylegan2-pytorch, and pSp, e4e and ReStyle, whose decoder it is.

Weights carry a leading axis of one; the demodulation's epsilon sits on weights scaled by 1/sqrt(fan_in); the learning
rate multiplier of the mapping network is 0.01 in the code and not in the file; the truncation centre lies beside the
networks, as `latent_avg`.
"""

from __future__ import annotations

from typing import Any

from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.formats.conversion_plan import View
from padinv.checkpoints.formats.layout import DiscriminatorLayout, GeneratorLayout, Layer, count_while

MAPPING_LR_MULT = 0.01
MBSTD_GROUP = 4


def _layer(index: int) -> Layer:
    name = "conv1" if index == 0 else f"convs.{index - 1}"
    return Layer(
        weight=f"{name}.conv.weight",
        bias=f"{name}.activate.bias",
        affine_weight=f"{name}.conv.modulation.weight",
        affine_bias=f"{name}.conv.modulation.bias",
        noise=f"noises.noise_{index}",
        strength=f"{name}.noise.weight",
    )


def _output(index: int) -> Layer:
    name = "to_rgb1" if index == 0 else f"to_rgbs.{index - 1}"
    return Layer(
        weight=f"{name}.conv.weight",
        bias=f"{name}.bias",
        affine_weight=f"{name}.conv.modulation.weight",
        affine_bias=f"{name}.conv.modulation.bias",
    )


def _is_filter(name: str) -> bool:
    return name.endswith(".kernel")


def _generator_hyper(network: Network) -> dict[str, Any]:
    return {"mapping_lr_mult": MAPPING_LR_MULT}


GENERATOR = GeneratorLayout(
    source="rosinality stylegan2-pytorch",
    anchors=("conv1.conv.weight", "to_rgb1.conv.weight", "input.input"),
    const="input.input",
    mapping=lambda i: f"style.{i + 1}",
    layer=_layer,
    output=_output,
    w_avg=None,
    is_filter=_is_filter,
    hyper=_generator_hyper,
    demod_eps_scaled=True,
)


def _blocks(view: View) -> int:
    return count_while(lambda k: f"convs.{k + 1}.conv1.0.weight" in view)


def _conv(block: int, index: int, blocks: int) -> tuple[str, str]:
    # The down-sampling convolution begins with its blur, so its own entries stand one further.
    name = f"convs.{block + 1}.conv{index + 1}"
    return f"{name}.{index}.weight", f"{name}.{index + 1}.bias"


DISCRIMINATOR = DiscriminatorLayout(
    source="rosinality stylegan2-pytorch",
    anchors=("convs.0.0.weight", "final_conv.0.weight", "final_linear.0.weight", "final_linear.1.weight"),
    blocks=_blocks,
    from_rgb=lambda k, n: ("convs.0.0.weight", "convs.0.1.bias") if k == 0 else ("", ""),
    conv=_conv,
    skip=lambda k, n: f"convs.{k + 1}.skip.1.weight",
    last=lambda n: ("final_conv.0.weight", "final_conv.1.bias"),
    fc=lambda n: ("final_linear.0.weight", "final_linear.0.bias"),
    out=lambda n: ("final_linear.1.weight", "final_linear.1.bias"),
    is_filter=_is_filter,
    hyper=lambda network: {"mbstd_group": MBSTD_GROUP, "conv_clamp": None},
)
