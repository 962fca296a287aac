"""Networks that padinv knows and cannot use: each named, with the reason; and discriminators that are left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from source_genforce import GenForceDiscriminator, GenForceGenerator, hammer_file
from source_nvidia import NvidiaDiscriminator, NvidiaGenerator, dump
from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, training_file
from torch import nn

from padinv.checkpoints import describe, load_discriminator, load_generator
from padinv.runtime.errors import InputError

CHANNELS = (6, 5, 4)


def refuses(path: Path, sentence: str) -> None:
    for call in (load_generator, describe):
        with pytest.raises(InputError, match=sentence) as error:
            call(path)
        assert str(path) in str(error.value)


# -- other families


def weights(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


FAMILIES: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "StyleGAN3-t": (
        weights(
            synthesis__input__freqs=(4, 2), synthesis__input__phases=(4,), synthesis__input__weight=(4, 4),
            synthesis__L1_36_4__weight=(4, 4, 3, 3), mapping__fc0__weight=(4, 4),
        ),
        r"StyleGAN3 generator \(configuration t\): recognised, not supported, because it starts from Fourier",
    ),
    "StyleGAN3-r": (
        weights(
            synthesis__input__freqs=(4, 2), synthesis__input__phases=(4,), synthesis__input__weight=(4, 4),
            synthesis__L1_36_4__weight=(4, 4, 1, 1), mapping__fc0__weight=(4, 4),
        ),
        r"StyleGAN3 generator \(configuration r\): recognised, not supported",
    ),
    "StyleGAN3 of Hammer": (
        weights(
            synthesis__early_layer__frequency=(4, 2), synthesis__early_layer__phase=(4,),
            synthesis__layer1__conv__weight=(4, 4, 3, 3), mapping__dense0__weight=(4, 4), w_avg=(4,),
        ),
        r"StyleGAN3 generator \(configuration t\)",
    ),
    "StyleGAN1 of GenForce": (
        weights(
            synthesis__layer0__const=(1, 4, 4, 4), synthesis__layer0__apply_noise__weight=(4,),
            synthesis__layer0__style__weight=(8, 4), mapping__dense0__weight=(4, 4), truncation__w_avg=(4,),
        ),
        "StyleGAN1 generator: recognised, not supported, because its layers normalise",
    ),
    "StyleGAN1 of lernapparat": (
        weights(
            g_synthesis__blocks__4x4__const=(1, 4, 4, 4), g_mapping__dense0__weight=(4, 4),
            g_mapping__dense0__bias=(4,), g_synthesis__torgb__weight=(3, 4, 1, 1),
        ),
        "StyleGAN1 generator: recognised",
    ),
    "PGGAN of GenForce": (
        weights(
            layer0__conv__weight=(4, 4, 4, 4), layer1__conv__weight=(4, 4, 3, 3), output0__conv__weight=(3, 4, 1, 1),
            lod=(),
        ),
        "progressive GAN",
    ),
    "something else": (
        weights(conv1__weight=(4, 3, 7, 7), bn1__weight=(4,), bn1__bias=(4,), fc__weight=(10, 4)),
        "holds no StyleGAN2 generator that padinv knows.*conv1.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families_are_named(tmp_path: Path, name: str) -> None:
    state, sentence = FAMILIES[name]
    torch.save({"generator_smooth": state}, tmp_path / "x.pth")
    refuses(tmp_path / "x.pth", sentence)


def test_a_stylegan3_pickle_is_named(tmp_path: Path) -> None:
    from source_nvidia import Module

    top, synthesis, layer = Module("Generator", c_dim=0), Module("SynthesisNetwork"), Module("SynthesisLayer")
    entry = Module("SynthesisInput")
    entry.buffers |= {"freqs": torch.zeros(4, 2), "phases": torch.zeros(4), "transform": torch.eye(3)}
    layer.parameters["weight"] = nn.Parameter(torch.zeros(4, 4, 3, 3))
    synthesis.modules |= {"input": entry, "L1_36_512": layer}
    top.modules["synthesis"] = synthesis
    dump(tmp_path / "stylegan3-t-ffhq-1024x1024.pkl", {"G_ema": top})
    refuses(tmp_path / "stylegan3-t-ffhq-1024x1024.pkl", r"StyleGAN3 generator \(configuration t\)")


# -- StyleGAN2, but not one that padinv can run


def nvidia(path: Path, change: Callable[[NvidiaGenerator, Any], None], **settings: Any) -> None:
    g = NvidiaGenerator(CHANNELS, 5, 5, 2)
    pickled = g.pickled(**settings)
    change(g, pickled)
    dump(path, {"G_ema": pickled})


NVIDIA: dict[str, tuple[dict[str, Any], Callable[[Any, Any], Any], str]] = {
    "classes": ({"c_dim": 10}, lambda g, p: None, r"class-conditional generator \(c_dim 10\)"),
    "resnet": ({"architecture": "resnet"}, lambda g, p: None, "'resnet' architecture; padinv runs 'skip'"),
    "clamps": (
        {},
        lambda g, p: p.modules["synthesis"].modules["b8"].modules["conv1"].attributes.update(conv_clamp=3.0),
        "clamps some layers",
    ),
    "activation": (
        {},
        lambda g, p: p.modules["synthesis"].modules["b8"].modules["conv1"].attributes.update(activation="relu"),
        "activation 'relu' in synthesis.b8.conv1",
    ),
    "rates": (
        {},
        lambda g, p: p.modules["mapping"].modules["fc1"].attributes.update(bias_gain=0.5),
        "learn at different rates",
    ),
    "filter": (
        {},
        lambda g, p: p.modules["synthesis"].modules["b8"].buffers.update(resample_filter=torch.ones(4, 4) / 16),
        "filter other than .*synthesis.b8.resample_filter",
    ),
    "no ToRGB below": (
        {},
        lambda g, p: [p.modules["synthesis"].modules[b].modules.pop("torgb") for b in ("b4", "b8")],
        "'resnet' or 'orig' architecture",
    ),
}


@pytest.mark.parametrize("name", NVIDIA)
def test_nvidias_that_padinv_cannot_run(tmp_path: Path, name: str) -> None:
    settings, change, sentence = NVIDIA[name]
    nvidia(tmp_path / "x.pkl", change, **settings)
    refuses(tmp_path / "x.pkl", sentence)


def test_labels_in_bare_state_dicts_are_noticed(tmp_path: Path) -> None:
    state = {**NvidiaGenerator(CHANNELS, 5, 5, 1).state_dict(), "mapping.embed.weight": torch.zeros(5, 10)}
    torch.save({"G_ema": state}, tmp_path / "n.pt")
    refuses(tmp_path / "n.pt", "class-conditional")
    state = {
        **GenForceGenerator(CHANNELS, 5, 5, 1, hammer=False).state_dict(),
        "mapping.label_weight": torch.zeros(9, 5),
    }
    torch.save({"generator": state}, tmp_path / "g.pth")
    refuses(tmp_path / "g.pth", "class-conditional")
    state = {
        **GenForceGenerator(CHANNELS, 5, 5, 1, hammer=False).state_dict(),
        "mapping.LabelEmbed.bias": torch.zeros(5),
    }
    torch.save({"generator": state}, tmp_path / "a.pth")
    refuses(tmp_path / "a.pth", "class-conditional")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"final_tanh": True}, "final_tanh=True"),
        ({"demodulate": False}, "demodulate=False"),
        ({"wscale_gain": 2.0}, "wscale_gain=2.0"),
        ({"eps": 1e-6}, "eps=1e-06"),
        ({"normalize_z": False}, "normalize_z=False"),
    ],
)
def test_hammer_settings_that_padinv_lacks(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    g = GenForceGenerator(CHANNELS, 5, 5, 1, hammer=True)
    torch.save(hammer_file(g, None, {"generator_smooth": settings}), tmp_path / "x.pth")
    refuses(tmp_path / "x.pth", f"was built with {sentence}")


def test_noise_of_one_value_a_channel_is_refused(tmp_path: Path) -> None:
    state = GenForceGenerator(CHANNELS, 5, 5, 1, hammer=True).state_dict()
    for name in [n for n in state if n.endswith(".noise")]:
        state[name] = torch.zeros(1, 6, 1, 1)
    torch.save({"generator": state}, tmp_path / "x.pth")
    refuses(tmp_path / "x.pth", "one noise value a channel")


def test_a_code_for_every_layer_from_the_mapping_network_is_refused(tmp_path: Path) -> None:
    state = GenForceGenerator(CHANNELS, 5, 5, 1, hammer=True).state_dict()
    state["mapping.dense0.weight"], state["mapping.dense0.bias"] = torch.zeros(30, 5), torch.zeros(30)
    state["w_avg"] = torch.zeros(30)
    torch.save({"generator": state}, tmp_path / "x.pth")
    refuses(tmp_path / "x.pth", "repeat_w")


# -- discriminators that are left out


def left_out(path: Path, sentence: str) -> None:
    assert load_generator(path).spec.resolution == 16
    assert load_discriminator(path) is None
    facts = describe(path)
    assert facts["discriminator"] is None
    assert any(sentence in note for note in facts["notes"])


def test_a_discriminator_that_padinv_cannot_run_is_left_out_and_said(tmp_path: Path) -> None:
    g, d = NvidiaGenerator(CHANNELS, 5, 5, 1), NvidiaDiscriminator(CHANNELS)
    pickled = d.pickled()
    pickled.attributes["c_dim"] = 4
    dump(tmp_path / "c.pkl", {"G_ema": g.pickled(), "D": pickled})
    left_out(tmp_path / "c.pkl", "class-conditional discriminator (c_dim 4)")

    rosinality = training_file(RosinalityGenerator(CHANNELS, 5, 1), RosinalityDiscriminator(CHANNELS))
    rosinality["d"]["final_conv.0.weight"] = torch.zeros(6, 8, 3, 3)
    torch.save(rosinality, tmp_path / "s.pt")
    left_out(tmp_path / "s.pt", "2 channels of minibatch statistics")

    state = GenForceDiscriminator(CHANNELS, hammer=False).state_dict()
    del state["layer3.bias"]
    torch.save(
        {"generator": GenForceGenerator(CHANNELS, 5, 5, 1, hammer=False).state_dict(), "discriminator": state},
        tmp_path / "m.pth",
    )
    left_out(tmp_path / "m.pth", "lacks the tensor layer3.bias")


def test_a_broken_discriminator_is_an_error(tmp_path: Path) -> None:
    value = training_file(RosinalityGenerator(CHANNELS, 5, 1), RosinalityDiscriminator(CHANNELS))
    value["d"]["final_linear.1.bias"].fill_(float("nan"))
    torch.save(value, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"not finite in out\.bias"):
        load_discriminator(tmp_path / "x.pt")
    assert load_generator(tmp_path / "x.pt").spec.resolution == 16
