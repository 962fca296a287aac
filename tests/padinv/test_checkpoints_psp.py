"""pSp's, e4e's and ReStyle's encoders as baselines: every variant, against its arithmetic in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from source_psp_encoder import PspEncoder, checkpoint_of
from source_rosinality import RosinalityGenerator
from torch import Tensor

from padinv.checkpoints import describe, load_encoder, load_generator
from padinv.checkpoints.convert import EncoderOptions, import_encoder, import_generator, read_encoder
from padinv.models import irse, resnet
from padinv.models.encoder import Encoder, EncoderConfig, shared_weights
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.spec import ModelSpec

W_DIM = 8
CHANNELS = (6, 5, 4, 3, 2, 2, 2)  # 256 px, 14 codes
IRSE = tuple((width, 1) for width in (64, 128, 256, 512))
LAYERS = 14


@pytest.fixture(autouse=True)
def short_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block a stage: the same code paths for a tenth of the bytes and the time."""
    monkeypatch.setattr(irse, "STAGES", IRSE)
    monkeypatch.setattr(resnet, "STAGES", tuple((width, 1, stride) for width, _, stride in resnet.STAGES))


def picture(seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, 256, 256, dtype=torch.float64, generator=random) * 2 - 1


def make(folder: Path, kind: str | None, average: Tensor | None = None, **form: Any) -> tuple[Any, Any, Tensor, Path]:
    """(encoder, generator, average code [14, w_dim], file)."""
    g = RosinalityGenerator(CHANNELS, W_DIM, 1)
    e = PspEncoder(W_DIM, stages=IRSE, **form)
    if average is None:
        average = torch.randn(W_DIM, generator=torch.Generator().manual_seed(3)).repeat(LAYERS, 1)
    path = folder / "x.pt"
    torch.save(checkpoint_of(e, g, average, None if kind is None else {"encoder_type": kind}), path)
    return e, g, average.double(), path


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "pSp": ("GradualStyleEncoder", {}),
    "pSp of 18 heads": ("GradualStyleEncoder", {"heads": (3, 4, 11)}),
    "e4e": ("Encoder4Editing", {"relative": True}),
    "ReStyle (pSp)": ("BackboneEncoder", {"heads": (LAYERS, 0, 0), "channels": 6}),
    "ReStyle (e4e)": ("ProgressiveBackboneEncoder", {"heads": (LAYERS, 0, 0), "channels": 6, "relative": True}),
    "ReStyle with ResNet": ("ResNetBackboneEncoder", {"heads": (LAYERS, 0, 0), "channels": 6, "resnet": True}),
    "ReStyle with ResNet (e4e)": (
        "ResNetProgressiveBackboneEncoder",
        {"heads": (LAYERS, 0, 0), "channels": 6, "resnet": True, "relative": True},
    ),
    "ReStyle over pSp": ("GradualStyleEncoder", {"channels": 6}),
    "ResNet with a pyramid": ("ResNetGradualStyleEncoder", {"resnet": True}),
}


# Every kind of backbone, head and refinement once; the others are slow for what they add.
QUICK = ("pSp", "e4e", "ReStyle with ResNet (e4e)")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FORMS])
def test_codes_are_the_originals(tmp_path: Path, name: str) -> None:
    kind, form = FORMS[name]
    e, g, average, path = make(tmp_path, kind, **form)
    steps = 2 if form.get("channels") == 6 else None
    options = EncoderOptions(refinements=steps)
    foreign = import_encoder(path, tmp_path / "e.safetensors", options=options)
    assert foreign.record["source"].split()[0] == name.split()[0].replace("ResNet", "pSp")
    encoder = load_encoder(tmp_path / "e.safetensors")
    image = picture()
    with torch.no_grad():
        wp, const, rings = encoder(image.float())
        wanted = e.refine(image, average, g, steps) if steps else e.invert(image, average)
    assert const is None
    assert rings is None
    assert wanted.std() > 0.1
    assert (wp[0].double() - wanted).abs().max() < 1e-4 * max(1.0, float(wanted.abs().max()))
    if not steps:  # nothing but rounding separates them: in float64 the two agree to all digits
        with torch.no_grad():
            codes, _, _ = encoder.body.double()(image)
        exact = codes[0] + encoder.w_avg.double()
        assert (exact - wanted).abs().max() < 1e-6 * max(1.0, float(wanted.abs().max()))


def test_the_authors_number_of_steps_is_the_default(tmp_path: Path) -> None:
    kind, form = FORMS["ReStyle (pSp)"]
    *_, path = make(tmp_path, kind, **form)
    foreign = read_encoder(path)
    assert foreign.config.refinements == 5
    assert any("looks 5 times" in note for note in foreign.record["notes"])


