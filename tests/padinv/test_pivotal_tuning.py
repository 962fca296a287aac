"""Pivotal tuning on a tiny generator: the copy fits the image, the original stays, locality holds back the rest."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from tiny_training import write_generator
from torch import Tensor

from padinv.checkpoints import load_generator
from padinv.models.generator import Generator
from padinv.pivotal_tuning import _Neighbours, tune_generator
from padinv.refine import project
from padinv.runtime.errors import UsageError


@pytest.fixture
def generator(tmp_path: Path) -> Generator:
    return load_generator(write_generator(tmp_path / "g.safetensors")).eval()


@pytest.fixture
def pivot(generator: Generator) -> Tensor:
    return generator.w_avg + torch.randn(1, *generator.spec.wp_shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def image() -> Tensor:
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")


def error(generator: Generator, image: Tensor, wp: Tensor) -> float:
    with torch.no_grad():
        return float((generator.synthesis(wp) - image).square().mean())


def test_the_copy_makes_the_image_of_the_pivot_and_the_original_stays_bit_for_bit(
    generator: Generator, pivot: Tensor, image: Tensor
) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    tuned = tune_generator(generator, image, pivot, steps=40, lr=3e-3)
    assert tuned.first_loss == pytest.approx(error(generator, image, pivot), rel=1e-4)
    assert error(tuned.generator, image, pivot) < 0.5 * tuned.first_loss
    assert tuned.steps == 40
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    for name in ("w_avg", "mapping_network.layers.0.weight"):
        assert torch.equal(tuned.generator.state_dict()[name], before[name])
    assert not any(weight.requires_grad for weight in tuned.generator.parameters())


def test_locality_keeps_codes_nearby_what_they_were(generator: Generator, pivot: Tensor, image: Tensor) -> None:
    near = _Neighbours(generator, pivot, radius=30.0, seed=9).draw()
    with torch.no_grad():
        original = generator.synthesis(near)
    free, held = (
        error(tune_generator(generator, image, pivot, steps=30, lr=3e-3, locality=weight).generator, original, near)
        for weight in (0.0, 1.0)
    )
    assert held < 0.5 * free


def test_a_pivot_may_have_padding_and_then_keeps_it(generator: Generator, pivot: Tensor, image: Tensor) -> None:
    const, rings = torch.randn(1, 8, 4, 4), {4: torch.randn(1, 8, 20)}
    tuned = tune_generator(generator, image, pivot, const, rings, steps=15, lr=3e-3)
    with torch.no_grad():
        now = float((tuned.generator.synthesis(pivot, const, rings) - image).square().mean())
    assert now < tuned.first_loss
    assert torch.equal(tuned.generator.const, generator.const)  # it was not used


@pytest.mark.parametrize("radius", [0.5, 1e6])
def test_a_code_nearby_lies_on_the_way_to_a_code_of_w_and_never_beyond(
    generator: Generator, pivot: Tensor, radius: float
) -> None:
    near = _Neighbours(generator, pivot, radius=radius, seed=3).draw()
    z = torch.randn(1, generator.spec.z_dim, generator=torch.Generator().manual_seed(3))
    goal = generator.broadcast(generator.mapping(z, 0.5))
    distance = float((near - pivot).double().norm())
    assert distance == pytest.approx(min(radius, float((goal - pivot).double().norm())), rel=1e-4)
    aligned = torch.nn.functional.cosine_similarity((near - pivot).flatten(), (goal - pivot).flatten(), dim=0)
    assert float(aligned) == pytest.approx(1, abs=1e-4)


def test_a_time_limit_ends_tuning_and_projection_early(
    generator: Generator, pivot: Tensor, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    assert tune_generator(generator, image, pivot, steps=500, seconds=6.0).steps == 5
    found = project(generator, image, steps=500, seconds=6.0)
    assert found.loss <= found.first_loss
    assert next(ticks) < 20


@pytest.mark.parametrize("settings", [{"steps": 0}, {"lr": 0.0}])
def test_settings_that_make_no_sense_are_refused(
    generator: Generator, pivot: Tensor, image: Tensor, settings: dict
) -> None:
    with pytest.raises(UsageError):
        tune_generator(generator, image, pivot, **settings)
