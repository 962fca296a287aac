"""Inference forms against the networks they were made from."""

from __future__ import annotations

import pytest
import torch
from tiny_run import lively_encoder, lively_generator
from torch import Tensor, nn

from padinv.export.inference_modules import LeanConv, LeanEncoder, LeanGenerator, LeanMapping
from padinv.models.encoder import EncoderConfig
from padinv.models.generator import Generator
from padinv.models.layers import StyledConv
from padinv.runtime.spec import ModelSpec

SMALL = ModelSpec(32, (12, 10, 8, 6), z_dim=8, w_dim=8, mapping_layers=3)


def latents(generator: Generator, rows: int = 3) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    torch.manual_seed(1)
    spec = generator.spec
    wp = torch.stack([generator.mapping(torch.randn(rows, spec.z_dim)) for _ in range(spec.num_layers)], 1)
    rings = {r: torch.randn(rows, *spec.ring_shape(r)) for r in spec.pad_resolutions}
    return wp.detach(), torch.randn(rows, *spec.const_shape), rings


@pytest.mark.parametrize("settings", [{}, {"conv_clamp": 1.0}, {"demod_eps_scaled": True}])
@pytest.mark.parametrize("noise", [True, False])
@torch.no_grad()
def test_lean_generator_equals_the_generator(settings: dict, noise: bool) -> None:
    generator = lively_generator(ModelSpec(32, (12, 10, 8, 6), z_dim=8, w_dim=8, mapping_layers=3, **settings))
    for layer in generator.layers:
        layer.noise_strength.fill_(0.3 if noise else 0.0)
    wp, const, rings = latents(generator)
    expected = generator.synthesis(wp, const, rings)
    got = LeanGenerator(generator)(wp, const, rings)
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("up", [False, True])
@torch.no_grad()
def test_float16_holds_512_channels_without_a_clamp(up: bool) -> None:
    """Feature maps of 600 and weights of one sign: with a largest weight of 1, a sum of 4,608 products is infinite."""
    torch.manual_seed(0)
    spec = ModelSpec(16, (512, 512, 512), w_dim=8)
    layer = StyledConv(spec, 512, 512, 16, up=up)
    layer.weight.data.abs_()
    wide, half = LeanConv(layer, torch.float32), LeanConv(layer, torch.float16)
    x, w = torch.full((1, 512, 8 if up else 16, 8 if up else 16), 600.0), torch.randn(1, 8)
    ring = None if up else torch.full((1, 512, 68), 600.0)
    expected = wide(x, w, ring)
    got = half(x.half(), w, ring).float()
    assert torch.isfinite(got).all()
    assert float((got - expected).abs().max()) < 0.01 * float(expected.abs().max())
    assert 0.01 < float(half.conv.weight.abs().max()) * (9 * 512) ** 0.5 <= 1.001


@torch.no_grad()
def test_lean_mapping_equals_the_mapping() -> None:
    generator = lively_generator(SMALL)
    z = torch.randn(5, 8)
    lean = LeanMapping(generator.mapping_network)
    torch.testing.assert_close(lean(z), generator.mapping(z), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_half_precision_takes_the_ring_through_the_normalisation() -> None:
    """Large styles, and weights of very different size: float16 overflows unless both are normalised, and the ring
    comes out wrong unless it is divided with the style."""
    generator = lively_generator(SMALL)
    for layer in generator.layers:
        layer.affine.weight.mul_(300)
        layer.affine.bias.mul_(300)
        layer.weight[0].mul_(3e4)
        layer.weight[1].mul_(1e-4)
    wp, const, rings = latents(generator)
    rings = {r: 200 * ring for r, ring in rings.items()}
    expected = generator.synthesis(wp, const, rings)
    assert (expected - generator.synthesis(wp, const, None)).abs().mean() > 0.1  # the rings matter
    lean = LeanGenerator(generator, torch.float16)
    got = lean(wp, const, rings)
    assert got.dtype == torch.float32
    scale = float(expected.abs().max())
    assert float((got - expected).abs().mean()) < 0.003 * scale
    assert all(layer.conv.weight.dtype == torch.float16 for layer in lean.layers)
    assert all(layer.power.dtype == torch.float32 for layer in lean.layers)


@pytest.mark.parametrize("padding", [True, False])
@torch.no_grad()
def test_lean_encoder_equals_the_encoder_and_leaves_it_alone(padding: bool) -> None:
    encoder = lively_encoder(lively_generator(SMALL), EncoderConfig("fast", padding=padding))
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    lean = LeanEncoder(encoder)
    image = torch.rand(3, 3, 32, 32) * 2 - 1
    (wp, const, rings), (wp2, const2, rings2) = encoder(image), lean(image)
    torch.testing.assert_close(wp2, wp, rtol=0, atol=1e-4)
    if padding:
        torch.testing.assert_close(const2, const, rtol=0, atol=1e-4)
        for r in rings:
            torch.testing.assert_close(rings2[r], rings[r], rtol=0, atol=1e-4)
    else:
        assert const2 is None
        assert rings2 is None
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in lean.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@torch.no_grad()
def test_lean_reference_encoder_equals_the_encoder() -> None:
    encoder = lively_encoder(lively_generator(ModelSpec(16, (8, 8, 8), z_dim=8, w_dim=8)), EncoderConfig("reference"))
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    (wp, const, rings), (wp2, const2, rings2) = encoder(image), LeanEncoder(encoder)(image)
    for a, b in ((wp, wp2), (const, const2), *((rings[r], rings2[r]) for r in rings)):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-4 * max(1, float(a.abs().max())))