def test_an_average_code_for_each_layer_is_kept(tmp_path: Path) -> None:
    average = torch.randn(LAYERS, W_DIM, generator=torch.Generator().manual_seed(4))
    for kind, relative in (("GradualStyleEncoder", False), ("Encoder4Editing", True)):
        e, _, rows, path = make(tmp_path, kind, average, relative=relative)
        encoder = load_encoder(path)
        with torch.no_grad():
            wp, _, _ = encoder(picture().float())
            wanted = e.invert(picture(), rows)
        assert (wp[0].double() - wanted).abs().max() < 1e-4 * max(1.0, float(wanted.abs().max()))


def test_psp_and_e4e_are_not_guessed(tmp_path: Path) -> None:
    """Their tensors have the same names: a guess would be wrong without a word."""
    *_, path = make(tmp_path, None, relative=True)
    assert describe(path)["notes"]
    with pytest.raises(UsageError, match="--encoder-type psp or --encoder-type e4e"):
        read_encoder(path)
    foreign = read_encoder(path, options=EncoderOptions(encoder_type="e4e"))
    assert foreign.config.relative_codes
    assert foreign.record["source"] == "e4e"
    assert read_encoder(path, options=EncoderOptions(encoder_type="psp")).record["source"] == "pSp"
    *_, named = make(tmp_path, "Encoder4Editing", relative=True)
    with pytest.raises(UsageError, match="--encoder-type psp, but the file says Encoder4Editing"):
        read_encoder(named, options=EncoderOptions(encoder_type="psp"))
    with pytest.raises(UsageError, match="goes with ReStyle"):
        read_encoder(named, options=EncoderOptions(refinements=3))


def test_an_encoder_alone_needs_a_generator(tmp_path: Path) -> None:
    g, e = RosinalityGenerator(CHANNELS, W_DIM, 1), PspEncoder(W_DIM, stages=IRSE)
    torch.save(checkpoint_of(e, None, None, {"encoder_type": "GradualStyleEncoder"}), tmp_path / "e.pt")
    with pytest.raises(InputError, match="no generator, whose w_avg its codes are added to"):
        read_encoder(tmp_path / "e.pt")
    with pytest.raises(InputError, match="holds an encoder and no generator"):
        load_generator(tmp_path / "e.pt")
    assert describe(tmp_path / "e.pt")["source"] == "pSp"
    average = torch.randn(W_DIM)
    torch.save({"g_ema": g.state_dict(), "latent_avg": average}, tmp_path / "g.pt")
    assert torch.equal(read_encoder(tmp_path / "e.pt", tmp_path / "g.pt").state["w_avg"], average)


def changed(change: Callable[[dict[str, Tensor]], Any]) -> dict[str, Tensor]:
    state = dict(PspEncoder(W_DIM, stages=IRSE).state)
    change(state)
    return state


