"""Steps: accumulated gradients, checkpointing, compilation, the launcher's settings, the arithmetic of the device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from several_commands import __file__ as RUNNER
from tiny_training import SPEC, write_generator, write_pictures
from torch import Tensor, nn

from padinv.checkpoints import load_encoder, load_generator
from padinv.losses.objective import Objective
from padinv.models.discriminator import Discriminator
from padinv.runtime.errors import UsageError
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.encoder.trainer import EncoderTrainer
from padinv.training.launch import (
    adopt_launcher_settings,
    check_compile,
    check_launcher_settings,
    launcher_settings,
    make_accelerator,
    set_arithmetic,
)
from padinv.training.weight_average import WeightAverage, half_life_decay, ramped_decay

TINY = TrainConfig(arch="fast", images=48, batch=4, lr=1e-3, per=0.0, seed=5)


@pytest.fixture(autouse=True)
def _small(small_networks: None) -> Iterator[None]:
    yield
    set_arithmetic(tf32=False, deterministic=False)


@pytest.fixture
def generator_file(tmp_path: Path) -> Path:
    return write_generator(tmp_path / "g.safetensors")


def trainer_of(config: TrainConfig, generator_file: Path) -> EncoderTrainer:
    discriminator = None
    if config.adv > 0:
        torch.manual_seed(8)
        discriminator = Discriminator(32, SPEC.channels)
    generator = load_generator(generator_file)
    trainer = EncoderTrainer(config, generator, Objective(config.weights), make_accelerator(), discriminator)
    torch.manual_seed(1)
    with torch.no_grad():  # heads start at zero, where most gradients vanish
        for parameter in trainer.raw_encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return trainer


def images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def gradients(trainer: EncoderTrainer, batch: Tensor) -> dict[str, dict[str, Tensor]]:
    """What one step hands to the optimisers."""
    found: dict[str, dict[str, Tensor]] = {}
    optimizers = {"encoder": (trainer.raw_encoder, trainer.optimizer)}
    if trainer.raw_discriminator is not None:
        optimizers["discriminator"] = (trainer.raw_discriminator, trainer.optimizer_d)
    for name, (network, optimizer) in optimizers.items():

        def keep(name: str = name, network: nn.Module = network) -> None:
            found[name] = {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}

        optimizer.step = keep  # type: ignore[method-assign]
    trainer.step(batch)
    return found


def assert_close(one: Mapping[str, Tensor], other: Mapping[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    scale = max(float(value.abs().max()) for value in one.values())
    assert scale > 0
    for name, value in one.items():
        assert float((value - other[name]).abs().max()) <= tolerance * scale, name


def frozen_statistics(trainer: EncoderTrainer) -> EncoderTrainer:
    """Batch statistics are those of each pass, so a comparison of gradients needs them fixed."""
    for module in trainer.raw_encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    if trainer.raw_discriminator is not None:
        # The minibatch standard deviation groups images across the batch; a group of one looks at no other image.
        trainer.raw_discriminator.mbstd_group = 1
    return trainer


@pytest.mark.parametrize("adv", [0.0, 0.1])
def test_accumulated_gradients_are_those_of_the_large_batch(adv: float, generator_file: Path) -> None:
    config = replace(TINY, adv=adv, r1_interval=1)
    batch = images(12)
    large = gradients(frozen_statistics(trainer_of(replace(config, batch=12), generator_file)), batch)
    small = gradients(frozen_statistics(trainer_of(replace(config, accumulate=3), generator_file)), batch)
    assert large.keys() == small.keys() == ({"encoder", "discriminator"} if adv else {"encoder"})
    for name in large:
        assert_close(large[name], small[name], 1e-5 if adv else 1e-6)  # float32 sums of the discriminator


def test_an_accumulated_step_counts_and_reports_all_its_images(generator_file: Path) -> None:
    trainer = frozen_statistics(trainer_of(replace(TINY, accumulate=3, lr=0.0), generator_file))
    values = trainer.step(images(12))
    assert trainer.images_seen == trainer.images_per_step == 12
    parts = [frozen_statistics(trainer_of(replace(TINY, lr=0.0), generator_file)).step(p) for p in images(12).split(4)]
    for name in ("pix", "reg", "total"):
        assert values[name] == pytest.approx(sum(part[name] for part in parts) / 3, rel=1e-5)


def states(trainer: EncoderTrainer) -> dict[str, Tensor]:
    return {name: value.clone().float() for name, value in trainer.raw_encoder.state_dict().items()}


@pytest.mark.parametrize("arch", ["fast", "reference"])
def test_checkpointing_changes_memory_only(arch: str, generator_file: Path) -> None:
    config = replace(TINY, arch=arch, batch=2)
    plain, frugal = (trainer_of(replace(config, checkpointing=flag), generator_file) for flag in (False, True))
    one, other = gradients(plain, images(2)), gradients(frugal, images(2))
    assert_close(one["encoder"], other["encoder"], 1e-5)
    assert_close(states(plain), states(frugal), 1e-6)  # batch statistics were counted once
    from padinv.training.memory_estimate import estimate_memory

    held = 4 * sum(p.numel() for p in plain.raw_encoder.parameters())  # gradients are there either way
    assert estimate_memory(frugal, 0).step - held < 0.7 * (estimate_memory(plain, 0).step - held)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_networks_compute_the_same(backend: str, generator_file: Path) -> None:
    if backend == "inductor" and not shutil.which("g++"):
        pytest.skip("there is no C++ compiler here")
    plain, compiled = (trainer_of(replace(TINY, compile=name), generator_file) for name in ("no", backend))
    if backend == "inductor":
        # With batch statistics, what it generates for the CPU is off by 2e-4 to 4e-4 on every batch tried, and
        # eager float32 by 4e-7 (against float64), whether it sums in float32, in another order, or decomposed.
        plain, compiled = frozen_statistics(plain), frozen_statistics(compiled)
    one, other = gradients(plain, images(4)), gradients(compiled, images(4))
    assert_close(one["encoder"], other["encoder"], 1e-5)
    assert plain.raw_encoder.state_dict().keys() == compiled.raw_encoder.state_dict().keys()


def test_a_missing_compiler_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    torch._dynamo.reset()
    with pytest.raises(
        UsageError, match=r"--compile inductor does not work here .*; install a C\+\+ compiler such as g"
    ):
        check_compile("inductor", torch.device("cpu"))
    with pytest.raises(UsageError, match="--compile cudagraphs needs a CUDA GPU"):
        check_compile("cudagraphs", torch.device("cpu"))
    check_compile("no", torch.device("cpu"))


@pytest.mark.parametrize("extra", [{"checkpointing": True}, {"accumulate": 2, "ema": 0.9}])
def test_a_run_with_options_for_large_models_resumes_exactly(
    extra: dict[str, Any], generator_file: Path, tmp_path: Path
) -> None:
    config = replace(TINY, images=32, **extra)
    options = RunOptions(generator_file, write_pictures(tmp_path / "d.zip"), tmp_path / "a", log_images=8)
    Training(config, options).run()
    stopped = replace(options, out=tmp_path / "b")
    assert Training(config, replace(stopped, time_limit=0.0)).run().images == 4 * config.accumulate
    Training(config, stopped).run()
    one, other = (load_encoder(tmp_path / n / "encoder.safetensors").state_dict() for n in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_discriminators_adam_can_be_rescaled_as_in_the_reference_implementation(generator_file: Path) -> None:
    """There the penalty is applied at every step, and rate and betas are still those of an interval of 16."""
    config = replace(TINY, adv=0.1, lr_d=1e-3, r1_interval=1, lazy_interval_d=16, beta1_d=0.5, beta2_d=0.9)
    group = trainer_of(config, generator_file).optimizer_d.param_groups[0]
    assert group["lr"] == pytest.approx(1e-3 * 16 / 17)
    assert group["betas"] == pytest.approx((0.5 ** (16 / 17), 0.9 ** (16 / 17)))
    eager = trainer_of(replace(config, lazy_interval_d=None), generator_file).optimizer_d.param_groups[0]
    assert (eager["lr"], *eager["betas"]) == pytest.approx((1e-3, 0.5, 0.9))


def test_a_step_waits_for_the_device_once(generator_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `tolist`, `item`, `float` or `bool` of a tensor makes the processor wait; a step has one."""
    config = replace(TINY, adv=0.1, ema=0.9, clip=1.0, accumulate=2)
    trainer = trainer_of(config, generator_file)
    trainer.step(images(8))  # Adam's state is made in the first step
    waits: list[str] = []
    for name in ("tolist", "item", "__float__", "__bool__", "__int__"):
        real = getattr(Tensor, name)

        def counted(self: Tensor, *args: Any, name: str = name, real: Any = real) -> Any:
            if self is not trainer.average.n_averaged:  # type: ignore[union-attr]
                waits.append(name)
            return real(self, *args)

        monkeypatch.setattr(Tensor, name, counted)
    trainer.step(images(8))
    assert waits == ["tolist"]


