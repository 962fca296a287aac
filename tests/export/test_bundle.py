"""Writing a bundle: what is refused, what a failure leaves behind, and the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_tensorrt import uninstall
from json_document import json_document
from tiny_run import lively_encoder, lively_generator, write_run
from tiny_training import small_widths

from padinv.checkpoints import save_encoder
from padinv.checkpoints.generator_encoder import Pair, read_run
from padinv.export import export_bundle as export_bundle_module
from padinv.export.atomic_folder import check_target, staged_folder
from padinv.export.export_bundle import Options, add_engines, export_bundle
from padinv.export.inference_modules import LeanConv
from padinv.export.parity import ONNX, Limits, Reference, compare, make_reference
from padinv.export.provenance import without_paths
from padinv.export.torch_reference import torch_run
from padinv.models.encoder import EncoderConfig
from padinv.runtime.bundle import read_bundle
from padinv.runtime.errors import ExportError, InputError, MismatchError, OutputError, UsageError
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(16, (6, 5, 4), z_dim=7, w_dim=8, mapping_layers=2)


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick exporter: what is tested here does not depend on the exporter."""
    monkeypatch.setattr("padinv.export.onnx_export.use_dynamo", lambda: False)


@pytest.fixture
def pair() -> Pair:
    generator = lively_generator(SPEC)
    return Pair(generator, lively_encoder(generator, EncoderConfig("fast")))


def everything_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture(scope="module")
def expected() -> tuple[Reference, Pair]:
    generator = lively_generator(SPEC)
    pair = Pair(generator, lively_encoder(generator, EncoderConfig("fast", padding=False)))
    constants = {"w_avg": generator.w_avg.numpy(), "const": generator.const.detach().numpy()}
    return make_reference(SPEC, constants, torch_run(pair.generator, pair.encoder)), pair


@pytest.mark.parametrize("name", ["wp", "const", "pad_4", "pad_8"])
def test_the_comparison_sees_an_input_that_is_ignored(expected: tuple, name: str) -> None:
    """Even where the encoder predicts no padding at all."""
    reference, pair = expected
    honest = torch_run(pair.generator, pair.encoder)

    def deaf(graph: str, feeds: dict) -> dict:
        if graph == "generator":
            feeds = {**feeds, name: np.repeat(feeds[name][:1] * 0, len(feeds[name]), 0)}
        return honest(graph, feeds)

    assert compare(reference, honest, ("encoder", "generator", "mapping"), ONNX)["reconstruction"] < 1e-5
    with pytest.raises(ExportError, match=r"generator \(output, 1\): onnxruntime differs"):
        compare(reference, deaf, ("generator",), ONNX)


def test_the_comparison_sees_a_fixed_batch_and_broken_numbers(expected: tuple) -> None:
    reference, pair = expected
    honest = torch_run(pair.generator, pair.encoder)

    def first_only(graph: str, feeds: dict) -> dict:
        return {name: np.repeat(array[:1], len(array), 0) for name, array in honest(graph, feeds).items()}

    with pytest.raises(ExportError, match="mapping"):
        compare(reference, first_only, ("mapping",), ONNX)
    limits = Limits("this", 1.0, 1.0, "take less")
    with pytest.raises(ExportError, match="not finite; take less"):
        compare(reference, lambda g, f: {"w": honest(g, f)["w"] * np.nan}, ("mapping",), limits)


