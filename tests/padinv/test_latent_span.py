"""W spanned by real codes: an exact change of basis, followed by encoders, with samples of the codes' statistics."""

from __future__ import annotations

import pytest
import torch

from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.generator import Generator
from padinv.runtime.errors import InputError
from padinv.runtime.spec import ModelSpec
from padinv.training.generator.latent_span import (
    LatentSpan,
    mix_generators,
    scale_mapping,
    span_encoder,
    span_generator,
    span_of,
)

SPEC = ModelSpec(16, (8, 8, 8), z_dim=4, w_dim=8, mapping_layers=2)


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(1)
    made = Generator(SPEC).double().eval()
    made.w_avg.normal_()
    for parameter in made.parameters():
        parameter.requires_grad_(False)
        if parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


@pytest.fixture
def codes() -> torch.Tensor:
    torch.manual_seed(2)
    latent = torch.randn(600, 10, dtype=torch.float64) * torch.linspace(3, 0.5, 10, dtype=torch.float64)
    mixing = torch.randn(10, SPEC.num_layers * 8, dtype=torch.float64)
    return (latent @ mixing).unflatten(1, (SPEC.num_layers, 8)) + 0.7


def old_codes(span: LatentSpan, new: torch.Tensor) -> torch.Tensor:
    return torch.einsum("lij,nj->nli", span.matrices, new) + span.mean


def test_the_synthesis_network_is_the_same_function_of_the_new_codes(generator: Generator, codes: torch.Tensor) -> None:
    span = span_of(codes, SPEC.z_dim)
    spanned = span_generator(generator, span)
    new = torch.randn(5, 8, dtype=torch.float64)
    expected = generator.synthesis(old_codes(span, new))
    torch.testing.assert_close(spanned.synthesis(spanned.broadcast(new)), expected, rtol=1e-9, atol=1e-9)


def test_samples_have_the_mean_and_the_leading_covariance_of_the_real_codes(
    generator: Generator, codes: torch.Tensor
) -> None:
    span = span_of(codes, SPEC.z_dim)
    spanned = span_generator(generator, span)
    z = torch.randn(40_000, SPEC.z_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = old_codes(span, spanned.mapping(z)).flatten(1)
    real = codes.flatten(1)
    _, _, components = torch.linalg.svd(real - real.mean(dim=0), full_matrices=False)
    leading = components[: SPEC.z_dim]
    ours = ((drawn - real.mean(dim=0)) @ leading.T).T
    theirs = ((real - real.mean(dim=0)) @ leading.T).T
    assert ours.mean(dim=1).abs().max() < 0.02 * theirs.std(dim=1).max()
    torch.testing.assert_close(ours.cov(), theirs.cov(), rtol=0.05, atol=0.05 * float(theirs.cov().max()))


def test_an_encoder_follows_its_generator(generator: Generator, codes: torch.Tensor) -> None:
    generator = generator.float()
    torch.manual_seed(3)
    encoder = Encoder.from_generator(generator, EncoderConfig("fast")).eval()
    encoder.body.codes.weight.data.normal_(std=0.3)  # type: ignore[union-attr]
    image = torch.rand(4, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        wp, const, rings = encoder(image)
        # Codes of a well-conditioned span: all of W is used by real images.
        spread = torch.randn(600, SPEC.num_layers, 8)
        spread = spread[:, :1].expand_as(spread) + 0.01 * spread
        span = span_of(spread, SPEC.z_dim)
        spanned = span_generator(generator, span)
        wp_new, const_new, rings_new = span_encoder(encoder, span, spanned)(image)
        before = generator.synthesis(wp, const, rings)
        after = spanned.synthesis(wp_new, const_new, rings_new)
    assert (after - before).square().mean() < 1e-3 * before.square().mean()


def test_mixing_is_linear_in_the_weights_and_needs_one_geometry(generator: Generator) -> None:
    torch.manual_seed(4)
    other = Generator(SPEC).double().eval()
    mixed = mix_generators(generator, other, 0.25)
    for name, value in mixed.state_dict().items():
        expected = 0.75 * generator.state_dict()[name] + 0.25 * other.state_dict()[name]
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    wider = Generator(ModelSpec(16, (8, 8, 4), z_dim=4, w_dim=8, mapping_layers=2))
    with pytest.raises(InputError, match="same geometry"):
        mix_generators(generator, wider, 0.5)


def test_too_few_codes_and_another_mapping_network_are_refused(generator: Generator, codes: torch.Tensor) -> None:
    with pytest.raises(InputError, match="more than 8 images, not 8"):
        span_of(codes[:8], 4)
    deep = Generator(ModelSpec(16, (8, 8, 8), z_dim=4, w_dim=8, mapping_layers=4)).double()
    with pytest.raises(InputError, match="two layers"):
        span_generator(deep, span_of(codes, 4))


def test_scaled_samples_lie_further_out_and_the_synthesis_network_stays(generator: Generator) -> None:
    scaled = scale_mapping(generator, 1.25)
    z = torch.randn(6, SPEC.z_dim, dtype=torch.float64)
    torch.testing.assert_close(scaled.mapping_network(z), 1.25 * generator.mapping_network(z))
    wp = torch.randn(2, SPEC.num_layers, 8, dtype=torch.float64)
    assert torch.equal(scaled.synthesis(wp), generator.synthesis(wp))
    with pytest.raises(InputError, match="positive"):
        scale_mapping(generator, 0.0)
