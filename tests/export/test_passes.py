"""Iterative encoding without torch: parity with torch, the command line, the identity of results, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import lively_encoder, lively_generator
from tiny_training import small_widths
from typer.testing import CliRunner

from padinv.checkpoints import load_encoder
from padinv.checkpoints.generator_encoder import Pair
from padinv.cli.main import app
from padinv.export.export_bundle import Options, export_bundle
from padinv.models.encoder import EncoderConfig
from padinv.runtime.backends import installed_backends
from padinv.runtime.bundle import read_bundle
from padinv.runtime.errors import UsageError
from padinv.runtime.images import to_float
from padinv.runtime.model import Model
from padinv.runtime.passes import checked_passes, trained_passes
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(32, (8, 8, 6, 4), z_dim=8, w_dim=8, mapping_layers=2)


@pytest.fixture(scope="module")
def pair() -> Pair:
    generator = lively_generator(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("padinv.models.fast_encoder.widths", small_widths)
        return Pair(generator, lively_encoder(generator, EncoderConfig("fast", refinements=3, feedback="error")))


@pytest.fixture(scope="module")
def bundle(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(pair, tmp_path_factory.mktemp("passes") / "bundle", Options(compact=True)).bundle.folder


def pictures(count: int = 3) -> np.ndarray:
    return np.random.default_rng(2).uniform(-1, 1, (count, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_passes_through_onnx_agree_with_torch(pair: Pair, bundle: Path, backend: str, passes: int) -> None:
    if reason := installed_backends()[backend]:
        pytest.skip(reason)
    model = Model.load(bundle, backend)
    x = pictures()
    generator, encoder = load_pair(bundle)
    with torch.no_grad():
        wp, const, rings = encoder(torch.from_numpy(x), passes=passes)
        output = generator.synthesis(wp, const, rings)
    inversion, y = model.reconstruct(x, 2, passes=passes)
    np.testing.assert_allclose(inversion.wp, wp.numpy(), atol=2e-4)
    np.testing.assert_allclose(inversion.const, const.numpy(), atol=2e-4)
    for r, ring in rings.items():
        np.testing.assert_allclose(inversion.rings[r], ring.numpy(), atol=2e-4)
    np.testing.assert_allclose(y, output.numpy(), atol=5e-4)
    np.testing.assert_array_equal(model.encode(x, 2, passes=passes).wp, inversion.wp)
    assert model.passes == 3


def load_pair(bundle: Path) -> tuple:
    from padinv.checkpoints import load_generator

    return load_generator(bundle), load_encoder(bundle)


def test_a_compact_bundle_gives_the_iterative_encoder_back(pair: Pair, bundle: Path) -> None:
    encoder = load_encoder(bundle)
    assert encoder.config == pair.encoder.config
    for name, tensor in pair.encoder.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(encoder.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_the_graph_holds_one_pass_and_no_generator(bundle: Path) -> None:
    import onnx

    graph = onnx.load_from_string(read_bundle(bundle).read_bytes("encoder.onnx")).graph
    assert [value.name for value in graph.input] == ["image", "error"]
    assert not [tensor.name for tensor in graph.initializer if "generator" in tensor.name]


def test_another_number_of_passes_is_another_result(bundle: Path, tmp_path: Path) -> None:
    from PIL import Image

    pixels = ((pictures(1)[0].transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    out = tmp_path / "out"
    call = ["invert", str(tmp_path / "a.png"), "--model", str(bundle), "--out", str(out), "--backend", "cpu", "--json"]
    found = {}
    for passes in (["--passes", "1"], ["--passes", "2"], []):
        result = CliRunner().invoke(app, [*call, *passes])
        assert result.exit_code == 0, result.output
        record = json.loads((out / "results.jsonl").read_text().splitlines()[-1])
        found[record["passes"]] = record["mse"]
    assert list(found) == [1, 2, 3]
    assert len(set(found.values())) == 3
    lines = (out / "results.jsonl").read_text()
    assert CliRunner().invoke(app, call).exit_code == 0
    assert (out / "results.jsonl").read_text() == lines, "nothing is left to do"
    model = Model.load(bundle, "cpu")
    same = to_float(pixels[None])
    _, y = model.reconstruct(same, passes=2)
    assert found[2] == pytest.approx(float((np.clip(y, -1, 1) - same).__pow__(2).mean()), rel=1e-4)


def test_a_bundle_without_passes_refuses_them_and_keeps_its_records(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["invert", str(tmp_path / "a.png"), "--out", str(out), "--passes", "2"])
    assert result.exit_code == 2
    assert not out.exists()
    with pytest.raises(UsageError, match="trained for a single pass"):
        checked_passes(2, 1, "faces128")
    with pytest.raises(UsageError, match="trained for 1 to 3 passes"):
        checked_passes(4, 3, "mine")
    assert trained_passes({"refinements": 5}) == 1, "an imported ReStyle encoder unrolls its own steps"


def test_the_python_call_refuses_too_many_passes_before_it_reads_anything(bundle: Path) -> None:
    with pytest.raises(UsageError, match="1 to 3 passes"):
        Model.load(bundle, "cpu").invert("does-not-exist.png", passes=4)
