"""Compact bundles: nothing is lost but what rounding to float16 takes, and the weights come back out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny_run import lively_encoder, lively_generator, write_run
from tiny_training import small_widths

from padinv.checkpoints import generator_hash, load_encoder, load_generator
from padinv.checkpoints.compact_bundle import bundle_generator
from padinv.checkpoints.generator_encoder import Pair
from padinv.export.compact_modules import SMALLEST, rounded
from padinv.export.export_bundle import Options, Result, export_bundle
from padinv.models.encoder import EncoderConfig
from padinv.runtime.errors import BundleError
from padinv.runtime.model import Model
from padinv.runtime.spec import ModelSpec

# 128 px: five up-sampling steps, of which the exporter calls one value like an input of ours.
SPEC = ModelSpec(128, (40, 12, 8, 8, 6, 4), z_dim=40, w_dim=40, mapping_layers=2, conv_clamp=256.0)


@pytest.fixture(scope="module")
def pair() -> Pair:
    generator = lively_generator(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("padinv.models.fast_encoder.widths", small_widths)
        return Pair(generator, lively_encoder(generator, EncoderConfig("fast")))


@pytest.fixture(scope="module")
def result(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return export_bundle(pair, tmp_path_factory.mktemp("compact") / "bundle", Options(compact=True))


def test_torch_and_onnx_run_the_same_rounded_weights(result: Result, pair: Pair) -> None:
    model = Model.load(result.bundle.folder)
    torch.manual_seed(0)
    image = torch.rand(3, 3, 128, 128) * 2 - 1
    with torch.no_grad():
        want = rounded(pair.generator).synthesis(*rounded(pair.encoder)(image))
        full = pair.generator.synthesis(*pair.encoder(image))
    got = model.generate_float(model.encode(image.numpy()))
    np.testing.assert_allclose(got, want.numpy(), atol=1e-4)
    assert 0 < np.abs(got - full.numpy()).max() < 0.05 * full.abs().max().item(), "rounding shows, and is small"


def test_large_tensors_are_stored_as_float16(result: Result) -> None:
    for graph in ("encoder", "generator", "mapping"):
        model = onnx.load_from_string(result.bundle.read_bytes(f"{graph}.onnx"))
        for tensor in model.graph.initializer:
            size = numpy_helper.to_array(tensor).size
            assert tensor.data_type == onnx.TensorProto.FLOAT16 or size < SMALLEST or "noise_const" not in tensor.name
        large = [t for t in model.graph.initializer if numpy_helper.to_array(t).size >= SMALLEST]
        assert large
        assert all(t.data_type == onnx.TensorProto.FLOAT16 for t in large), [t.name for t in large]


def test_the_bundle_is_a_checkpoint(result: Result, pair: Pair) -> None:
    generator = load_generator(result.bundle.folder)
    encoder = load_encoder(result.bundle.folder)
    assert generator_hash(generator) == generator_hash(pair.generator) == result.bundle.generator_hash
    for mine, theirs in ((generator, rounded(pair.generator)), (encoder, rounded(pair.encoder))):
        for name, tensor in theirs.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(mine.state_dict()[name], tensor), name


def test_a_bundle_with_folded_weights_says_so(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "run", spec=ModelSpec(16, (6, 5, 4), z_dim=7, w_dim=8, mapping_layers=2))
    assert run_cli("export", run, "--out", tmp_path / "bundle").code == 0
    with pytest.raises(BundleError, match="does not hold the raw weights"):
        bundle_generator(tmp_path / "bundle")
    assert run_cli("export", run, "--out", tmp_path / "small", "--compact").code == 0
    assert bundle_generator(tmp_path / "small").spec.resolution == 16
