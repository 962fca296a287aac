"""Iterative encoding in torch: the passes, what a single-pass encoder brings, the gradients of a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import lively_encoder, lively_generator
from tiny_training import write_generator, write_pictures
from torch import Tensor

from padinv.checkpoints import load_encoder, load_generator
from padinv.losses.objective import Objective
from padinv.models.encoder import Encoder, EncoderConfig, shared_weights
from padinv.models.passes import run_passes
from padinv.runtime.errors import UsageError
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.encoder.trainer import EncoderTrainer
from padinv.training.launch import make_accelerator
from padinv.training.validation import errors

pytestmark = pytest.mark.usefixtures("small_networks")

THREE = EncoderConfig("fast", refinements=3, feedback="error")


def faces(count: int = 2, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(4)) * 2 - 1


def test_passes_agree_with_the_recurrence_in_float64() -> None:
    """On linear networks: z_t = A x + B e_t, y_t = C z_t, e_{t+1} = e_t + x - y_t."""
    random = np.random.default_rng(0)
    a, b, c = random.normal(size=(5, 12)), random.normal(size=(5, 12)), random.normal(size=(12, 5)) / 9
    x = random.normal(size=(3, 12))
    error, wanted = np.zeros_like(x), []
    for _ in range(4):
        z = x @ a.T + error @ b.T
        wanted.append((z, z @ c.T))
        error = error + x - z @ c.T

    def encode(image: Tensor, error: Tensor) -> tuple[Tensor, None, None]:
        return image.flatten(1) @ torch.tensor(a.T) + error.flatten(1) @ torch.tensor(b.T), None, None

    found = list(
        run_passes(
            encode, lambda z, *_: (z @ torch.tensor(c.T)).reshape(-1, 3, 2, 2), torch.tensor(x).reshape(3, 3, 2, 2), 4
        )
    )
    assert len(found) == 4
    for (latents, output), (z, y) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(latents[0].numpy(), z, atol=1e-12)
        np.testing.assert_allclose(output.flatten(1).numpy(), y, atol=1e-12)


@pytest.mark.parametrize("architecture", ["fast", "reference"])
def test_the_first_pass_is_the_single_pass_encoder_and_the_next_use_the_error(architecture: str) -> None:
    generator = lively_generator()
    single = lively_encoder(generator, EncoderConfig(architecture))
    several = lively_encoder(generator, EncoderConfig(architecture, refinements=3, feedback="error"), seed=9)
    shared = shared_weights(single, several)
    assert {n for n in several.state_dict() if not n.startswith("generator.")} == set(shared)
    several.load_state_dict({**several.state_dict(), **shared})
    image = faces()
    with torch.no_grad():
        wanted, first, all_three = single(image), several(image, passes=1), several(image)
    assert torch.equal(first[0], wanted[0])
    assert torch.equal(first[1], wanted[1])
    assert all(torch.equal(first[2][r], wanted[2][r]) for r in wanted[2])
    assert not torch.allclose(all_three[0], first[0])


def test_what_cannot_be_run_is_refused() -> None:
    generator = lively_generator()
    single, several = (lively_encoder(generator, config) for config in (EncoderConfig("fast"), THREE))
    with pytest.raises(UsageError, match="up to 1 passes"):
        single(faces(), passes=2)
    with pytest.raises(UsageError, match="up to 3 passes"):
        several(faces(), passes=4)
    with pytest.raises(UsageError, match="single pass"):
        single(faces(), faces())
    with pytest.raises(UsageError, match="without padding"):
        EncoderConfig("fast", refinements=2)
    with pytest.raises(UsageError, match="feedback"):
        EncoderConfig("fast", refinements=2, feedback="latents")
    assert EncoderConfig.from_dict(THREE.to_dict()) == THREE
    assert "feedback" not in EncoderConfig("fast").to_dict()


def test_a_step_sums_the_gradients_of_detached_passes(tmp_path: Path) -> None:
    config = TrainConfig(arch="fast", passes=3, images=8, batch=4, per=0.0, reg=0.0, lr=1e-3)
    generator = load_generator(write_generator(tmp_path / "g.safetensors"))
    trainer = EncoderTrainer(config, generator, Objective(config.weights), make_accelerator())
    encoder = trainer.raw_encoder
    with torch.no_grad():
        for weight in (w for w in encoder.parameters() if w.requires_grad):
            weight.add_(torch.randn_like(weight) * 0.02)
    before = {name: weight.clone() for name, weight in encoder.generator.state_dict().items()}
    images = (faces(4) * 127.5 + 127.5).to(torch.uint8)
    real = images.float() / 127.5 - 1
    copy = Encoder(encoder.spec, encoder.config)
    copy.load_state_dict(encoder.state_dict())
    copy.train()
    error, losses = torch.zeros_like(real), []
    for _ in range(3):
        output = generator.synthesis(*copy(real, error))
        losses.append((output - real).square().mean())
        error = (error + real - output).detach()
    trained = {name: weight for name, weight in copy.named_parameters() if weight.requires_grad}
    wanted = dict(zip(trained, torch.autograd.grad(sum(losses) / 3, list(trained.values())), strict=True))
    found: dict[str, Tensor] = {}
    step = trainer.optimizer.step

    def keep() -> None:
        found.update({n: w.grad.clone() for n, w in encoder.named_parameters() if w.grad is not None})
        step()

    trainer.optimizer.step = keep
    terms = trainer.step(images)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)
    assert [terms[n] for n in ("pix_pass1", "pix_pass2", "pix")] == pytest.approx([x.item() for x in losses], rel=1e-5)
    assert all(torch.equal(before[name], weight) for name, weight in encoder.generator.state_dict().items())


def test_validation_measures_every_pass() -> None:
    generator = lively_generator()
    encoder = lively_encoder(generator, THREE)
    images = (faces(3) * 127.5 + 127.5).to(torch.uint8)
    found = errors(encoder, generator, images, None)
    real = images.float() / 127.5 - 1
    for name, passes in (("mse_pass1", 1), ("mse_pass2", 2), ("mse", 3)):
        with torch.no_grad():
            output = generator.synthesis(*encoder(real, passes=passes)).clamp(-1, 1)
        torch.testing.assert_close(found[name], (output - real).square().mean(dim=(1, 2, 3)))


def test_a_run_in_passes_starts_from_a_single_pass_and_resumes_exactly(tmp_path: Path) -> None:
    generator, data = write_generator(tmp_path / "g.safetensors"), write_pictures(tmp_path / "train.zip")
    short = {"arch": "fast", "batch": 4, "per": 0.0, "lr": 1e-3, "ema": 0.9, "padding_dropout": 0.3}

    def run(out: str, images: int, **more: object) -> Path:
        settings = {**short, "images": images, **{k: v for k, v in more.items() if k != "init"}}
        options = RunOptions(generator, data, tmp_path / out, data, init=more.get("init"), val_count=4, save_minutes=60)
        Training(TrainConfig(**settings), options).run()
        return tmp_path / out

    single = run("single", 8)
    whole = run("whole", 16, passes=2, init=single)
    parts = run("parts", 8, passes=2, init=single)
    run("parts", 16, passes=2, init=single)
    encoders = [load_encoder(folder / "encoder.safetensors") for folder in (whole, parts)]
    assert encoders[0].config.passes == 2
    for a, b in zip(encoders[0].state_dict().values(), encoders[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)
