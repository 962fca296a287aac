"""The encoder frame and the paper's body: sizes, names, an independent restatement, ring extraction."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from padinv.checkpoints import load_encoder
from padinv.checkpoints.native import save_encoder
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.generator import Generator
from padinv.models.reference_encoder import ReferenceBody, centre, stage_strides
from padinv.models.rings import extract_ring
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.spec import ModelSpec

FULL = ModelSpec(256, (512, 512, 512, 512, 512, 256, 128))  # the paper's LSUN generators: 14 codes
SMALL = ModelSpec(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)


def flops(encoder: Encoder, size: int) -> int:
    """Multiplications and additions of convolutions and linear layers for one image."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        encoder.eval()(torch.empty(1, 3, size, size))
    return int(counter.get_total_flops())


def on_meta(spec: ModelSpec, config: EncoderConfig) -> Encoder:
    with torch.device("meta"):
        return Encoder(spec, config)


def test_the_papers_size_and_cost() -> None:
    """docs/how-it-works.md: 220 M parameters, 178 M of them in the heads, and 141 GFLOP with full projected maps."""
    encoder = on_meta(FULL, EncoderConfig())
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(220.0, abs=0.05)
    assert sum(p.numel() for p in encoder.body.latent_heads.parameters()) / 1e6 == pytest.approx(178.3, abs=0.05)
    ours = flops(encoder, 256)
    full_maps = 4 * 2 * 512 * 512 * 34 * 34
    rings = sum(2 * 512 * 512 * (4 * r + 4) for r in (4, 8, 16, 32))
    assert (ours - rings + full_maps) / 1e9 == pytest.approx(141, abs=0.5)
    assert ours / 1e9 == pytest.approx(138.66, abs=0.05)


def test_fast_costs_at_most_a_quarter() -> None:
    assert flops(on_meta(FULL, EncoderConfig("fast")), 256) <= 0.25 * flops(on_meta(FULL, EncoderConfig()), 256)


def test_parameter_names_are_the_reference_implementations() -> None:
    state = on_meta(FULL, EncoderConfig()).body.state_dict()
    for name, shape in {
        "input_layer.0.weight": (64, 3, 3, 3),
        "input_layer.2.weight": (64,),
        "backbone_stages.0.0.res_layer.1.weight": (64, 64, 3, 3),
        "backbone_stages.2.13.res_layer.5.fc2.weight": (256, 16, 1, 1),
        "backbone_stages.3.0.shortcut_layer.0.weight": (512, 256, 1, 1),
        "fpn.lateral_layers.0.weight": (512, 128, 1, 1),
        "fpn.lateral_layers.1.bias": (512,),
        "latent_heads.0.convs.6.weight": (512, 512, 3, 3),
        "latent_heads.13.convs.10.bias": (512,),
        "latent_heads.13.linear.weight": (512, 512),
        "padding_extractor.1.res_layer.0.running_var": (512,),
        "padding_modulation_heads.3.weight": (512, 512, 1, 1),
    }.items():
        assert tuple(state[name].shape) == shape, name
    prefixes = {name.split(".")[0] for name in state}
    assert prefixes == {
        "input_layer",
        "backbone_stages",
        "fpn",
        "latent_heads",
        "padding_extractor",
        "padding_modulation_heads",
    }