# -- the weight average ------------------------------------------------------------------------------------------------


def test_the_average_is_the_exponential_one_and_loads_torchs_state() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(network, average_buffers=False)
    other = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
    assert average.state_dict().keys() == other.state_dict().keys()
    expected = network[0].weight.detach().clone()
    for _ in range(3):
        with torch.no_grad():
            network[0].weight.add_(1)
            network[1].running_mean.add_(1)
        average.follow(network, 0.75)
        expected = 0.75 * expected + 0.25 * network[0].weight
    assert torch.allclose(average.module[0].weight, expected)
    assert torch.equal(average.module[1].running_mean, network[1].running_mean)
    assert average.steps == 3
    assert ramped_decay(0.9, 0) == pytest.approx(0.1)
    assert ramped_decay(0.9, 1000) == 0.9
    assert half_life_decay(50, 100) ** 2 == pytest.approx(0.5)


# -- the launcher ------------------------------------------------------------------------------------------------------


def test_what_accelerate_launch_is_told_is_adopted_or_refused() -> None:
    environment = {
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
        "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
    }
    found, reasons = adopt_launcher_settings({"lr": 1.0, "mixed_precision": None}, environment)
    assert found == {"lr": 1.0, "mixed_precision": "bf16", "accumulate": 4, "compile": "inductor"}
    assert set(reasons) == {"mixed_precision", "accumulate", "compile"}
    with pytest.raises(
        UsageError, match=r"--accumulate 2 contradicts accelerate launch's --gradient_accumulation_steps 4"
    ):
        adopt_launcher_settings({"accumulate": 2}, environment)
    assert adopt_launcher_settings({"accumulate": 4}, environment)[0]["accumulate"] == 4
    neutral = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO", "ACCELERATE_USE_FSDP": "false"}
    assert launcher_settings(neutral) == {}
    assert adopt_launcher_settings({"mixed_precision": "bf16"}, neutral)[0] == {"mixed_precision": "bf16"}
    for variable, what in (("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"), ("ACCELERATE_USE_FSDP", "FSDP")):
        with pytest.raises(UsageError, match=f"asks for {what}, which padinv does not have"):
            launcher_settings({variable: "true"})
    several = {"_PADINV_LAUNCHER_PROCESSES": "2"}
    with pytest.raises(UsageError, match="was told --num_processes 2, but it started one process"):
        launcher_settings(several)
    assert launcher_settings({**several, "WORLD_SIZE": "2"}) == {}
    with pytest.raises(UsageError, match="the configuration has mixed_precision = 'no'"):
        check_launcher_settings(TINY, {"ACCELERATE_MIXED_PRECISION": "bf16"})
    check_launcher_settings(replace(TINY, mixed_precision="bf16"), {"ACCELERATE_MIXED_PRECISION": "bf16"})


