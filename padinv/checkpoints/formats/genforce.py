"""GenForce and its successor Hammer, whose names are nearly alike and whose arithmetic is not.

Hammer (and the paper's own release): up-sampling weights as torch convolves them, the style's bias complete, the
demodulation's epsilon on raw weights, `w_avg` at the top. GenForce: up-sampling weights mirrored, one added to the
style's bias at run time, the epsilon on scaled weights, `truncation.w_avg`.
"""

from __future__ import annotations

import reprlib
from typing import Any

from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.formats.conversion_plan import Unsupported, View
from padinv.checkpoints.formats.layout import DiscriminatorLayout, GeneratorLayout, Layer, count_while, setting

USUAL_MAPPING_LR_MULT = 0.01
USUAL_MBSTD_GROUP = 4
# Constructor arguments that padinv's layers have no counterpart for: name -> the only value they run.
_FIXED = {
    "use_wscale": True, "mapping_use_wscale": True, "wscale_gain": 1.0, "mapping_wscale_gain": 1.0, "lr_mul": 1.0,
    "normalize_z": True, "demodulate": True, "const_input": True, "final_tanh": False, "eps": 1e-8,
}  # fmt: skip


def _names(name: str) -> Layer:
    return Layer(
        weight=f"{name}.weight",
        bias=f"{name}.bias",
        affine_weight=f"{name}.style.weight",
        affine_bias=f"{name}.style.bias",
        noise=f"{name}.noise",
        strength=f"{name}.noise_strength",
    )


def _is_hammer_filter(name: str) -> bool:
    return name == "filter" or name.endswith(".filter")


def _is_genforce_filter(name: str) -> bool:
    return name.endswith(".kernel") and (".filter." in name or "sample." in name)


def _check_settings(settings: dict[str, Any]) -> None:
    for name, value in _FIXED.items():
        found = settings.get(name, value)
        if found != value:
            raise Unsupported(f"was built with {name}={reprlib.repr(found)}; padinv's layers have {value!r} only")


def _generator_hyper(network: Network) -> dict[str, Any]:
    _check_settings(network.settings)
    if "synthesis.early_layer.weight" in network.tensors:
        raise Unsupported("starts from a linear layer instead of a constant input, so it has no p_0")
    clamp = setting(network.settings, "conv_clamp", (int, float), None)
    return {
        "mapping_lr_mult": float(setting(network.settings, "mapping_lr_mul", (int, float), USUAL_MAPPING_LR_MULT)),
        "conv_clamp": None if clamp is None else float(clamp),
    }


HAMMER_GENERATOR = GeneratorLayout(
    source="Hammer",
    anchors=("synthesis.layer0.style.weight", "synthesis.layer0.weight"),
    one_of=("w_avg", "synthesis.layer1.filter"),
    const="synthesis.early_layer.const",
    mapping=lambda i: f"mapping.dense{i}",
    layer=lambda i: _names(f"synthesis.layer{i}"),
    output=lambda k: _names(f"synthesis.output{k}"),
    w_avg="w_avg",
    is_filter=_is_hammer_filter,
    hyper=_generator_hyper,
    demod_eps_scaled=False,
)

GENFORCE_GENERATOR = GeneratorLayout(
    source="GenForce",
    anchors=("synthesis.layer0.style.weight", "synthesis.layer0.weight"),
    one_of=("truncation.w_avg", "synthesis.layer1.filter.kernel"),
    const="synthesis.early_layer.const",
    mapping=lambda i: f"mapping.dense{i}",
    layer=lambda i: _names(f"synthesis.layer{i}"),
    output=lambda k: _names(f"synthesis.output{k}"),
    w_avg="truncation.w_avg",
    is_filter=_is_genforce_filter,
    hyper=_generator_hyper,
    demod_eps_scaled=True,
    flip_up=True,
    style_offset=1.0,
)


def _pair(name: str) -> tuple[str, str]:
    return f"{name}.weight", f"{name}.bias"


def _blocks(view: View) -> int:
    """Number of blocks: each has two layers, and so has the 4 px end; GenForce counts its output as a layer, too."""
    layers = count_while(lambda k: f"layer{k}.weight" in view)
    extra = 0 if "output.weight" in view else 1
    return (layers - extra) // 2 - 1


def _discriminator_hyper(network: Network) -> dict[str, Any]:
    _check_settings({k: v for k, v in network.settings.items() if k != "mapping_use_wscale"})
    group = setting(network.settings, "mbstd_groups", int, USUAL_MBSTD_GROUP)
    clamp = setting(network.settings, "conv_clamp", (int, float), None)
    return {"mbstd_group": group, "conv_clamp": None if clamp is None else float(clamp)}


HAMMER_DISCRIMINATOR = DiscriminatorLayout(
    source="Hammer",
    anchors=("input0.weight", "layer0.weight", "output.weight"),
    blocks=_blocks,
    from_rgb=lambda k, n: _pair(f"input{k}"),
    conv=lambda k, index, n: _pair(f"layer{2 * k + index}"),
    skip=lambda k, n: f"residual{k}.weight",
    last=lambda n: _pair(f"layer{2 * n}"),
    fc=lambda n: _pair(f"layer{2 * n + 1}"),
    out=lambda n: _pair("output"),
    is_filter=_is_hammer_filter,
    hyper=_discriminator_hyper,
)

GENFORCE_DISCRIMINATOR = DiscriminatorLayout(
    source="GenForce",
    anchors=("input0.weight", "layer0.weight", "layer1.weight"),
    one_of=("layer1.filter.kernel", "skip_layer0.weight"),
    blocks=_blocks,
    from_rgb=lambda k, n: _pair(f"input{k}"),
    conv=lambda k, index, n: _pair(f"layer{2 * k + index}"),
    skip=lambda k, n: f"skip_layer{k}.weight",
    last=lambda n: _pair(f"layer{2 * n}"),
    fc=lambda n: _pair(f"layer{2 * n + 1}"),
    out=lambda n: _pair(f"layer{2 * n + 2}"),
    is_filter=_is_genforce_filter,
    hyper=_discriminator_hyper,
)