def restated(state: dict[str, Tensor], x: Tensor, strides: tuple[int, ...], levels: list[int]) -> dict[str, Tensor]:
    """The reference encoder in float64 from nothing but its state dict, with full maps (docs/how-it-works.md)."""

    def bn(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return (x - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None] * weight[:, None, None] + bias[
            :, None, None
        ]

    def prelu(x: Tensor, name: str) -> Tensor:
        return torch.where(x > 0, x, x * state[f"{name}.weight"][:, None, None])

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        y = F.conv2d(bn(x, f"{name}.res_layer.0"), state[f"{name}.res_layer.1.weight"], padding=1)
        y = F.conv2d(prelu(y, f"{name}.res_layer.2"), state[f"{name}.res_layer.3.weight"], stride=stride, padding=1)
        y = bn(y, f"{name}.res_layer.4")
        gate = F.conv2d(y.mean(dim=(2, 3), keepdim=True), state[f"{name}.res_layer.5.fc1.weight"]).clamp(min=0)
        y = y * F.conv2d(gate, state[f"{name}.res_layer.5.fc2.weight"]).sigmoid()
        if f"{name}.shortcut_layer.0.weight" in state:
            short = F.conv2d(x, state[f"{name}.shortcut_layer.0.weight"], stride=stride)
            return y + bn(short, f"{name}.shortcut_layer.1")
        return y + x[:, :, ::stride, ::stride]

    x = F.conv2d(x, state["input_layer.0.weight"], padding=1)
    x = prelu(bn(x, "input_layer.1"), "input_layer.2")
    features = []
    for stage, (count, stride) in enumerate(zip((3, 4, 14, 3), strides, strict=True)):
        for k in range(count):
            x = block(x, f"backbone_stages.{stage}.{k}", stride if k == 0 else 1)
        features.append(x)

    def up(x: Tensor, size: int) -> Tensor:
        return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=True)

    pyramid = [features[3]]
    for level in (1, 0):
        lateral = F.conv2d(
            features[1 + level], state[f"fpn.lateral_layers.{level}.weight"], state[f"fpn.lateral_layers.{level}.bias"]
        )
        pyramid.append(lateral + up(pyramid[-1], lateral.shape[-1]))

    codes = []
    for index, level in enumerate(levels):
        y = pyramid[level]
        for k in itertools.count(0, 2):
            if f"latent_heads.{index}.convs.{k}.weight" not in state:
                break
            weight, bias = (state[f"latent_heads.{index}.convs.{k}.{part}"] for part in ("weight", "bias"))
            y = F.leaky_relu(F.conv2d(y, weight, bias, stride=2, padding=1), 0.01)
        weight = state[f"latent_heads.{index}.linear.weight"]
        codes.append(y.flatten(1) @ (weight / weight.shape[1] ** 0.5).T + state[f"latent_heads.{index}.linear.bias"])

    padding = pyramid[1]
    for k in range(2):
        padding = block(padding, f"padding_extractor.{k}", 1)
    result = {"wp": torch.stack(codes, 1), "middle": padding}
    return result


def float64_body(spec: ModelSpec, seed: int = 0, **settings: bool) -> ReferenceBody:
    torch.manual_seed(seed)
    body = ReferenceBody(spec, True, spec.pad_resolutions, **settings).double().eval()
    with torch.no_grad():  # batch statistics and slopes that are not the neutral ones
        for name, tensor in body.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(std=0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1 and tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * 0.05)
    return body


def test_an_independent_restatement_in_float64() -> None:
    body = float64_body(SMALL)
    image = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        codes, const, rings = body(image)
        state = dict(body.state_dict())
        expected = restated(state, image, strides=(1, 2, 2, 2), levels=[0, 0, 0, 1, 1, 1, 1, 2])
    assert expected["middle"].shape[-1] == 8  # half of max_pad_res = 16
    assert torch.allclose(codes, expected["wp"], atol=1e-9)
    padding = F.interpolate(expected["middle"], size=(18, 18), mode="bicubic", align_corners=True)
    assert const is not None
    projected = F.conv2d(padding, state["const_projection.weight"], state["const_projection.bias"])
    assert torch.allclose(const, projected[:, :, 7:11, 7:11], atol=1e-9)
    for k, r in enumerate((4, 8, 16)):
        weight, bias = (state[f"padding_modulation_heads.{k}.{part}"] for part in ("weight", "bias"))
        full = F.conv2d(padding, weight, bias)
        edge = (18 - (r + 2)) // 2
        inner = full[:, :, edge : 18 - edge, edge : 18 - edge]
        assert inner.shape[-1] == r + 2
        assert torch.allclose(rings[r], extract_ring(inner), atol=1e-9)


