"""Generator training: the augmentation, both discriminators, exact resume, and the command around them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from json_document import json_document
from PIL import Image

from padinv.checkpoints import load_discriminator, load_generator
from padinv.losses.backbones import squeezenet_features
from padinv.models.projected_discriminator import FeaturePyramid, Heads, SqueezeNetMaps
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec
from padinv.training.augment import augment
from padinv.training.encoder.trainer import DivergenceError
from padinv.training.generator.config import GanConfig
from padinv.training.generator.trainer import GanTrainer

SPEC = ModelSpec(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)


@pytest.fixture
def pictures() -> torch.Tensor:
    torch.manual_seed(6)
    return torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)


def config(**changes: object) -> GanConfig:
    return GanConfig(**{"spec": SPEC, "images": 16, "batch": 4, "seed": 3, **changes})  # type: ignore[arg-type]


def test_translation_mirrors_and_never_brings_in_zeros() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.full((64, 3, 16, 16), 0.9)
    y = augment(x, rng)
    assert (y.std(dim=(2, 3)) < 1e-5).all(), "a flat picture must stay flat: nothing dark comes in at the border"
    ramp = torch.linspace(-1, 1, 16).expand(64, 3, 16, 16)
    z = augment(ramp, rng)
    assert not torch.allclose(z[:, :, 0, 0].flatten().sort().values[0], z[:, :, 0, 0].flatten().sort().values[-1])


def test_augmentation_is_differentiable_and_repeats_with_its_generator() -> None:
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    a = augment(x, torch.Generator().manual_seed(1))
    b = augment(x, torch.Generator().manual_seed(1))
    assert torch.equal(a, b)
    (gradient,) = torch.autograd.grad(a.square().sum(), x)
    assert gradient.abs().amax(dim=(1, 2, 3)).min() > 0


def test_pyramid_is_frozen_and_calibrated_to_unit_size(pictures: torch.Tensor) -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid(SqueezeNetMaps(squeezenet_features()))
    images = pictures.float() / 127.5 - 1
    pyramid.calibrate(images)
    maps = pyramid(images)
    assert [m.shape[1] for m in maps] == list(pyramid.widths)
    for level in maps:
        assert level.square().mean().item() == pytest.approx(1.0, rel=1e-3)
    assert not any(p.requires_grad for p in pyramid.parameters())
    logits = Heads(pyramid.widths)(maps)
    assert logits.shape[0] == len(images)


@pytest.mark.parametrize("discriminator", ["projected", "stylegan2"])
def test_both_players_learn(discriminator: str, pictures: torch.Tensor, features: Path) -> None:
    trainer = GanTrainer(config(discriminator=discriminator, style_mixing=1.0), pictures, features)
    before = [p.detach().clone() for p in trainer.generator.parameters() if p.requires_grad]
    judged = [p.detach().clone() for p in trainer.judge.parameters()]
    losses = trainer.step()
    assert {"g", "d"} <= set(losses)
    assert ("r1" in losses) == (discriminator == "stylegan2")
    after = [p for p in trainer.generator.parameters() if p.requires_grad]
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) > 0.9 * len(before)
    assert any(not torch.equal(a, b) for a, b in zip(judged, trainer.judge.parameters(), strict=True))
    assert all(layer.noise_strength.item() == 0 for layer in trainer.generator.layers)


def test_a_resumed_training_equals_an_unbroken_one(pictures: torch.Tensor, features: Path, tmp_path: Path) -> None:
    def steps(trainer: GanTrainer, count: int) -> None:
        for _ in range(count):
            trainer.step()

    unbroken = GanTrainer(config(), pictures, features)
    steps(unbroken, 4)
    first = GanTrainer(config(), pictures, features)
    steps(first, 2)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    torch.rand(7)  # whatever else happens to the random state
    second = GanTrainer(config(seed=99), pictures, features)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    steps(second, 2)
    for a, b in (
        (unbroken.generator, second.generator),
        (unbroken.average, second.average),
        (unbroken.judge, second.judge),
    ):
        for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y), name


def test_a_loss_that_is_not_finite_is_named(pictures: torch.Tensor, features: Path) -> None:
    trainer = GanTrainer(config(), pictures, features)
    with torch.no_grad():
        trainer.generator.to_rgb[-1].bias.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="loss became nan after 0 images"):
        trainer.step()


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="discriminator is one of projected, stylegan2"):
        config(discriminator="patch")
    with pytest.raises(UsageError, match="batch must be a number from 2 up"):
        config(batch=1)


@pytest.fixture
def folder(pictures: torch.Tensor, tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for k, picture in enumerate(pictures):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path / f"{k}.png")
    return path


def test_the_command_trains_resumes_and_refuses_another_configuration(
    folder: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    out = tmp_path / "run"
    common = ["train-generator", "--data", folder, "--out", out, "--resolution", 32, "--channels", "8,8,8,8"]
    common += ["--w-dim", 8, "--batch", 4, "--discriminator", "stylegan2", "--template", "faces"]
    assert run_cli(*common, "--images", 8).code == 0
    generator = load_generator(out / "generator.safetensors")
    assert generator.spec.template == "faces"
    assert generator.w_avg.abs().max() > 0
    assert load_discriminator(out / "generator.safetensors") is not None
    with Image.open(out / "samples" / "000000008.png") as sheet:
        assert np.asarray(sheet).std() > 0
    assert [json.loads(line)["images"] for line in (out / "metrics.jsonl").read_text().splitlines()] == [8]

    again = run_cli(*common, "--images", 16, "--json")
    assert json_document(again)["results"] == [{"file": str(out / "generator.safetensors")}]
    assert "resuming from 8 images" in again.err
    before = (out / "generator.safetensors").read_bytes()
    other = run_cli(*common, "--images", 16, "--lr-g", 0.1)
    assert other.code == 2
    assert "lr_g 0.002 -> 0.1" in other.err
    assert (out / "generator.safetensors").read_bytes() == before


def test_missing_feature_weights_are_one_sentence(folder: Path, tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    out = tmp_path / "run"
    result = run_cli(
        "train-generator", "--data", folder, "--out", out, "--resolution", 32, "--channels", "8,8,8,8",
        "--batch", 4, "--features", tmp_path / "absent.pth",
    )  # fmt: skip
    assert result.code == 1
    assert "absent.pth does not exist" in result.err
    assert not (out / "generator.safetensors").exists()


def test_every_setting_is_an_option(run_cli: Callable[..., Any]) -> None:
    from padinv.models.projected_discriminator import BACKBONES
    from padinv.training.generator.choices import Backbone

    assert tuple(BACKBONES) == get_args(Backbone)
    text = " ".join(run_cli("train-generator", "--help").out.split())
    for part in dataclasses.fields(GanConfig):
        assert part.name == "spec" or f"--{part.name.replace('_', '-')}" in text, part.name


def test_the_penalty_is_lazy_and_the_average_follows_by_its_half_life(pictures: torch.Tensor, features: Path) -> None:
    trainer = GanTrainer(config(discriminator="stylegan2", r1_gamma=2.0), pictures, features)
    start = trainer.generator.const.detach().clone()
    assert trainer.step()["r1"] > 0
    assert "r1" not in trainer.step()  # every 16th step, as for encoders
    trainer = GanTrainer(config(discriminator="stylegan2"), pictures, features)
    trainer.step()
    beta = 0.5 ** (4 / (4 * 0.05))
    expected = beta * start + (1 - beta) * trainer.generator.const
    assert torch.allclose(trainer.average.const, expected, atol=1e-7)