def test_arithmetic_is_set_and_not_left_to_torch() -> None:
    set_arithmetic(tf32=True, deterministic=True)
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    set_arithmetic(tf32=False, deterministic=False)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.benchmark


def test_a_device_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="there is no device 'nonsense' here"):
        make_accelerator("no", "nonsense")
    assert make_accelerator("no", "cpu").device.type == "cpu"


LAUNCH = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]


def test_accelerate_launch_is_obeyed_for_real(generator_file: Path, tmp_path: Path) -> None:
    """The launcher itself, with its flags and two processes, which train, refuse and resume together."""
    data = write_pictures(tmp_path / "d.zip")
    train = ["train", "--generator", str(generator_file), "--data", str(data), "--arch", "fast", "--per", "0"]
    train += ["--batch", "2", "--steps", "2", "--out"]
    commands = [
        [*train, str(tmp_path / "run")],
        [*train, str(tmp_path / "run")],
        [*train, str(tmp_path / "refused"), "--accumulate", "3"],
        [*train, str(tmp_path / "refused"), "--mixed-precision", "no"],
        [*train, str(tmp_path / "refused"), "--device", "cpu:1"],
    ]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    flags = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    flags += ["--gradient_accumulation_steps", "4", "--mixed_precision", "bf16"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path)}
    files = [str(tmp_path / "codes.json"), str(tmp_path / "commands.json")]
    run = subprocess.run(
        [*LAUNCH, *flags, RUNNER, *files], env=environment, capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads((tmp_path / "codes.json").read_text()) == [0, 0, 2, 2, 2]
    identity = json.loads((tmp_path / "run" / "config.json").read_text())["identity"]
    assert (identity["accumulate"], identity["mixed_precision"], identity["processes"]) == (4, "bf16", 2)
    assert identity["images"] == 2 * 2 * 4 * 2  # steps, batch, passes, processes
    assert "--accumulate 3 contradicts accelerate launch's --gradient_accumulation_steps 4" in run.stderr
    assert "--mixed-precision no contradicts accelerate launch's --mixed_precision bf16" in run.stderr
    assert not (tmp_path / "refused").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {"accumulate": 1, "mixed_precision": "no"}),
        (["--mixed_precision", "bf16"], {"accumulate": 1, "mixed_precision": "bf16"}),
        (["--gradient_accumulation_steps", "3"], {"accumulate": 3, "mixed_precision": "no"}),
        (["--dynamo_backend", "aot_eager"], {"compile": "aot_eager"}),
        (["--mixed_precision", "fp16"], "mixed precision 'fp16' is not possible here: it needs a GPU"),
        (["--mixed_precision", "fp8"], "mixed_precision is one of no, bf16, fp16, not 'fp8'"),
        (["--cpu"], "was told --num_processes 2, but it started one process"),
    ],
)
def test_accelerate_launches_two_processes(
    flags: list[str], expected: dict[str, Any] | str, generator_file: Path, tmp_path: Path
) -> None:
    """Every precision and accumulation flag, on a machine without GPU."""
    data = write_pictures(tmp_path / "d.zip")
    command = [*LAUNCH, "--num_processes", "2"]
    command += ["--num_machines", "1", "--main_process_port", "0", *([] if "--cpu" in flags else ["--multi_gpu"])]
    command += [*flags, "-m", "padinv.cli.main", "train", "--generator", str(generator_file), "--data", str(data)]
    command += ["--out", str(tmp_path / "run"), "--arch", "fast", "--per", "0", "--batch", "2", "--steps", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    if isinstance(expected, str):
        assert run.returncode != 0
        assert expected in run.stderr
        return
    assert run.returncode == 0, run.stderr[-2000:]
    identity = json.loads((tmp_path / "run" / "config.json").read_text())["identity"]
    assert expected.items() <= identity.items()
    assert (identity["processes"], identity["images"]) == (2, 2 * 2 * 2 * identity["accumulate"])
