"""The timm body: maps of any backbone reach heads and rings; weights come from files; refusals are sentences."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import fake_timm
import pytest
import torch
from tiny_training import SPEC, small_widths, write_generator, write_pictures

from padinv.checkpoints import generator_hash, load_encoder, load_generator
from padinv.checkpoints.native import save_encoder
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.timm_encoder import TimmBody, _sources
from padinv.runtime.errors import InputError, MismatchError, PadInvError, UsageError
from padinv.training.encoder.backbone_weights import find_backbone_weights, load_backbone_weights
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.reporter import Silent


@pytest.fixture(autouse=True)
def timm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = fake_timm.make_module()
    monkeypatch.setitem(sys.modules, "timm", module)
    monkeypatch.setattr("padinv.models.fast_encoder.widths", small_widths)
    return module


def lively(encoder: Encoder) -> Encoder:
    """Heads start at zero; random ones let everything show in the result."""
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return encoder


@pytest.mark.parametrize("name", ["tiny_net", "tiny_swin", "tiny_vit"])
@pytest.mark.parametrize("passes", [0, 2])
def test_every_backbone_gives_codes_constant_and_rings(name: str, passes: int, tmp_path: Path) -> None:
    feedback = {"refinements": passes, "feedback": "error"} if passes else {}
    encoder = lively(Encoder(SPEC, EncoderConfig(f"timm:{name}", **feedback)))
    wp, const, rings = encoder(torch.rand(2, 3, 32, 32))
    assert const is not None
    assert rings is not None
    shapes = {"wp": wp.shape, "const": const.shape, **{f"pad_{r}": ring.shape for r, ring in rings.items()}}
    assert {key: tuple(shape[1:]) for key, shape in shapes.items()} == SPEC.latent_shapes
    (wp.square().mean() + const.square().mean() + sum(r.square().mean() for r in rings.values())).backward()
    trained = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None] == []  # DDP would wait for it
    encoder.eval()
    save_encoder(tmp_path / "e.safetensors", encoder, "0" * 64)
    loaded = load_encoder(tmp_path / "e.safetensors")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder(image)[0], loaded(image)[0])


def test_maps_come_from_the_nearest_side() -> None:
    assert _sources([128, 64, 32, 16, 8], 32) == {128: 0, 64: 1, 32: 2, 16: 3, 8: 4, 4: 4}
    assert _sources([16, 8, 4, 2, 1], 16) == {16: 0, 8: 1, 4: 2}
    assert _sources([16, 16, 16], 32) == {32: 2, 16: 2, 8: 2, 4: 2}
    assert _sources([56, 28, 14, 7], 32) == {32: 0, 16: 1, 8: 2, 4: 3}


def test_the_networks_statistics_are_applied() -> None:
    body = Encoder(SPEC, EncoderConfig("timm:tiny_net")).body
    assert isinstance(body, TimmBody)
    seen: list[torch.Tensor] = []
    body.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    unit = torch.rand(1, 3, 32, 32)
    body.eval()(2 * unit - 1)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
    assert torch.allclose(seen[0], (unit - mean[:, None, None]) / std[:, None, None], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain_mixer", "timm's plain_mixer gives no feature maps .features_only not implemented"),
        ("tiny_nett", "timm has no backbone 'tiny_nett'; near are tiny_net"),
        ("hf-hub:someone/model", "architecture is one of reference, fast, timm:NAME"),
        ("local-dir:/etc", "architecture is one of reference, fast, timm:NAME"),
        ("", "architecture is one of reference, fast, timm:NAME"),
    ],
)
def test_what_is_not_a_backbone_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Encoder(SPEC, EncoderConfig(f"timm:{name}"))


def test_a_missing_or_broken_timm_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(PadInvError, match=r"needs the package 'timm'; install it with: pip install 'padinv\[timm\]'"):
        Encoder(SPEC, EncoderConfig("timm:tiny_net"))
    monkeypatch.delitem(sys.modules, "timm")

    class Broken:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(PadInvError, match=r"nms does not exist.; it needs the torchvision that belongs to torch"):
        Encoder(SPEC, EncoderConfig("timm:tiny_net"))


def test_a_backbone_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.models.timm_encoder.MAX_PARAMETERS", 100)
    with pytest.raises(UsageError, match=r"parameters; an encoder takes at most 100"):
        Encoder(SPEC, EncoderConfig("timm:tiny_net"))


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    data = write_pictures(tmp_path / "d.zip")
    return RunOptions(write_generator(tmp_path / "g.safetensors"), data, tmp_path / "run", log_images=8)


CONFIG = TrainConfig(arch="timm:tiny_net", images=16, batch=4, lr=1e-3, per=0.0, seed=5)


@pytest.mark.parametrize("extra", [{}, {"checkpointing": True, "ema": 0.9}])
def test_a_run_resumes_exactly_and_exports(extra: dict[str, Any], options: RunOptions, tmp_path: Path) -> None:
    config = replace(CONFIG, **extra)
    Training(config, options).run()
    stopped = replace(options, out=tmp_path / "stopped")
    assert Training(config, replace(stopped, time_limit=0.0)).run().images == 4
    Training(config, stopped).run()
    one, other = (load_encoder(o.out / "encoder.safetensors") for o in (options, stopped))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert one.config.architecture == "timm:tiny_net"


def test_export_keeps_what_timms_normalisations_do_besides(
    options: RunOptions, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    """ONNX and torch agree, although timm's classes end in an activation that `fold_batchnorm` must not lose."""
    from padinv.runtime.model import Model

    generator = load_generator(options.generator)
    encoder = lively(Encoder.from_generator(generator, EncoderConfig("timm:tiny_net"))).eval()
    file, bundle = tmp_path / "e.safetensors", tmp_path / "bundle"
    save_encoder(file, encoder, generator_hash(generator))
    exported = run_cli("export", "--generator", options.generator, "--encoder", file, "--out", bundle)
    assert exported.code == 0, exported.err
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        wp, _, rings = encoder(image)
    found = Model.load(bundle, backend="cpu").encode(image.numpy())
    assert rings is not None
    assert abs(found.wp - wp.numpy()).max() < 1e-4
    assert all(abs(found.rings[r] - ring.numpy()).max() < 1e-4 for r, ring in rings.items())


