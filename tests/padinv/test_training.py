"""Encoder training on a tiny model: exact resume, stopping, divergence, the discriminator, the run folder."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import SPEC, write_generator, write_pictures
from torch import Tensor

from padinv.checkpoints import load_encoder, load_generator
from padinv.losses.objective import Objective
from padinv.models.encoder import Encoder
from padinv.runtime.errors import InputError, MismatchError, OutputError, UsageError
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.encoder.trainer import DivergenceError, EncoderTrainer
from padinv.training.launch import make_accelerator
from padinv.training.loop import Outcome
from padinv.training.memory_estimate import LiveBytes
from padinv.training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("small_networks")

TINY = TrainConfig(arch="fast", images=32, batch=4, lr=1e-3, ema=0.9, per=0.0, flips=True, seed=5)


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    generator = write_generator(tmp_path / "g.safetensors")
    return RunOptions(generator, write_pictures(tmp_path / "data.zip"), tmp_path / "run", eval_images=16, log_images=8)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A nested state as one mapping from path to leaf."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)  # type: ignore[assignment]
    else:
        return {name: value}
    return {path: leaf for key, part in items for path, leaf in flat(part, f"{name}/{key}").items()}


def assert_same_state(a: Path, b: Path) -> None:
    """Two checkpoints hold the same bits."""
    one, other = (flat(torch.load(path / "checkpoint.pt", weights_only=True)) for path in (a, b))
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
        assert same, name


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """Send this process a signal when it ends its `steps`-th step."""
    step = EncoderTrainer.step
    count = 0

    def counted(self: EncoderTrainer, images: Tensor) -> dict[str, float]:
        nonlocal count
        count += 1
        values = step(self, images)
        if count == steps:
            os.kill(os.getpid(), number)
        return values

    monkeypatch.setattr(EncoderTrainer, "step", counted)


VARIANTS = {
    "plain": TINY,
    "bf16, cosine, warm-up, clipped": replace(TINY, mixed_precision="bf16", schedule="cosine", warmup=12, clip=0.5),
    "no average": replace(TINY, ema=0.0, const=False),
    "with a discriminator": replace(TINY, adv=0.03, r1_interval=3, lr_d=1e-3),
}


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_stopped_and_resumed_equals_never_stopped(
    variant: str, options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = VARIANTS[variant]
    if config.adv:
        write_generator(options.generator, discriminator=True)
    straight = Training(config, replace(options, out=tmp_path / "straight")).run()
    assert straight == Outcome("finished", 32)
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        torch.manual_seed(99)  # what the process drew before must not matter
        first = Training(config, options).run()
    assert first == Outcome("interrupted", 12)
    torch.rand(7)
    assert Training(config, options).run() == Outcome("finished", 32)
    assert_same_state(tmp_path / "straight", options.out)
    a, b = (load_encoder(p / "encoder.safetensors").state_dict() for p in (tmp_path / "straight", options.out))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_random_draws_inside_a_step_resume_too(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a step draws from torch's generator depends on seed, step and process alone."""
    draws: list[float] = []
    step = EncoderTrainer.step

    def drawing(self: EncoderTrainer, images: Tensor) -> dict[str, float]:
        draws.append(float(torch.rand(())))
        return step(self, images)

    monkeypatch.setattr(EncoderTrainer, "step", drawing)
    Training(TINY, replace(options, out=options.out / "a")).run()
    straight, draws[:] = list(draws), []
    assert len(set(straight)) == 8
    with monkeypatch.context() as patch:
        stop_after(5, patch, signal.SIGINT)
        Training(TINY, replace(options, out=options.out / "b")).run()
    Training(TINY, replace(options, out=options.out / "b")).run()
    assert draws == straight


def test_training_learns(options: RunOptions, tmp_path: Path) -> None:
    """Overfitting a few samples of the generator itself brings the loss well below the average picture's."""
    generator = load_generator(options.generator)
    from padinv.training.pictures import to_image

    folder = tmp_path / "samples"
    folder.mkdir()
    with torch.no_grad():
        images = generator(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)) * 2)
        images = images / images.abs().amax()
    for k, image in enumerate(images):
        to_image(image).save(folder / f"{k}.png")
    config = replace(TINY, images=8 * 60, batch=8, lr=3e-3, flips=False, reg=0.0)
    Training(config, replace(options, data=folder)).run()
    records = [json.loads(line) for line in (options.out / "metrics.jsonl").read_text().splitlines()]
    losses = [r["pix"] for r in records if r["kind"] == "train"]
    assert losses[-1] < 0.35 * losses[0]