def test_projecting_ring_positions_equals_projecting_the_map() -> None:
    spec = ModelSpec(64, (24, 20, 16, 12, 8), z_dim=8, w_dim=8, mapping_layers=1)
    torch.manual_seed(1)
    body = ReferenceBody(spec, True, (4, 16, 32)).double()
    padding_map = torch.randn(2, 512, 34, 34, dtype=torch.float64)
    rings = body.rings(padding_map)
    assert {r: tuple(ring.shape) for r, ring in rings.items()} == {
        4: (2, 24, 20),
        16: (2, 16, 68),
        32: (2, 12, 132),
    }
    for k, r in enumerate((4, 16, 32)):
        full = body.padding_modulation_heads[k](padding_map)
        assert torch.allclose(rings[r], extract_ring(centre(full, r + 2)), atol=1e-12)


def test_one_shared_map_needs_the_maps_width() -> None:
    wide = ModelSpec(32, (512, 512, 512, 512), z_dim=8, w_dim=8, mapping_layers=1)
    with torch.device("meta"):
        body = ReferenceBody(wide, True, (4, 8, 16), projections=False)
    assert not any(name.startswith("padding_modulation_heads") for name in body.state_dict())
    padding_map = torch.randn(1, 512, 18, 18)
    for r, ring in body.rings(padding_map).items():
        assert torch.equal(ring, extract_ring(centre(padding_map, r + 2)))
    with pytest.raises(UsageError, match="shared padding map has 512 channels"):
        ReferenceBody(SMALL, True, (4,), projections=False)


@pytest.mark.parametrize(
    ("resolution", "finest", "strides"),
    [
        (256, 32, (2, 2, 2, 2)),
        (256, 64, (2, 2, 2, 2)),
        (256, 128, (1, 2, 2, 2)),
        (128, 32, (2, 2, 2, 2)),
        (64, 32, (1, 2, 2, 2)),
        (32, 16, (1, 2, 2, 2)),
        (8, 4, (1, 2, 2, 2)),
        (64, 64, (1, 1, 2, 2)),
    ],
)
def test_small_pictures_lose_early_strides(resolution: int, finest: int, strides: tuple[int, ...]) -> None:
    assert stage_strides(resolution, finest) == strides
    feature = resolution // (strides[0] * strides[1] * strides[2])
    assert feature >= finest // 2