# -- pretrained weights ------------------------------------------------------------------------------------------------


def pretrained(path: Path) -> Path:
    torch.manual_seed(9)
    state = fake_timm.create_model("tiny_net", features_only=True).state_dict()
    torch.save({**state, "head.weight": torch.zeros(10, 16)}, path)
    return path


def test_pretrained_weights_are_taken_from_a_file_and_recorded(options: RunOptions, tmp_path: Path) -> None:
    file = pretrained(tmp_path / "w.pth")
    begun = replace(options, backbone_weights=str(file))
    training = Training(CONFIG, begun)
    load_backbone_weights(training.trainer.raw_encoder, file)
    body = training.trainer.raw_encoder.body
    assert isinstance(body, TimmBody)
    state = torch.load(file, weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in body.backbone.state_dict().items())

    messages: list[str] = []
    reporter = Silent()
    reporter.message = messages.append  # type: ignore[method-assign]
    short = replace(CONFIG, lr=0.0, images=4)
    run = Training(short, begun)
    run.reporter = reporter
    run.run()
    assert f"the backbone starts from the weights of {file}" in messages
    weights = load_encoder(begun.out / "encoder.safetensors").state_dict()
    name = "stage0.0.weight"  # a convolution, which a rate of 0 leaves alone
    assert torch.equal(weights[f"body.backbone.{name}"], state[name])
    document = json.loads((begun.out / "config.json").read_text())
    assert len(document["identity"]["backbone_weights"]) == 64
    assert document["inputs"]["backbone_weights"] == str(file)
    with pytest.raises(UsageError, match="backbone_weights"):
        Training(replace(short, images=8), options).run()


def test_weights_that_cannot_be_used_are_one_sentence(options: RunOptions, tmp_path: Path) -> None:
    (tmp_path / "no.pth").write_bytes(b"nothing")
    encoder = Encoder(SPEC, EncoderConfig("timm:tiny_net"))
    with pytest.raises(InputError, match=r"no.pth does not hold weights of timm's tiny_net"):
        load_backbone_weights(encoder, tmp_path / "no.pth")
    for arch, place, message in (
        ("fast", "w.pth", "is for --arch reference and timm:NAME"),
        ("reference", "cache", "timm's cache holds no weights for --arch reference"),
        ("timm:tiny_net", str(tmp_path / "missing.pth"), "missing.pth does not exist"),
    ):
        with pytest.raises(PadInvError, match=message):
            find_backbone_weights(arch, place)
    both = replace(options, init=options.generator, backbone_weights=str(tmp_path / "no.pth"))
    with pytest.raises(UsageError, match="--init and --backbone-weights exclude each other"):
        Training(CONFIG, both)