def test_the_run_folder_holds_what_is_promised(options: RunOptions) -> None:
    options = replace(options, val=options.data, val_count=5, preset="faces64")
    Training(TINY, options).run({"lr": "asked for"})
    names = {path.name for path in options.out.iterdir()}
    assert names >= {"config.json", "generator.safetensors", "encoder.safetensors", "checkpoint.pt", "metrics.jsonl"}
    assert [p.name for p in sorted((options.out / "samples").iterdir())] == ["000000016.png", "000000032.png"]
    assert list((options.out / "tensorboard").iterdir())
    config = json.loads((options.out / "config.json").read_text())
    assert config["identity"]["lr"] == 1e-3
    assert config["reasons"] == {"lr": "asked for"}
    assert config["inputs"]["pictures"] == 13
    records = [json.loads(line) for line in (options.out / "metrics.jsonl").read_text().splitlines()]
    assert [r["images"] for r in records if r["kind"] == "train"] == [8, 16, 24, 32]
    assert {"pix", "reg", "total", "lr"} <= set(records[0])
    assert [r["images"] for r in records if r["kind"] == "val"] == [16, 32]
    encoder = load_encoder(options.out / "encoder.safetensors")
    generator = load_generator(options.out / "generator.safetensors")
    assert torch.equal(encoder.w_avg, generator.w_avg)
    # The figure in the log is what anyone gets who loads the two files.
    from padinv.picture_sources import open_pictures
    from padinv.training.pictures import Pictures
    from padinv.training.validation import evaluate

    pictures = Pictures(open_pictures(options.data), 32)
    images = torch.stack([pictures[k] for k in range(5)])
    assert evaluate(encoder, generator, images, None)["mse"] == pytest.approx(records[-1]["mse"], rel=1e-4)


def test_a_finished_run_is_not_trained_again(options: RunOptions) -> None:
    Training(TINY, options).run()
    before = (options.out / "checkpoint.pt").stat().st_mtime_ns
    assert Training(TINY, options).run() == Outcome("finished", 32)
    assert (options.out / "checkpoint.pt").stat().st_mtime_ns == before


def test_a_changed_configuration_is_refused_with_the_difference(options: RunOptions, tmp_path: Path) -> None:
    Training(TINY, options).run()
    before = (options.out / "config.json").read_bytes()
    with pytest.raises(UsageError) as error:
        Training(replace(TINY, lr=5e-4, padding=False), options).run()
    assert "lr 0.001 -> 0.0005" in str(error.value)
    assert "padding True -> False" in str(error.value)
    assert "use a new --out" in str(error.value)
    other = write_pictures(tmp_path / "other.zip", count=9)
    with pytest.raises(UsageError, match="pictures "):
        Training(TINY, replace(options, data=other)).run()
    assert (options.out / "config.json").read_bytes() == before


def test_a_run_at_a_constant_rate_may_be_made_longer(options: RunOptions, tmp_path: Path) -> None:
    Training(replace(TINY, images=16), options).run()
    assert Training(TINY, options).run() == Outcome("finished", 32)
    Training(TINY, replace(options, out=tmp_path / "straight")).run()
    assert_same_state(tmp_path / "straight", options.out)
    cosine = replace(TINY, schedule="cosine", images=16)
    Training(cosine, replace(options, out=tmp_path / "cosine")).run()
    with pytest.raises(UsageError, match="images 16 -> 32"):
        Training(replace(cosine, images=32), replace(options, out=tmp_path / "cosine")).run()


def test_the_time_limit_saves_and_stops(options: RunOptions) -> None:
    assert Training(TINY, replace(options, time_limit=0.0)).run() == Outcome("time limit", 4)
    assert Training(TINY, options).run() == Outcome("finished", 32)