@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("architecture", ["reference", "fast"])
def test_shapes_for_every_generator(resolution: int, architecture: str) -> None:
    channels = tuple(min(512, 16384 // (4 << k)) for k in range(resolution.bit_length() - 2))
    spec = ModelSpec(resolution, channels, w_dim=64)
    encoder = on_meta(spec, EncoderConfig(architecture)).eval()
    with torch.device("meta"):
        wp, const, rings = encoder(torch.empty(2, 3, spec.image_size, spec.image_size))
    assert const is not None
    assert rings is not None
    shapes = {"wp": wp.shape, "const": const.shape, **{f"pad_{r}": ring.shape for r, ring in rings.items()}}
    assert {name: tuple(shape[1:]) for name, shape in shapes.items()} == spec.latent_shapes


@pytest.mark.parametrize("architecture", ["reference", "fast"])
def test_without_padding_only_codes_come_out(architecture: str) -> None:
    encoder = Encoder(SMALL, EncoderConfig(architecture, padding=False)).eval()
    wp, const, rings = encoder(torch.zeros(1, 3, 32, 32))
    assert tuple(wp.shape) == (1, 8, 8)
    assert const is None
    assert rings is None
    assert not any(
        "padding" in name or "const_" in name or "projections" in name for name, _ in encoder.named_parameters()
    )


def test_ablations_by_name() -> None:
    full = EncoderConfig.ablation("p0-1-3-5-7")
    assert full.rings_for(FULL) == EncoderConfig().rings_for(FULL) == (4, 8, 16, 32)
    assert EncoderConfig.ablation("p0-1-3-5-7-9").rings_for(FULL) == (4, 8, 16, 32, 64)
    only_const = EncoderConfig.ablation("p0", "fast")
    assert only_const.const
    assert only_const.rings_for(FULL) == ()
    assert not EncoderConfig.ablation("none").padding
    for wrong in ("p", "p2", "p0-2", "0-1", "pad", "p0-"):
        with pytest.raises(UsageError, match="is not an ablation"):
            EncoderConfig.ablation(wrong)
    with pytest.raises(UsageError, match="no 64 px layer"):
        EncoderConfig.ablation("p0-9").rings_for(SMALL)


@pytest.mark.parametrize("name", ["p0", "p1-3", "p0-1-3-5"])
@pytest.mark.parametrize("architecture", ["reference", "fast"])
def test_ablations_run_with_the_generator(name: str, architecture: str) -> None:
    generator = Generator(SMALL).eval()
    encoder = Encoder.from_generator(generator, EncoderConfig.ablation(name, architecture)).eval()
    with torch.no_grad():
        wp, const, rings = encoder(torch.zeros(1, 3, 32, 32))
        image = generator.synthesis(wp, const, rings)
    assert (const is not None) == ("0" in name)
    assert image.shape == (1, 3, 32, 32)


def test_fast_starts_at_the_average_picture() -> None:
    torch.manual_seed(0)
    generator = Generator(SMALL).eval()
    generator.w_avg.normal_()
    encoder = Encoder.from_generator(generator, EncoderConfig("fast")).train()
    with torch.no_grad():
        image = generator.synthesis(*encoder(torch.rand(4, 3, 32, 32)))
        average = generator.synthesis(generator.broadcast(generator.w_avg.expand(4, -1)))
    assert torch.allclose(image, average, atol=1e-5)


@pytest.mark.parametrize("architecture", ["reference", "fast"])
def test_every_parameter_takes_part(architecture: str) -> None:
    """DDP waits for gradients of all parameters; one without would hang or raise."""
    torch.manual_seed(0)
    encoder = Encoder(SMALL, EncoderConfig(architecture)).train()
    with torch.no_grad():
        for parameter in encoder.parameters():  # the fast body's last layers start at zero and stop gradients
            if not parameter.any():
                parameter.normal_(std=0.1)
    wp, const, rings = encoder(torch.rand(2, 3, 32, 32))
    assert const is not None
    assert rings is not None
    (wp.square().mean() + const.square().mean() + sum(r.square().mean() for r in rings.values())).backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("architecture", ["reference", "fast"])
def test_one_file_is_enough(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = Generator(SMALL).eval()
    generator.w_avg.normal_()
    config = EncoderConfig(architecture, pad_resolutions=(4, 16))
    encoder = Encoder.from_generator(generator, config).eval()
    save_encoder(tmp_path / "e.safetensors", encoder, "0" * 64)
    loaded = load_encoder(tmp_path / "e.safetensors")
    assert loaded.config == config
    assert torch.equal(loaded.w_avg, generator.w_avg)
    assert torch.equal(loaded.const, generator.const)
    image = torch.rand(1, 3, 32, 32)
    for a, b in zip(encoder(image)[:2], loaded(image)[:2], strict=True):
        assert torch.equal(a, b)


def test_configuration_round_trip_and_damage() -> None:
    config = EncoderConfig("fast", const=False, pad_resolutions=(16, 4))
    assert config.pad_resolutions == (4, 16)
    assert EncoderConfig.from_dict(config.to_dict()) == config
    for damaged, message in (
        ({"architecture": "huge"}, "reference, fast"),
        ({"depth": 50}, "unknown settings 'depth'"),
        ({"padding": 1}, "not true or false"),
        ({"pad_resolutions": "4"}, "not a list of sizes"),
        ([], "not list"),
    ):
        with pytest.raises(InputError, match=message):
            EncoderConfig.from_dict(damaged)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(MismatchError, match=r"takes images \[N, 3, 32, 32\], not \[1, 3, 64, 64\]"):
        Encoder(SMALL, EncoderConfig("fast"))(torch.zeros(1, 3, 64, 64))