def test_a_graph_that_computes_something_else_is_not_written(
    tracing: None, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classical mistake: weights modulated instead of the map, so that the ring is scaled by the style as well."""

    def scaled_ring(
        self: LeanConv,
        x: torch.Tensor,
        w: torch.Tensor,
        ring: torch.Tensor | None = None,
        spatial: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return honest(self, x, w, None if ring is None else ring * self.affine(w).unsqueeze(2), spatial)

    honest = LeanConv.forward
    monkeypatch.setattr(LeanConv, "forward", scaled_ring)
    with pytest.raises(ExportError, match="differs by"):
        export_bundle(pair, tmp_path / "out", Options())
    assert everything_in(tmp_path) == []


def test_an_existing_bundle_is_replaced_only_on_request_and_as_a_whole(
    tracing: None, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is no obstacle
    export_bundle(pair, out, Options(name="first"))
    (out / "stray.txt").write_text("left by hand")
    with pytest.raises(UsageError, match="--overwrite"):
        export_bundle(pair, out, Options(name="second"))
    monkeypatch.setattr(export_bundle_module, "compare", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_bundle(pair, out, Options(name="second", overwrite=True))
    assert read_bundle(out).name == "first"
    assert (out / "stray.txt").exists()
    monkeypatch.undo()
    monkeypatch.setattr("padinv.export.onnx_export.use_dynamo", lambda: False)
    monkeypatch.setattr("padinv.models.fast_encoder.widths", small_widths)
    export_bundle(pair, out, Options(name="second", overwrite=True))
    assert read_bundle(out).name == "second"
    assert everything_in(out) == [
        "MODEL_CARD.md",
        "constants.safetensors",
        "encoder.onnx",
        "generator.onnx",
        "mapping.onnx",
        "model.json",
        "modulation.safetensors",
    ]
    assert everything_in(tmp_path) == ["out"]
    for name in read_bundle(out).files:
        read_bundle(out).path(name)  # every hash holds


def test_foreign_folders_and_files_are_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "model.json").write_text("{")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, reason in (
        ("file", "not a folder"),
        ("photos", "not a bundle"),
        ("noise", "not a readable"),
        ("link", "not a folder"),
    ):
        with pytest.raises(UsageError, match=reason):
            check_target(tmp_path / name, overwrite=True)
    with pytest.raises(OutputError, match="choose another"), staged_folder(tmp_path / "file" / "inside"):
        pass
    assert (tmp_path / "photos" / "a.jpg").read_text() == "x"


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with staged_folder(tmp_path / "out") as folder:
            (folder / "encoder.onnx").write_bytes(b"half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert everything_in(tmp_path) == []


def test_a_new_bundle_has_ordinary_permissions(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_records_lose_their_paths_only() -> None:
    record = {"data": "/home/me/faces.zip", "steps": [1, 2.5, None], "note": "lr 1e-4 / 2", "win": "C:\\me\\faces.zip"}
    assert without_paths(record) == {
        "data": "faces.zip",
        "steps": [1, 2.5, None],
        "note": "lr 1e-4 / 2",
        "win": "faces.zip",
    }


def test_sources_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", spec=SPEC)
    with pytest.raises(InputError, match="does not exist"):
        read_run(tmp_path / "nowhere")
    generator = lively_generator(SPEC)
    encoder = lively_encoder(generator, EncoderConfig("fast"))
    save_encoder(run / "encoder.safetensors", encoder, "ab" * 32)
    with pytest.raises(MismatchError, match="trained for the generator abababababab"):
        read_run(run)
    (run / "encoder.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no encoder\.safetensors"):
        read_run(run)


def test_a_bundle_as_source_gets_engines_or_nothing(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--trt"):
        add_engines(read_bundle(exported), tmp_path / "out", Options())
    assert everything_in(tmp_path) == []


def test_export_from_the_command_line(
    tracing: None, run_cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninstall(monkeypatch)
    run = write_run(tmp_path / "run", spec=SPEC)
    (tmp_path / "card.md").write_text("# My card\n")
    files = ("--generator", run / "generator.safetensors", "--encoder", run / "encoder.safetensors")
    result = run_cli("export", *files, "--out", tmp_path / "a", "--name", "mine", "--card", tmp_path / "card.md")
    assert result.code == 0, result.err
    assert "fp32: images differ from torch by at most" in result.out
    assert read_bundle(tmp_path / "a").name == "mine"
    assert (tmp_path / "a" / "MODEL_CARD.md").read_text() == "# My card\n"

    # Without TensorRT the graphs are there all the same; one sentence, exit 3.
    result = run_cli("export", run, "--out", tmp_path / "b", "--trt", "--json")
    assert result.code == 3
    document = json_document(result)
    assert document["results"][0]["folder"] == str(tmp_path / "b")
    assert document["skipped"][0]["code"] == "engines"
    assert result.err.count("\n") == 1
    assert "but no TensorRT engines: TensorRT needs the package 'tensorrt'" in result.err
    assert "pip install 'padinv[trt]'" in result.err
    assert read_bundle(tmp_path / "b").manifest["engines"] == {}
    assert (tmp_path / "b" / "generator.onnx").exists()

    result = run_cli("info", tmp_path / "b")
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((), "either a RUN, or both"),
        (("run", "--generator", "g"), "either a RUN, or both"),
        (("--generator", "g"), "either a RUN, or both"),
        (("run", "--batch", "1:2:3"), "add --trt"),
        (("run", "--trt", "--batch", "3:2:1"), "rising order"),
        (("run", "--trt", "--batch", "8"), "MIN:BEST:MAX"),
        (("run", "--name", ""), "is empty"),
        (("run", "--name", "x" * 101), "1 to 100"),
    ],
)
def test_wrong_use_is_one_sentence(run_cli: Callable, tmp_path: Path, args: tuple, sentence: str) -> None:
    result = run_cli("export", *args, "--out", tmp_path / "out")
    assert result.code == 2
    assert sentence in result.err
    assert result.err.count("\n") == 1
    assert everything_in(tmp_path) == []