def test_checkpoints_come_by_the_clock(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = RunFolder.save_checkpoint

    def counting(self: RunFolder, state: dict[str, Any]) -> None:
        saved.append(state["trainer"]["step"])
        save(self, state)

    monkeypatch.setattr(RunFolder, "save_checkpoint", counting)
    Training(TINY, replace(options, save_minutes=0.0)).run()
    assert saved == [1, 2, 3, 4, 5, 6, 7, 8]


def test_metrics_of_lost_steps_are_dropped(options: RunOptions) -> None:
    Training(TINY, replace(options, time_limit=0.0)).run()
    with open(options.out / "metrics.jsonl", "a") as file:  # written by steps that no checkpoint knows
        file.write('{"kind": "train", "images": 24, "pix": 9.0}\n{"kind": "tra')
    Training(TINY, options).run()
    records = [json.loads(line) for line in (options.out / "metrics.jsonl").read_text().splitlines()]
    assert [r["images"] for r in records] == [8, 16, 24, 32]
    assert all(r["pix"] < 9 for r in records)


@pytest.mark.parametrize("term", ["pix", "reg"])
def test_a_loss_that_is_not_finite_names_the_term(
    term: str, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = Objective.terms
    calls = 0

    def broken(self: Objective, *args: Any, **more: Any) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        values = terms(self, *args, **more)
        return values if calls < 3 else {**values, term: values[term] * float("nan")}

    monkeypatch.setattr(Objective, "terms", broken)
    with pytest.raises(DivergenceError, match=f"the loss term '{term}' became nan after 8 images"):
        Training(TINY, replace(options, save_minutes=0.0)).run()
    state = torch.load(options.out / "checkpoint.pt", weights_only=True)["trainer"]
    assert state["step"] == 2
    assert all(torch.isfinite(v).all() for v in state["encoder"].values())


def test_a_gradient_that_is_not_finite_stops_too(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The square root at zero: a finite loss whose gradient is not."""
    monkeypatch.setattr("padinv.losses.objective.latent_norm", lambda wp, w_avg: (wp[0, 0, 0] - wp[0, 0, 0]).sqrt() * 0)
    with pytest.raises(DivergenceError, match="the gradient's 'norm' became nan"):
        Training(replace(TINY, clip=1.0), options).run()


def test_damaged_run_folders_are_one_sentence(options: RunOptions, tmp_path: Path) -> None:
    Training(TINY, replace(options, time_limit=0.0)).run()
    checkpoint = options.out / "checkpoint.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged.*--init"):
        Training(TINY, options).run()
    torch.save({"format": 99}, checkpoint)
    with pytest.raises(InputError, match="update padinv"):
        Training(TINY, options).run()
    torch.save({"format": 1, "trainer": {"step": 3}}, checkpoint)
    with pytest.raises(MismatchError, match="does not fit this training"):
        Training(TINY, options).run()
    (options.out / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        Training(TINY, options).run()
    file = tmp_path / "file"
    file.write_text("here")
    with pytest.raises(OutputError, match="is a file"):
        Training(TINY, replace(options, out=file)).run()
    assert file.read_text() == "here"
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.doc").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        Training(TINY, replace(options, out=full)).run()
    assert [p.name for p in full.iterdir()] == ["thesis.doc"]


def test_two_trainings_do_not_share_a_folder(options: RunOptions) -> None:
    folder = RunFolder(options.out)
    folder.create()
    with folder.locked(), pytest.raises(UsageError, match="another training is at work"):
        Training(TINY, options).run()
    assert Training(TINY, options).run().ending == "finished"


def test_starting_from_another_encoders_weights(options: RunOptions, tmp_path: Path) -> None:
    Training(TINY, options).run()
    longer = replace(options, out=tmp_path / "second", init=options.out, time_limit=0.0)
    training = Training(replace(TINY, lr=0.0), longer)
    training.run()
    first = load_encoder(options.out / "encoder.safetensors").state_dict()
    second = load_encoder(tmp_path / "second" / "encoder.safetensors").state_dict()
    assert all(torch.equal(first[n], second[n]) for n, _ in Encoder(SPEC, TINY.encoder).named_parameters())
    without = replace(TINY, padding=False, lr=0.0)
    Training(without, replace(longer, out=tmp_path / "third")).run()  # what the two have in common
    third = load_encoder(tmp_path / "third" / "encoder.safetensors").state_dict()
    assert all(torch.equal(first[n], third[n]) for n, _ in Encoder(SPEC, without.encoder).named_parameters())
    with pytest.raises(MismatchError, match="another kind"):
        Training(replace(TINY, arch="reference"), replace(longer, out=tmp_path / "fourth")).run()


def step_once(config: TrainConfig, options: RunOptions, mutate: Callable[[EncoderTrainer], None] | None = None) -> Any:
    training = Training(config, options)
    trainer = training.trainer
    if mutate:
        mutate(trainer)
    images = next(training._batches(training._load_pictures()))
    return trainer, trainer.step(images)


def test_only_the_encoder_is_trained(options: RunOptions) -> None:
    before = load_generator(options.generator).state_dict()
    trainer, _ = step_once(TINY, options)
    assert all(torch.equal(v, before[k]) for k, v in trainer.generator.state_dict().items())
    assert all(p.grad is None for p in trainer.generator.parameters())
    assert not trainer.generator.training


def test_the_discriminator_learns_and_pulls(options: RunOptions) -> None:
    """With `adv` the encoder's gradient gains the discriminator's part, and the discriminator itself takes a step."""
    write_generator(options.generator, discriminator=True)
    config = replace(TINY, adv=0.5, r1_interval=1)
    training = Training(config, options)
    trainer = training.trainer
    assert trainer.raw_discriminator is not None
    before = {k: v.clone() for k, v in trainer.raw_discriminator.state_dict().items()}
    values = trainer.step(next(training._batches(training._load_pictures())))
    assert {"adv", "d", "r1"} <= set(values)
    assert values["r1"] > 0
    changed = [not torch.equal(v, before[k]) for k, v in trainer.raw_discriminator.named_parameters()]
    assert all(changed)
    # The encoder's step left no gradient in the discriminator: frozen, its own loss alone moved it.
    lazy = replace(config, r1_interval=4)
    trainer, values = step_once(lazy, replace(options, out=options.out / "lazy"))
    assert "r1" in values  # the first step has the penalty
    assert "r1" not in trainer.step(torch.zeros(4, 3, 32, 32, dtype=torch.uint8))


def test_a_missing_discriminator_is_made(options: RunOptions) -> None:
    messages: list[str] = []

    class Listener:
        def message(self, text: str) -> None:
            messages.append(text)

        def start(self, done: int, total: int) -> None: ...
        def advance(self, done: int, terms: Any) -> None: ...
        def finish(self) -> None: ...

    training = Training(replace(TINY, adv=0.1), options, Listener())
    assert training.trainer.raw_discriminator is not None
    assert any("holds no discriminator" in text for text in messages)


def test_missing_parts_are_named_before_anything_is_written(options: RunOptions) -> None:
    with pytest.raises(InputError, match=r"--id 0 leaves it out.*padinv fetch arcface.*--face-weights"):
        Training(replace(TINY, id=0.1), options)
    with pytest.raises(InputError, match=r"nowhere\.pth does not exist"):
        Training(replace(TINY, per=0.8), replace(options, lpips_weights=Path("nowhere.pth")))
    with pytest.raises(InputError, match="does not exist"):
        Training(TINY, replace(options, data=Path("nowhere")))
    with pytest.raises(UsageError, match="mixed precision 'fp16' is not possible here"):
        Training(replace(TINY, mixed_precision="fp16"), options)
    assert not options.out.exists()


def test_the_average_follows_the_weights(options: RunOptions) -> None:
    """After n steps the decay is (1 + n) / (10 + n), at most the configured one."""
    generator = load_generator(options.generator)
    config = replace(TINY, ema=0.5)
    trainer = EncoderTrainer(config, generator, Objective({"pix": 1.0}), make_accelerator("no"))
    name = "body.codes.weight"
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    expected = None
    for n in range(8):
        trainer.step(images)
        current = trainer.raw_encoder.state_dict()[name].clone()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = current if n == 0 else expected.lerp(current, 1 - decay)
        assert torch.allclose(trainer.evaluated_encoder.state_dict()[name], expected, atol=1e-7)
    assert trainer.evaluated_encoder is not trainer.raw_encoder


@pytest.mark.parametrize("variant", ["plain", "bf16, cosine, warm-up, clipped", "with a discriminator"])
def test_the_expected_memory_is_what_a_step_keeps(variant: str, options: RunOptions) -> None:
    """The estimate runs on shapes alone; a real step under the same meter must keep as many bytes."""
    write_generator(options.generator, discriminator=True)
    training = Training(replace(VARIANTS[variant], batch=6), options)
    trainer = training.trainer
    before = [p.clone() for p in trainer.raw_encoder.parameters()]
    estimate = training.memory()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.raw_encoder.parameters(), strict=True))
    count = sum(p.numel() for p in trainer.raw_encoder.parameters())
    if trainer.raw_discriminator is not None:
        count += sum(p.numel() for p in trainer.raw_discriminator.parameters())
    assert estimate.optimizer == 8 * count
    assert estimate.pictures == 13 * 3 * 32 * 32
    images = next(training._batches(training._load_pictures()))
    with LiveBytes() as meter:
        trainer.step(images)
    state = estimate.optimizer  # made in the first step, and counted for itself
    assert meter.peak - state == pytest.approx(estimate.step, rel=0.2)
    doubled = Training(replace(VARIANTS[variant], batch=12), replace(options, out=options.out / "b")).memory()
    assert doubled.step == pytest.approx(2 * estimate.step, rel=0.2)


def test_live_bytes_are_counted_while_they_live() -> None:
    with LiveBytes() as meter:
        a = torch.ones(1000)
        b = a[10:].view(-1)
        b.add_(1)
        assert meter.now == 4000
        c = a * 2
        assert (meter.now, meter.peak) == (8000, 8000)
        del a, b
        assert (meter.now, meter.peak) == (4000, 8000)
        del c
        assert (meter.now, meter.peak) == (0, 8000)


def test_schedules() -> None:
    constant = TrainConfig(images=1000, lr=1.0)
    assert {constant.rate_at(n) for n in (0, 500, 999)} == {1.0}
    cosine = TrainConfig(images=1000, lr=1.0, schedule="cosine", warmup=100)
    assert cosine.rate_at(0) == pytest.approx(0.01)
    assert cosine.rate_at(500) == pytest.approx(0.5)
    assert cosine.rate_at(1000) == pytest.approx(0.0, abs=1e-12)
    rates = [cosine.rate_at(n) for n in range(100, 1000)]
    assert rates == sorted(rates, reverse=True)