REFUSALS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "sketches": (lambda s: s.update({"input_layer.0.weight": torch.zeros(64, 1, 3, 3)}), "1 channels .sketches"),
    "another depth": (lambda s: [s.pop(n) for n in list(s) if n.startswith("body.3.")], "backbone has 3 blocks"),
    "no gates": (lambda s: [s.pop(n) for n in list(s) if ".res_layer.5." in n], "without squeeze-and-excitation"),
    "no pyramid": (lambda s: [s.pop(n) for n in list(s) if n.startswith("latlayer1")], "without the pyramid"),
    "few heads": (lambda s: [s.pop(n) for n in list(s) if n.startswith("styles.13.")], "of 13 codes, but"),
    "a hole": (lambda s: s.pop("body.1.res_layer.2.weight"), "lacks the tensor body.1.res_layer.2.weight"),
    "more": (lambda s: s.update({"attention.weight": torch.zeros(2)}), "variant of.*attention.weight"),
    "broken": (lambda s: s["styles.2.linear.bias"].fill_(float("nan")), "not finite in body.latent_heads.2"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_run_is_refused_by_name(tmp_path: Path, name: str) -> None:
    change, sentence = REFUSALS[name]
    e = PspEncoder(W_DIM, stages=IRSE)
    e.state = changed(change)
    g = RosinalityGenerator(CHANNELS, W_DIM, 1)
    torch.save(checkpoint_of(e, g, torch.zeros(W_DIM), {"encoder_type": "GradualStyleEncoder"}), tmp_path / "x.pt")
    with pytest.raises(InputError, match=sentence):
        import_encoder(tmp_path / "x.pt", tmp_path / "e.safetensors")
    assert not (tmp_path / "e.safetensors").exists()


def test_encoders_into_w_are_named(tmp_path: Path) -> None:
    state = {n: v for n, v in PspEncoder(W_DIM, stages=IRSE).state.items() if n.startswith(("input", "body"))}
    state |= {"linear.weight": torch.zeros(512, 512), "linear.bias": torch.zeros(512)}
    file = {"state_dict": {f"encoder.{n}": v for n, v in state.items()}}
    torch.save(file, tmp_path / "x.pt")
    with pytest.raises(InputError, match="encoders into W"):
        read_encoder(tmp_path / "x.pt")


def test_small_generators_do_not_fit(tmp_path: Path) -> None:
    e, g = PspEncoder(W_DIM, stages=IRSE), RosinalityGenerator((6, 5, 4, 3), W_DIM, 1)
    torch.save(checkpoint_of(e, g, torch.zeros(W_DIM), {"encoder_type": "Encoder4Editing"}), tmp_path / "x.pt")
    with pytest.raises(InputError, match="pictures of 256 px, but the generator makes 32 px"):
        read_encoder(tmp_path / "x.pt")


def test_settings_of_old_files_and_new_ones() -> None:
    assert "refinements" not in EncoderConfig().to_dict()
    config = EncoderConfig("reference", padding=False, backbone="resnet34", relative_codes=True, refinements=3)
    assert EncoderConfig.from_dict(config.to_dict()) == config
    for bad in ({"backbone": "vgg"}, {"refinements": 99}, {"refinements": True}, {"relative_codes": 1}):
        with pytest.raises(InputError):
            EncoderConfig.from_dict({"padding": False, **bad})


def shared_names(source: EncoderConfig, target: EncoderConfig) -> set[str]:
    spec = ModelSpec(256, (512, 512, 512, 512, 4, 3, 2), W_DIM, W_DIM, 1)
    a, b = Encoder(spec, source), Encoder(spec, target)
    shared = shared_weights(a, b)
    b.load_state_dict({**b.state_dict(), **shared})
    assert all(torch.equal(b.state_dict()[name], a.state_dict()[name]) for name in shared)
    return set(shared)


def test_a_baseline_gives_its_shared_parts_to_a_new_encoder() -> None:
    """pSp's backbone, pyramid and heads serve the paper's encoder; its padding branch is new."""
    ours = EncoderConfig("reference")
    psp, e4e = EncoderConfig("reference", padding=False), EncoderConfig("reference", padding=False, relative_codes=True)
    whole = shared_names(ours, ours)
    parts = shared_names(psp, ours)
    assert whole - parts
    assert all(name.startswith(("body.padding_", "body.const_")) for name in whole - parts)
    fewer = shared_names(e4e, ours)
    assert {name.split(".")[2] for name in fewer if "latent_heads" in name} == {"0"}
    assert {name for name in parts if "latent_heads" not in name} <= fewer
    restyle = EncoderConfig("reference", padding=False, codes_per_level=(LAYERS, 0), refinements=1)
    some = shared_names(restyle, ours)
    assert "body.input_layer.0.weight" not in some  # six channels
    assert "body.backbone_stages.1.0.res_layer.1.weight" in some
    assert not any(name.startswith("generator.") for name in some)
    assert {name.split(".")[2] for name in some if "latent_heads" in name} == {"0", "1", "2"}  # those of the same depth
    assert not shared_names(EncoderConfig("fast"), ours)
    assert not shared_names(EncoderConfig("reference", padding=False, backbone="resnet34"), ours)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["e4e", "ReStyle with ResNet"])
def test_a_baseline_is_exported_and_inverts(tmp_path: Path, name: str, run_cli: Callable[..., Any]) -> None:
    kind, form = FORMS[name]
    e, g, average, path = make(tmp_path, kind, **form)
    steps = 2 if form.get("channels") == 6 else None
    import_generator(path, tmp_path / "g.safetensors")
    import_encoder(path, tmp_path / "e.safetensors", options=EncoderOptions(refinements=steps))
    pair = ("--generator", tmp_path / "g.safetensors", "--encoder", tmp_path / "e.safetensors")
    result = run_cli("export", *pair, "--out", tmp_path / "bundle")
    assert result.code == 0, result.err
    from padinv.runtime import Model

    model = Model.load(tmp_path / "bundle", backend="cpu")
    image = picture()
    inversion = model.encode(image.numpy().astype(np.float32))
    wanted = e.refine(image, average, g, steps) if steps else e.invert(image, average)
    assert np.abs(inversion.wp[0] - wanted.numpy()).max() < 1e-3 * max(1.0, float(wanted.abs().max()))
    assert not any(ring.any() for ring in inversion.rings.values())
    if steps:
        refused = run_cli("export", *pair, "--compact", "--out", tmp_path / "compact")
        assert refused.code == 2
        assert "leave out --compact" in refused.err


def test_the_command_line_asks_for_what_the_file_does_not_say(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    *_, path = make(tmp_path, None, relative=True)
    out = tmp_path / "e.safetensors"
    asked = run_cli("import", path, "--encoder", "--out", out, "--no-samples")
    assert asked.code == 2
    assert "--encoder-type psp or --encoder-type e4e" in asked.err
    assert not out.exists()
    done = run_cli("import", path, "--encoder", "--encoder-type", "e4e", "--out", out, "--no-samples")
    assert done.code == 0, done.err
    assert "e4e" in done.out
    assert "predicts no padding" in done.out
    for options in (("--encoder-type", "e4e"), ("--refinements", "3")):
        wrong = run_cli("import", path, *options, "--out", tmp_path / "g.safetensors")
        assert wrong.code == 2
        assert "go with --encoder" in wrong.err
