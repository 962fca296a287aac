"""Inversion by optimisation on a tiny generator: the loss falls, the generator stays, the bounds hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import write_generator
from torch import Tensor, nn

from padinv.checkpoints import load_generator
from padinv.models.generator import Generator
from padinv.refine import frozen, project, refine
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ring_length


@pytest.fixture
def generator(tmp_path: Path) -> Generator:
    return load_generator(write_generator(tmp_path / "g.safetensors")).eval()


def codes(generator: Generator, seed: int = 1, count: int = 2) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """What an encoder might predict."""
    spec, random = generator.spec, torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=random)

    rings = {r: 0.3 * draw(c, ring_length(r)) for r, c in zip((4, 8), spec.channels, strict=False)}
    return generator.w_avg + draw(*spec.wp_shape), draw(*spec.const_shape), rings


@pytest.fixture
def image(generator: Generator) -> Tensor:
    """Pictures that the generator can make, from other codes."""
    with torch.no_grad():
        return generator.synthesis(*codes(generator, seed=2)).clamp(-1, 1)


def errors(generator: Generator, image: Tensor, *values: object) -> Tensor:
    with torch.no_grad():
        return (generator.synthesis(*values) - image).square().mean(dim=(1, 2, 3))  # type: ignore[arg-type]


class Blurred(nn.Module):
    """A stand-in for LPIPS: the squared difference of coarse pictures."""

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        pool = nn.functional.avg_pool2d
        return (pool(image, 8) - pool(target, 8)).square().mean(dim=(1, 2, 3))


def test_refinement_lowers_the_error_of_every_image(generator: Generator, image: Tensor) -> None:
    start = codes(generator)
    found = refine(generator, image, *start, steps=30)
    before, after = errors(generator, image, *start), errors(generator, image, found.wp, found.const, found.rings)
    assert (after < 0.8 * before).all()
    torch.testing.assert_close(found.first_loss, before)
    torch.testing.assert_close(found.loss, after)


def test_refinement_and_projection_leave_the_generator_bit_for_bit_as_it_was(
    generator: Generator, image: Tensor
) -> None:
    generator.to_rgb.requires_grad_(False)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    flags = [weight.requires_grad for weight in generator.parameters()]
    start = codes(generator)
    kept = [start[0].clone(), start[1].clone(), {r: ring.clone() for r, ring in start[2].items()}]
    refine(generator, image, *start, steps=3)
    project(generator, image, steps=3)
    for name, value in generator.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [weight.requires_grad for weight in generator.parameters()] == flags
    assert all(weight.grad is None for weight in generator.parameters())
    assert torch.equal(start[0], kept[0])
    assert torch.equal(start[1], kept[1])
    assert all(torch.equal(start[2][r], ring) for r, ring in kept[2].items())


@pytest.mark.parametrize("reach", [0.01, 0.2])
def test_refined_codes_and_padding_stay_within_reach(generator: Generator, image: Tensor, reach: float) -> None:
    wp, const, rings = codes(generator)
    found = refine(generator, image, wp, const, rings, steps=20, lr=0.05, reach=reach)
    assert found.const is not None
    assert found.rings is not None
    pairs = {"wp": (found.wp, wp, generator.w_avg.detach()), "const": (found.const, const, 0.0)}
    pairs |= {f"ring {r}": (found.rings[r], ring, 0.0) for r, ring in rings.items()}
    for name, (new, old, origin) in pairs.items():
        for k in range(len(image)):
            change = (new[k] - old[k]).double().norm() / (old[k] - origin).double().norm()
            assert 0 < change <= reach * 1.001, (name, k)


def test_an_image_is_refined_the_same_alone_and_in_a_batch(generator: Generator, image: Tensor) -> None:
    wp, const, rings = codes(generator)
    both = refine(generator, image, wp, const, rings, steps=5)
    alone = refine(generator, image[1:], wp[1:], const[1:], {r: ring[1:] for r, ring in rings.items()}, steps=5)
    torch.testing.assert_close(both.wp[1:], alone.wp, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both.loss[1:], alone.loss, rtol=1e-4, atol=1e-6)


def test_what_the_encoder_did_not_predict_is_not_refined(generator: Generator, image: Tensor) -> None:
    found = refine(generator, image, codes(generator)[0], steps=2)
    assert found.const is None
    assert found.rings is None
    assert (found.loss < found.first_loss).all()


def test_a_rate_that_is_too_high_never_makes_the_result_worse(generator: Generator, image: Tensor) -> None:
    found = refine(generator, image, *codes(generator), steps=3, lr=50.0, reach=100.0)
    assert (found.loss <= found.first_loss).all()


def test_projection_begins_at_w_avg_and_lowers_the_error_with_one_code_for_all_layers(
    generator: Generator, image: Tensor
) -> None:
    found = project(generator, image, steps=60)
    average = generator.broadcast(generator.w_avg.expand(len(image), -1))
    torch.testing.assert_close(found.first_loss, errors(generator, image, average))
    assert (found.loss < 0.9 * found.first_loss).all()
    torch.testing.assert_close(errors(generator, image, found.wp), found.loss)
    assert torch.equal(found.wp, found.wp[:, :1].expand_as(found.wp))


def test_projection_with_a_perceptual_network_lowers_its_distance_and_repeats(
    generator: Generator, image: Tensor
) -> None:
    first, second = (project(generator, image, steps=20, perceptual=Blurred(), seed=4) for _ in range(2))
    assert (first.loss < first.first_loss).all()
    assert torch.equal(first.wp, second.wp)
    assert not torch.equal(first.wp, project(generator, image, steps=20, perceptual=Blurred(), seed=5).wp)


def test_weights_are_thawed_after_an_error(generator: Generator) -> None:
    def fail() -> None:
        with frozen(generator):
            assert not any(weight.requires_grad for weight in generator.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(weight.requires_grad for weight in generator.parameters())


@pytest.mark.parametrize("settings", [{"steps": 0}, {"lr": 0.0}, {"reach": 0.0}, {"reach": float("nan")}])
def test_settings_that_make_no_sense_are_refused(generator: Generator, image: Tensor, settings: dict) -> None:
    with pytest.raises(UsageError):
        refine(generator, image, *codes(generator), **settings)
