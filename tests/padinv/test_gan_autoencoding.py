"""Generator training with an autoencoder beside the adversary, and from a finished generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from padinv.checkpoints import load_generator
from padinv.models.generator import Generator
from padinv.models.z_encoder import LatentEncoder
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec
from padinv.training.generator.config import GanConfig
from padinv.training.generator.reconstruction import MOST_NOISE, Autoencoding
from padinv.training.generator.trainer import JUDGE_FIRST, GanTrainer

SPEC = ModelSpec(32, (8, 8, 8, 8), z_dim=6, w_dim=8, mapping_layers=2)


@pytest.fixture
def pictures() -> torch.Tensor:
    """Flat pictures, each of a colour of its own: what an autoencoder learns first."""
    torch.manual_seed(6)
    return torch.randint(0, 256, (12, 3, 1, 1), dtype=torch.uint8).expand(12, 3, 32, 32).contiguous()


def config(**changes: object) -> GanConfig:
    return GanConfig(**{"spec": SPEC, "images": 16, "batch": 4, "seed": 3, "reconstruct": 10.0, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_codes_lie_on_the_sphere_that_the_mapping_network_normalises_to(resolution: int) -> None:
    spec = ModelSpec(resolution, (4,) * (resolution.bit_length() - 2), z_dim=6, w_dim=8)
    z = LatentEncoder(spec)(torch.randn(3, 3, resolution, resolution))
    assert z.shape == (3, 6)
    torch.testing.assert_close(z.square().mean(dim=1), torch.ones(3), atol=1e-4, rtol=0)


def test_disturbance_is_bounded_and_repeats_with_its_generator(features: Path) -> None:
    part = Autoencoding(SPEC, features).eval()
    images = torch.randn(64, 3, 32, 32)
    a = part.codes(images, torch.Generator().manual_seed(1))
    assert torch.equal(a, part.codes(images, torch.Generator().manual_seed(1)))
    clean = part.encoder(images)
    assert not torch.allclose(a, clean)
    # z sqrt(1 - s^2) + n s: taking away the code's share leaves at most MOST_NOISE of a unit normal.
    for share in ((a - clean).square().mean(dim=1).sqrt() / 2**0.5).tolist():
        assert share < 2.5 * MOST_NOISE
    assert abs(a.square().mean().item() - 1) < 0.2


def test_it_learns_to_reproduce_photographs(pictures: torch.Tensor, features: Path) -> None:
    trainer = GanTrainer(config(batch=12), pictures, features)
    losses = [trainer.step()["rec"] for _ in range(60)]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_it_may_come_first_and_the_discriminator_then_learns_alone(pictures: torch.Tensor, features: Path) -> None:
    trainer = GanTrainer(config(reconstruct_first=8), pictures, features)
    judged = [p.detach().clone() for p in trainer.judge.parameters()]
    assert set(trainer.step()) == {"rec"}
    assert set(trainer.step()) == {"rec"}
    assert all(torch.equal(a, b) for a, b in zip(judged, trainer.judge.parameters(), strict=True))
    before = trainer.generator.layers[0].weight.detach().clone()
    assert set(trainer.step()) == {"g", "d", "acc", "rec"}
    assert torch.equal(trainer.generator.layers[0].weight, before)
    assert trainer.generator_rests_until == 8 + JUDGE_FIRST


def test_without_it_no_encoder_is_trained(pictures: torch.Tensor, features: Path) -> None:
    trainer = GanTrainer(config(reconstruct=0.0), pictures, features)
    assert trainer.autoencoding is None
    assert "rec" not in trainer.step()


def test_a_resumed_training_equals_an_unbroken_one(pictures: torch.Tensor, features: Path, tmp_path: Path) -> None:
    unbroken = GanTrainer(config(), pictures, features)
    for _ in range(2):
        unbroken.step()
    torch.save(unbroken.state_dict(), tmp_path / "state.pt")
    for _ in range(2):
        unbroken.step()
    second = GanTrainer(config(seed=99), pictures, features)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(2):
        second.step()
    assert unbroken.autoencoding is not None
    assert second.autoencoding is not None
    for a, b in (
        (unbroken.generator, second.generator),
        (unbroken.judge, second.judge),
        (unbroken.autoencoding.encoder, second.autoencoding.encoder),
    ):
        for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y), name


def test_a_training_without_it_may_go_on_with_it(pictures: torch.Tensor, features: Path) -> None:
    plain = GanTrainer(config(reconstruct=0.0), pictures, features)
    plain.step()
    trainer = GanTrainer(config(), pictures, features)
    trainer.load_state_dict(plain.state_dict())
    assert trainer.images_seen == plain.images_seen
    assert "rec" in trainer.step()


def test_a_new_discriminator_learns_before_a_finished_generator_moves(pictures: torch.Tensor, features: Path) -> None:
    torch.manual_seed(8)
    finished = Generator(SPEC)
    trainer = GanTrainer(config(), pictures, features)
    trainer.start_from(finished)
    judged = [p.detach().clone() for p in trainer.judge.parameters()]
    trainer.step()
    for (name, mine), theirs in zip(trainer.generator.named_parameters(), finished.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert any(not torch.equal(a, b) for a, b in zip(judged, trainer.judge.parameters(), strict=True))
    trainer.images_seen = JUDGE_FIRST
    trainer.step()
    assert not torch.equal(trainer.generator.layers[0].weight, finished.layers[0].weight)


@pytest.mark.parametrize(
    "changes",
    [{"reconstruct": -1.0}, {"discriminator": "stylegan2"}, {"reconstruct": 0.0, "reconstruct_first": 8}],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="reconstruct"):
        config(**changes)


def test_the_command_starts_from_a_finished_generator(
    pictures: torch.Tensor, features: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k, picture in enumerate(pictures):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{k}.png")
    common = ["train-generator", "--data", folder, "--resolution", 32, "--channels", "8,8,8,8", "--z-dim", 6]
    common += ["--batch", 4, "--features", features, "--w-dim", 8]
    assert run_cli(*common, "--out", tmp_path / "first", "--images", 8, "--reconstruct", 10).code == 0
    file = tmp_path / "first" / "generator.safetensors"
    assert load_generator(file).spec.z_dim == 6
    second = run_cli(*common, "--out", tmp_path / "second", "--images", 8, "--init", file)
    assert second.code == 0
    assert "with a new discriminator" in second.err
    other = run_cli(*common[:-1], 9, "--out", tmp_path / "third", "--init", file)
    assert other.code == 1
    assert "of another geometry" in other.err
    missing = run_cli(*common, "--out", tmp_path / "fourth", "--init", tmp_path / "nothing")
    assert missing.code == 1
    assert "no checkpoint.pt to start from" in missing.err
