"""Two processes on the CPU (gloo): they share the work, agree, stop and resume exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from several_commands import __file__ as RUNNER
from tiny_training import SPEC, write_generator, write_pictures
from torch import Tensor, nn

from padinv.checkpoints import load_generator
from padinv.losses.adversarial import discriminator_loss, gradient_penalty
from padinv.losses.latent import latent_norm
from padinv.losses.pixel import pixel_loss
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.picture_sources import open_pictures
from padinv.training.generator.discriminator_init import discriminator_for
from padinv.training.pictures import Pictures, StepBatches, to_float

BATCH, PROCESSES, SEED = 4, 2, 7


def launch(folder: Path, commands: list[list[str]]) -> list[int]:
    """Run padinv commands in two processes; the exit codes of process 0."""
    (folder / "commands.json").write_text(json.dumps(commands))
    # What `accelerate launch` runs for several GPUs; it has no form of its own for several processes on a CPU.
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(PROCESSES),
        RUNNER,
    ]
    run = subprocess.run(
        [*command, str(folder / "codes.json"), str(folder / "commands.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return list(json.loads((folder / "codes.json").read_text()))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step; three straight; three with a stop after the first; a changed fourth; one with a discriminator."""
    folder = tmp_path_factory.mktemp("two")
    write_generator(folder / "g.safetensors")
    write_pictures(folder / "data.zip")

    def train(out: str, steps: int, *more: str) -> list[str]:
        command = ["train", "--generator", str(folder / "g.safetensors"), "--data", str(folder / "data.zip")]
        command += ["--out", str(folder / out), "--steps", str(steps), "--batch", str(BATCH), "--seed", str(SEED)]
        return [*command, "--arch", "fast", "--per", "0", "--flips", "--ema", "0.9", *more]

    commands = [
        train("one", 1),
        train("straight", 3),
        train("stopped", 3, "--time-limit", "0"),
        train("stopped", 3),
        train("stopped", 3, "--lr", "0.5"),
        train("adversarial", 1, "--adv", "0.03", "--r1-interval", "1"),
    ]
    assert launch(folder, commands) == [0, 0, 130, 0, 2, 0]
    return folder


def checkpoint(run: Path) -> dict:
    return torch.load(run / "checkpoint.pt", weights_only=True)["trainer"]


def by_hand(runs: Path) -> tuple[Encoder, list[tuple[Tensor, Tensor, Tensor]]]:
    """The fresh encoder, and (wp, output, images) of each process's first batch, in this one process."""
    generator = load_generator(runs / "g.safetensors").requires_grad_(False)
    torch.manual_seed(SEED)
    encoder = Encoder.from_generator(generator, EncoderConfig("fast")).train()
    pictures = Pictures(open_pictures(runs / "data.zip"), 32)
    seen, passes = [], []
    for rank in range(PROCESSES):
        items = StepBatches(len(pictures), BATCH, SEED, flips=True, rank=rank, world=PROCESSES).at(0)
        seen += [index for index, _ in items]
        images = to_float(pictures.__getitems__(items).images)
        wp, const, rings = encoder(images)
        passes.append((wp, generator.synthesis(wp, const, rings), images))
    assert len(set(seen)) == BATCH * PROCESSES  # each process had pictures of its own
    return encoder, passes


def assert_gradients(state: dict, module: nn.Module) -> None:
    """Adam's first moments after one step are 0.1 times the module's gradients."""
    parameters = list(module.parameters())
    assert len(state["state"]) == len(parameters)
    scale = max(float(p.grad.abs().max()) for p in parameters if p.grad is not None)
    for index, parameter in enumerate(parameters):
        assert parameter.grad is not None
        assert torch.allclose(state["state"][index]["exp_avg"] / 0.1, parameter.grad, atol=2e-4 * scale)


def test_gradients_are_the_mean_over_both_processes(runs: Path) -> None:
    """After one step Adam's first moment is 0.1 times the gradient; the same gradient, by hand in one process."""
    encoder, passes = by_hand(runs)
    for wp, output, images in passes:
        loss = pixel_loss(output, images) + 0.003 * latent_norm(wp, encoder.w_avg)
        (loss / PROCESSES).backward()
    assert_gradients(checkpoint(runs / "one")["optimizer"], encoder)


def test_the_discriminators_gradient_is_the_mean_too(runs: Path) -> None:
    """Logistic loss and R1 in one backward pass, through DDP for the one and past it for the other."""
    _, passes = by_hand(runs)
    torch.manual_seed(SEED)
    discriminator = discriminator_for(SPEC, None)
    for _, output, images in passes:
        loss = discriminator_loss(discriminator(images), discriminator(output.detach()))
        loss = loss + 5.0 * gradient_penalty(discriminator, images)
        (loss / PROCESSES).backward()
    assert_gradients(checkpoint(runs / "adversarial")["optimizer_d"], discriminator)


def test_images_of_both_processes_count(runs: Path) -> None:
    config = json.loads((runs / "straight" / "config.json").read_text())
    assert config["identity"]["processes"] == 2
    assert config["identity"]["images"] == 3 * BATCH * PROCESSES
    assert checkpoint(runs / "straight")["step"] == 3
    records = [json.loads(line) for line in (runs / "straight" / "metrics.jsonl").read_text().splitlines()]
    assert [r["images"] for r in records] == [24]  # one writer


def test_stopped_and_resumed_equals_never_stopped(runs: Path) -> None:
    straight, stopped = checkpoint(runs / "straight"), checkpoint(runs / "stopped")
    for part in ("encoder", "average"):
        assert all(torch.equal(value, stopped[part][name]) for name, value in straight[part].items())
    for index, state in straight["optimizer"]["state"].items():
        assert all(torch.equal(value, stopped["optimizer"]["state"][index][name]) for name, value in state.items())