def test_timms_own_cache_is_read_and_nothing_is_fetched(
    timm: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = SimpleNamespace(hf_hub_id=None, url="https://example.org/tiny_net-1234.pth")
    timm.models.get_pretrained_cfg = lambda name: facts  # type: ignore[attr-defined]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"timm's cache holds no weights of tiny_net; fetch them once"):
        find_backbone_weights("timm:tiny_net", "cache")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    file = pretrained(tmp_path / "hub" / "checkpoints" / "tiny_net-1234.pth")
    assert find_backbone_weights("timm:tiny_net", "cache") == file


def test_the_reference_backbone_starts_from_arcface(tmp_path: Path) -> None:
    """InsightFace's IR-SE-50 numbers its 24 blocks through; the encoder has them in four stages."""
    from padinv.models.face_recognition import IRSE50, MobileFaceNet

    torch.manual_seed(2)
    network = IRSE50().eval()
    torch.save(network.state_dict(), tmp_path / "model_ir_se50.pth")
    encoder = Encoder(SPEC, EncoderConfig("reference", padding=False)).eval()
    load_backbone_weights(encoder, tmp_path / "model_ir_se50.pth")
    stages = encoder.body.backbone_stages
    starts = (0, 3, 7, 21)
    for stage, block in ((0, 0), (1, 3), (2, 13), (3, 2)):
        ours, theirs = stages[stage][block].state_dict(), network.body[starts[stage] + block].state_dict()  # type: ignore[index]
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert torch.equal(encoder.body.input_layer[0].weight, network.input_layer[0].weight)  # type: ignore[index]
    torch.save(MobileFaceNet().state_dict(), tmp_path / "mobile.pt")
    with pytest.raises(MismatchError, match="is not an IR-SE-50 for images"):
        load_backbone_weights(encoder, tmp_path / "mobile.pt")


def test_the_command_line_takes_a_backbone_by_name(
    options: RunOptions, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    base = ["train", "--generator", options.generator, "--data", options.data, "--out", tmp_path / "r", "--per", "0"]
    good = run_cli(*base, "--arch", "timm:tiny_net", "--batch", "4", "--steps", "1")
    assert good.code == 0, good.err
    assert run_cli("info", tmp_path / "r" / "encoder.safetensors").code == 0
    wrong = run_cli(*base, "--arch", "resnet50")
    assert wrong.code == 2
    assert "arch is one of reference, fast, timm:NAME, not 'resnet50'" in wrong.err


# timm itself: importing it takes seconds, and most machines of this project's tests have no torchvision beside torch.
STUBBED = """
import enum, sys, types, torch
from importlib.machinery import ModuleSpec
class Anything(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {})
for name in ("", ".ops", ".ops.misc", ".transforms", ".transforms.functional", ".datasets", ".utils"):
    module = Anything("torchvision" + name)
    module.__path__, module.__spec__ = [], ModuleSpec("torchvision" + name, None)
    sys.modules["torchvision" + name] = module
    if name:
        parent, _, child = ("torchvision" + name).rpartition(".")
        setattr(sys.modules[parent], child, module)
modes = "nearest bilinear bicubic box hamming lanczos nearest_exact".split()
mode = enum.Enum("InterpolationMode", {m.upper(): m for m in modes})
sys.modules["torchvision.transforms"].InterpolationMode = mode
sys.modules["torchvision.transforms.functional"].InterpolationMode = mode

from padinv.checkpoints import load_encoder
from padinv.checkpoints.native import save_encoder
from padinv.export.inference_modules import LeanEncoder
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec

spec = ModelSpec(64, (16, 16, 16, 16, 16), z_dim=8, w_dim=16, mapping_layers=2)
for name in ("test_resnet", "test_efficientnet", "test_vit", "swin_tiny_patch4_window7_224"):
    encoder = Encoder(spec, EncoderConfig("timm:" + name))
    with torch.no_grad():
        encoder.body.codes.weight.normal_(std=0.1)
    encoder.train()(torch.rand(2, 3, 64, 64))
    encoder.eval()
    save_encoder(sys.argv[1], encoder, "0" * 64)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wp, _, rings = encoder(image)
        assert torch.equal(load_encoder(sys.argv[1])(image)[0], wp), name
        assert torch.allclose(LeanEncoder(encoder)(image)[0], wp, atol=1e-4), name
    assert wp.std() > 1e-3 and sorted(rings) == [4, 8, 16, 32], name
try:
    Encoder(spec, EncoderConfig("timm:mixer_s32_224"))
except UsageError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_timms_own_networks_work(tmp_path: Path) -> None:
    """Real timm beside a stand-in for torchvision, of which networks use nothing."""
    command = [sys.executable, "-c", STUBBED, str(tmp_path / "e.safetensors")]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "timm's mixer_s32_224 gives no feature maps" in run.stdout
