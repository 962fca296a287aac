"""`padinv invert --refine`: results, records, the page, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import lively_encoder, lively_generator
from tiny_training import small_widths
from typer.testing import CliRunner

import padinv
from padinv.checkpoints.generator_encoder import Pair
from padinv.cli.main import app
from padinv.export.export_bundle import Options, export_bundle
from padinv.models.encoder import EncoderConfig
from padinv.refiner import training_loss
from padinv.runtime.bundle import read_bundle
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.model import Model
from padinv.runtime.refining import Budget
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(32, (8, 8, 6, 4), z_dim=8, w_dim=8, mapping_layers=2)


@pytest.fixture(scope="module")
def pair() -> Pair:
    generator = lively_generator(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("padinv.models.fast_encoder.widths", small_widths)
        return Pair(generator, lively_encoder(generator, EncoderConfig("fast")))


@pytest.fixture(scope="module")
def bundle(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With weights, exported by the quick exporter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("padinv.export.onnx_export.use_dynamo", lambda: False)
        return export_bundle(pair, tmp_path_factory.mktemp("refine") / "bundle", Options(weights=True)).bundle.folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    coarse = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def invert(photo: Path, bundle: Path, out: Path, *more: str) -> dict:
    call = ["invert", str(photo), "--model", str(bundle), "--out", str(out), "--backend", "cpu", *more]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    return json.loads((out / "results.jsonl").read_text().splitlines()[-1])


def test_refinement_is_written_recorded_and_shown(bundle: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plain = invert(photo, bundle, out)
    refined = invert(photo, bundle, out, "--refine", "20", "--refine-loss", "pixel")
    assert refined["encoder_mse"] == pytest.approx(plain["mse"], rel=1e-6)
    assert refined["mse"] <= plain["mse"]
    assert refined["refine"] == "20"
    assert refined["refine_loss"] == "pixel"
    assert refined["refined"]["edits"] <= 0.1
    assert "MSE before refinement" in (out / "report.html").read_text()
    saved = padinv.Inversion.load(out / "a.png.safetensors")
    model = Model.load(bundle, "cpu")
    pixels = np.asarray(Image.open(photo), np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    error = float(((model.generate_float(saved).clip(-1, 1) - pixels) ** 2).mean())
    assert error == pytest.approx(refined["mse"], rel=0.01), "the inversion file holds the refined codes"
    lines = (out / "results.jsonl").read_text()
    again = invert(photo, bundle, out, "--refine", "20", "--refine-loss", "pixel")
    assert again == refined
    assert (out / "results.jsonl").read_text() == lines
    assert "refine" not in invert(photo, bundle, out), "without --refine it is another result"


def test_the_python_call_refines(bundle: Path, photo: Path) -> None:
    model = Model.load(bundle, "cpu")
    refiner = padinv.Refiner(10, loss="pixel", device="cpu")
    plain, refined = model.invert(photo), model.invert(photo, refiner=refiner)
    assert not np.array_equal(plain.wp, refined.wp)
    assert refined.items == plain.items
    assert refined.origin is not None
    import pickle

    copy = pickle.loads(pickle.dumps(refiner))
    np.testing.assert_allclose(model.invert(photo, refiner=copy).wp, refined.wp, atol=1e-6)


def test_what_is_missing_is_said_in_a_sentence(
    pair: Pair, bundle: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("padinv.export.onnx_export.use_dynamo", lambda: False)
    bare = export_bundle(pair, tmp_path / "bare", Options()).bundle.folder
    out = tmp_path / "out"
    call = ["invert", str(photo), "--model", str(bare), "--out", str(out), "--refine", "5", "--refine-loss", "pixel"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 1
    assert "--weights or --compact" in result.output
    assert not out.exists()
    missing = padinv.Refiner(5, lpips_weights=tmp_path / "none.pth")
    with pytest.raises(InputError, match=r"none\.pth does not exist"):
        Model.load(bundle, "cpu").invert(photo, refiner=missing)


@pytest.mark.parametrize(
    "more", [["--refine", "fast"], ["--refine", "0"], ["--refine", "1.5"], ["--refine-loss", "pixel"]]
)
def test_wrong_use_is_refused_before_anything_is_done(photo: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["invert", str(photo), "--out", str(tmp_path / "out"), *more])
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "out").exists()


def test_a_budget_is_steps_or_seconds() -> None:
    assert Budget.parse("30") == Budget(steps=30)
    assert Budget.parse("2.5s") == Budget(seconds=2.5)
    assert str(Budget.parse("5s")) == "5s"
    for text in ("", "s", "-1", "0s", "1e3", "30 steps"):
        with pytest.raises(UsageError):
            Budget.parse(text)
    with pytest.raises(UsageError, match="one of training, pixel"):
        padinv.Refiner(3, loss="huber")


def test_the_loss_is_that_of_the_training(bundle: Path) -> None:
    builtin = training_loss(read_bundle())
    assert (builtin.pix, builtin.per, builtin.lpips) == (4.0, 1.6, "squeeze")
    assert training_loss(read_bundle(bundle)).lpips == "alex"
