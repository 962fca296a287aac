"""The discriminator that joins a training: the generator file's own, at the losses' resolution."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from padinv.checkpoints.native import save_generator
from padinv.models.discriminator import Discriminator
from padinv.models.generator import Generator
from padinv.runtime.spec import ModelSpec
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.generator.discriminator_init import discriminator_for

LARGE = ModelSpec(512, (8, 8, 8, 8, 8, 6, 4, 4), z_dim=8, w_dim=8, mapping_layers=2)


def test_its_own_size_is_taken_as_it_is() -> None:
    own = Discriminator(32, (8, 8, 8, 8))
    assert discriminator_for(ModelSpec(32, (8, 8, 8, 8)), own) is own


def test_without_one_it_is_as_wide_as_the_generator() -> None:
    fresh = discriminator_for(LARGE, None)
    assert fresh.resolution == 256
    assert fresh.channels == (8, 8, 8, 8, 8, 6, 4)
    assert fresh(torch.zeros(2, 3, 256, 256)).shape == (2, 1)


@pytest.mark.parametrize("architecture", ["resnet", "skip"])
def test_a_larger_one_loses_its_outer_blocks(architecture: str) -> None:
    torch.manual_seed(0)
    own = Discriminator(512, LARGE.channels, architecture)
    inner = discriminator_for(LARGE, own)
    assert (inner.resolution, inner.channels, inner.architecture) == (256, LARGE.channels[:-1], architecture)
    old, new = own.state_dict(), inner.state_dict()
    same = {name for name in new if name.startswith(("conv.", "fc.", "out."))}
    assert same
    assert all(torch.equal(new[name], old[name]) for name in same)
    for k in range(len(inner.blocks)):
        for name, tensor in inner.blocks[k].state_dict().items():
            assert torch.equal(tensor, own.blocks[k + 1].state_dict()[name])
    if architecture == "skip":
        assert all(torch.equal(a.weight, b.weight) for a, b in zip(inner.from_rgb, own.from_rgb[1:], strict=True))
    assert inner(torch.zeros(2, 3, 256, 256)).shape == (2, 1)


def test_generators_above_256_px_train_on_pooled_images(tmp_path: Path) -> None:
    """The whole step of a 512 px generator, discriminator included, on shapes alone."""
    torch.manual_seed(0)
    generator = Generator(LARGE)
    save_generator(tmp_path / "g.safetensors", generator, Discriminator(512, LARGE.channels))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"not read")
    config = TrainConfig(arch="fast", batch=2, per=0.0, adv=0.1)
    options = RunOptions(tmp_path / "g.safetensors", tmp_path / "data", tmp_path / "run")
    estimate = Training(config, options).memory()
    # At least the generator's 512 px maps: four channels, two images, float32.
    assert estimate.step > 4 * 2 * 4 * 512 * 512
