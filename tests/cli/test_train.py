"""`padinv train` from the outside: presets, the dry run, stopping by signal, messages and exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from json_document import json_document
from lpips_reference import made_up_weights
from tiny_training import write_generator, write_pictures

from padinv.checkpoints import load_encoder, load_generator
from padinv.runtime.errors import UsageError
from padinv.training.encoder.config import PRESETS, TrainConfig, read_preset, resolve


@pytest.fixture
def base(tmp_path: Path) -> list[str]:
    """A command that trains a tiny encoder in a moment."""
    generator = write_generator(tmp_path / "g.safetensors")
    data = write_pictures(tmp_path / "data.zip")
    command = ["train", "--generator", str(generator), "--data", str(data), "--out", str(tmp_path / "run")]
    return [*command, "--arch", "fast", "--batch", "4", "--per", "0"]


def test_presets_are_the_papers_with_a_reason_each() -> None:
    for name in PRESETS:
        settings = read_preset(name)
        assert all(len(reason) > 10 for _, reason in settings.values())
        # Every value says whose it is.
        assert all(re.match("paper, |reference implementation: |padinv: ", reason) for _, reason in settings.values())
        config, reasons = resolve(name, {"lr": 2e-4, "batch": None})
        assert config.lr == 2e-4
        assert reasons["lr"] == "asked for"
        assert reasons["batch"] == settings["batch"][1]
    ffhq, church, bedroom, *small = (resolve(name, {})[0] for name in PRESETS)
    for paper in (ffhq, church, bedroom):
        assert (paper.arch, paper.lr, paper.beta1, paper.beta2) == ("reference", 1e-4, 0.9, 0.999)
        assert (paper.images, paper.batch, paper.schedule) == (6_400_000, 8, "constant")
        assert (paper.pix, paper.per, paper.reg, paper.lpips) == (1.0, 0.8, 0.003, "alex")
    assert (ffhq.id, ffhq.adv, ffhq.flips) == (0.1, 0.0, True)
    assert (church.id, church.adv, church.flips, church.r1_gamma) == (0.0, 0.03, False, 10.0)
    assert bedroom == church
    assert small
    for faces in small:
        assert (faces.arch, faces.id, faces.lpips, faces.mixed_precision) == ("fast", 0.0, "squeeze", "bf16")


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong, message in (
        ({"lr": -1.0}, "lr must be a number from 0 up"),
        ({"lr": float("nan")}, "lr must be a number"),
        ({"ema": 1.0}, "ema must be at least 0 and below 1"),
        ({"arch": "huge"}, "arch is one of reference, fast"),
        ({"pix": 0.0, "per": 0.0}, "nothing would tie the output"),
        ({"depth": 3}, "no training setting 'depth'"),
    ):
        with pytest.raises(UsageError, match=message):
            resolve(None, wrong)
    assert TrainConfig(pad_resolutions=[4, 8]).to_dict()["pad_resolutions"] == [4, 8]  # type: ignore[arg-type]


def test_another_architecture_leaves_the_presets_size_behind() -> None:
    assert resolve("faces128", {})[0].size == "medium"
    assert resolve("faces128", {"arch": "fast"})[0].size == "medium"
    for arch in ("reference", "timm:resnet18"):
        assert resolve("faces128", {"arch": arch})[0].size is None
    with pytest.raises(UsageError, match="belongs to the fast architecture"):
        _ = resolve("faces128", {"arch": "reference", "size": "small"})[0].encoder


def test_choices_are_those_of_the_modules_that_have_them() -> None:
    """Restated in a module without torch, so that `--help` is fast."""
    from padinv.losses.adversarial import FORMS
    from padinv.losses.backbones import BACKBONES
    from padinv.models.encoder import ARCHITECTURES
    from padinv.models.fast_encoder import SIZES
    from padinv.training.encoder import config

    assert tuple(BACKBONES) == config.BACKBONES
    assert FORMS == config.FORMS
    assert ARCHITECTURES == config.ARCHITECTURES
    assert tuple(SIZES) == config.SIZES


def test_every_setting_is_an_option_with_its_help_and_default(run_cli: Callable) -> None:
    text = " ".join(run_cli("train", "--help").out.split())
    for part in dataclasses.fields(TrainConfig):
        option = f"--{part.name.replace('_', '-')}"
        assert option in text, option
        assert " ".join(part.metadata["help"].split())[:25] in text.replace("- ", "-"), option
    assert "--const / --no-const" in text or "--const/--no-const" in text or "--no-const" in text
    assert "[default: 0.0001]" in text


def test_options_reach_the_configuration(base: list[str], run_cli: Callable) -> None:
    options = ["--no-const", "--lr-d", "0.5", "--beta1", "0.25", "--beta2-d", "0.75", "--r1-interval", "1"]
    options += ["--lazy-interval-d", "16", "--no-flips", "--pad-resolutions", "4,8", "--adv-form", "critic", "--tf32"]
    result = run_cli(*base, "--dry-run", *options)
    assert result.code == 0, result.err
    for name, value in {
        "const": "False", "lr_d": "0.5", "beta1": "0.25", "beta2_d": "0.75", "r1_interval": "1",
        "lazy_interval_d": "16", "flips": "False", "pad_resolutions": r"\[4, 8\]", "adv_form": "critic", "tf32": "True",
    }.items():  # fmt: skip
        assert re.search(rf"^{name} +{value} +asked for$", result.out, re.M), name


def test_a_global_batch_is_reached_by_accumulation(base: list[str], run_cli: Callable) -> None:
    result = run_cli(*base, "--global-batch", "12", "--steps", "2", "--dry-run")
    assert re.search(r"^accumulate +3 ", result.out, re.M)
    assert re.search(r"^images +24 ", result.out, re.M)
    wrong = run_cli(*base, "--global-batch", "10", "--dry-run")
    assert wrong.code == 2
    assert "--global-batch 10 is not a multiple of 4: --batch 4 in 1 process" in wrong.err


def test_a_run_without_a_place_goes_to_runs_and_says_what_is_next(
    base: list[str], tmp_path: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    at = base.index("--out")
    command = base[:at] + base[at + 2 :]
    result = run_cli(*command, "--steps", "1", "--device", "cpu", "--threads", "1")
    assert result.code == 0, result.err
    assert (tmp_path / "runs" / "data" / "encoder.safetensors").exists()
    assert "next: padinv export runs/data --out models/data" in result.err
    assert "curves: tensorboard --logdir runs/data/tensorboard" in result.err


def test_a_dry_run_prints_settings_and_memory_and_writes_nothing(
    base: list[str], tmp_path: Path, run_cli: Callable
) -> None:
    result = run_cli(*base, "--dry-run", "--seed", "4")
    assert result.code == 0, result.err
    assert re.search(r"^batch +4 +asked for$", result.out, re.M)
    assert re.search(r"^seed +4 +asked for$", result.out, re.M)
    assert re.search(r"^schedule +constant +default$", result.out, re.M)
    sizes = dict(re.findall(r"^(\w+) +([\d,]+) MiB$", result.out, re.M))
    assert set(sizes) == {"weights", "optimizer", "average", "step", "pictures", "total"}
    assert int(sizes["total"]) > 0
    assert not (tmp_path / "run").exists()


def test_train_then_again(base: list[str], tmp_path: Path, run_cli: Callable) -> None:
    result = run_cli(*base, "--steps", "3", "--eval-images", "4")
    assert result.code == 0, result.err
    assert "done after 12 images; the encoder is" in result.err
    assert (tmp_path / "run" / "encoder.safetensors").exists()
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 3
    again = run_cli(*base, "--steps", "3", "--eval-images", "4", "--json")
    assert "done after 12 images" in again.err
    assert json_document(again)["results"] == [{"file": str(tmp_path / "run" / "encoder.safetensors")}]
    changed = run_cli(*base, "--steps", "3", "--lr", "0.01")
    assert changed.code == 2
    assert "lr 0.0001 -> 0.01" in changed.err
    assert "Traceback" not in changed.err


def test_the_template_goes_into_generator_and_encoder(base: list[str], tmp_path: Path, run_cli: Callable) -> None:
    assert load_generator(tmp_path / "g.safetensors").spec.template is None
    result = run_cli(*base, "--steps", "1", "--template", "ffhq")
    assert result.code == 0, result.err
    assert load_generator(tmp_path / "run" / "generator.safetensors").spec.template == "ffhq"
    assert load_encoder(tmp_path / "run" / "encoder.safetensors").spec.template == "ffhq"
    other = run_cli(*base, "--steps", "1", "--template", "faces")
    assert other.code == 2
    assert "template" in other.err


def test_the_time_limit_exits_with_130(base: list[str], run_cli: Callable) -> None:
    result = run_cli(*base, "--steps", "5", "--time-limit", "0")
    assert result.code == 130
    assert "stopped by --time-limit after 4 images; the same command resumes" in result.err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--per", "0.8", "--lpips-weights", "no.pth"], 1, r"no\.pth does not exist.*download\.pytorch\.org"),
        (["--id", "0.1"], 1, "padinv fetch arcface.*--face-weights"),
        (["--steps", "3", "--images", "12"], 2, "exclude each other"),
        (["--pad-resolutions", "4,x"], 2, "sizes separated by commas"),
        (["--pad-resolutions", "64"], 2, "no 64 px layer"),
        (["--mixed-precision", "fp16"], 2, "needs a GPU"),
        (["--preset", "cats"], 2, "cats"),
    ],
)
def test_wrong_use_is_one_sentence(
    more: list[str], code: int, message: str, base: list[str], tmp_path: Path, run_cli: Callable
) -> None:
    result = run_cli(*base, *more)
    assert result.code == code
    assert re.search(message, result.err.replace("\n", " "))
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["--generator", "--data"])
def test_missing_inputs_are_named(what: str, base: list[str], tmp_path: Path, run_cli: Callable) -> None:
    command = list(base)
    command[command.index(what) + 1] = str(tmp_path / "nowhere")
    result = run_cli(*command)
    assert result.code == 1
    assert "nowhere does not exist" in result.err
    assert not (tmp_path / "run").exists()


def test_lpips_from_the_hub_cache(
    base: list[str], tmp_path: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    torch.save(made_up_weights("squeeze"), hub / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    result = run_cli(*base, "--per", "0.8", "--lpips", "squeeze", "--steps", "1", "--val", str(tmp_path / "data.zip"))
    assert result.code == 0, result.err
    assert re.search(r"validation after 4 images: mse [\d.]+, lpips [\d.]+", result.err)
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert record["per"] > 0


def test_sigterm_saves_and_the_same_command_goes_on(base: list[str], tmp_path: Path) -> None:
    """A real process, a real signal."""
    command = [sys.executable, "-m", "padinv.cli.main", *base, "--steps", "100000", "--log-images", "4"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    found = re.search(r"interrupted after ([\d,]+) images, all kept; the same command resumes", err)
    assert found, err
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["trainer"]["step"] * 4 == int(found[1].replace(",", ""))


def test_the_built_in_model_is_the_default(tmp_path: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from padinv.runtime.model_names import builtin_bundle

    def training(config: object, options: Any, report: object) -> None:
        raise UsageError(f"from {options.generator}")

    monkeypatch.setattr("padinv.training.encoder.run.Training", training)
    monkeypatch.chdir(tmp_path)
    assert f"from {builtin_bundle()}" in run_cli("train", "--data", "photos", "--per", "0").err
    assert (
        "from g.safetensors" in run_cli("train", "--data", "photos", "--per", "0", "--generator", "g.safetensors").err
    )
