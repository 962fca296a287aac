"""Tuned graphs: every form against float64, the rewriting of graphs, and bundles that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from padinv.export.add_engines import Result
from padinv.export.export_bundle import Options
from padinv.export.extend_bundle import extend_bundle
from padinv.export.graph_tuning.sites import PLAIN, GraphView, Site, find_sites
from padinv.export.graph_tuning.timing import Timed, choose, time_site
from padinv.export.graph_tuning.tune_graph import tune_graph
from padinv.export.graph_tuning.winograd import FILTER, INPUT, OUTPUT
from padinv.export.tune_bundle import tune_bundle
from padinv.runtime.backends import open_session
from padinv.runtime.backends.tuned import processor_kind, tuned_graph
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.errors import ExportError, UsageError
from padinv.runtime.onnx_safety import require_safe_graph


def first_other(view: GraphView, site: Site) -> dict[str, Timed]:
    """In place of a clock: the plain form is slow, the last other one fast."""
    names = [PLAIN, *site.forms]
    return {name: Timed({1: float(len(names) - k)}, 0.0) for k, name in enumerate(names)}


def always(form: str) -> Callable[[GraphView, Site], dict[str, Timed]]:
    return lambda view, site: {
        PLAIN: Timed({1: 9.0}, 0.0),
        **({form: Timed({1: 1.0}, 0.0)} if form in site.forms else {}),
    }


def one_node(
    node: onnx.NodeProto, given: tuple[int, ...], made: tuple[int, ...], **constants: np.ndarray
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *given])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *made])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    require_safe_graph(data, "the tuned graph")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return result


def test_the_transforms_are_minimal_filtering() -> None:
    rng = np.random.default_rng(0)
    signal, taps = rng.standard_normal(6), rng.standard_normal(3)
    np.testing.assert_allclose(OUTPUT @ ((FILTER @ taps) * (INPUT @ signal)), np.correlate(signal, taps), atol=1e-12)


@pytest.mark.parametrize("form", ["winograd", "winograd, grouped", "winograd, rows"])
@pytest.mark.parametrize(("size", "pad", "bias"), [(8, 1, True), (12, 0, True), (16, 1, False)])
def test_winograd_forms_are_the_convolution(form: str, size: int, pad: int, bias: bool) -> None:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((5, 7, 3, 3)).astype(np.float32)
    shift = {"b": rng.standard_normal(5).astype(np.float32)} if bias else {}
    side = size + 2 - 2 * pad
    node = helper.make_node("Conv", ["x", "w", *shift], ["y"], kernel_shape=[3, 3], pads=[pad] * 4)
    model = one_node(node, (7, side, side), (5, size, size), w=weight, **shift)
    tuned, record = tune_graph(model, always(form))
    assert [layer["form"] for layer in record.values()] == [form]
    assert "w" not in {tensor.name for tensor in tuned.graph.initializer}  # weights are not stored twice
    for batch in (1, 3):
        x = rng.standard_normal((batch, 7, side, side)).astype(np.float32)
        wanted = F.conv2d(*(torch.from_numpy(a).double() for a in (x, weight, *shift.values())), padding=pad)
        got = run(tuned, x)
        assert np.abs(got - wanted.numpy()).max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize(
    "change",
    [{"strides": [2, 2]}, {"group": 7}, {"dilations": [2, 2]}, {"pads": [0, 1, 0, 1]}, {"auto_pad": "SAME_UPPER"}],
)
def test_other_convolutions_are_left_alone(change: dict[str, object]) -> None:
    attributes = {"kernel_shape": [3, 3], "pads": [1] * 4, **change}
    if "auto_pad" in change:
        del attributes["pads"]
    channels = 1 if "group" in change else 7
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    model = one_node(node, (7, 16, 16), (7, 16, 16), w=np.ones((7, channels, 3, 3), np.float32))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    assert list(find_sites(GraphView(model))) == []


@pytest.mark.parametrize("mode", ["cubic", "linear"])
@pytest.mark.parametrize("corners", ["align_corners", "half_pixel"])
def test_resampling_as_matrices(mode: str, corners: str) -> None:
    node = helper.make_node(
        "Resize",
        ["x", "", "", "sizes"],
        ["y"],
        mode=mode,
        coordinate_transformation_mode=corners,
        cubic_coeff_a=-0.75,
    )
    model = one_node(node, (64, 32, 32), (64, 34, 34), sizes=np.array([2, 64, 34, 34], np.int64))
    tuned, _ = tune_graph(model, always("matrices"))
    assert [node.op_type for node in tuned.graph.node] == ["MatMul", "MatMul"]
    x = np.random.default_rng(2).standard_normal((2, 64, 32, 32)).astype(np.float32)
    kind = {"cubic": "bicubic", "linear": "bilinear"}[mode]
    wanted = F.interpolate(torch.from_numpy(x).double(), (34, 34), mode=kind, align_corners=corners == "align_corners")
    np.testing.assert_allclose(run(tuned, x), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("form", ["maximum", "depthwise"])
def test_forms_of_prelu(form: str) -> None:
    rng = np.random.default_rng(3)
    slope = rng.uniform(-0.5, 1, (64, 1, 1)).astype(np.float32)
    model = one_node(helper.make_node("PRelu", ["x", "a"], ["y"]), (64, 32, 32), (64, 32, 32), a=slope)
    tuned, _ = tune_graph(model, always(form))
    x = rng.standard_normal((2, 64, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(run(tuned, x), np.where(x > 0, x, slope * x), atol=1e-6)


def test_prelu_with_slopes_above_one_is_left_alone() -> None:
    slope = np.full((64, 1, 1), 1.5, np.float32)
    model = one_node(helper.make_node("PRelu", ["x", "a"], ["y"]), (64, 32, 32), (64, 32, 32), a=slope)
    assert list(find_sites(GraphView(model))) == []


def test_real_times_are_taken_and_differences_seen() -> None:
    weight = np.random.default_rng(4).standard_normal((8, 8, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1] * 4)
    view = GraphView(one_node(node, (8, 8, 8), (8, 8, 8), w=weight))
    (site,) = find_sites(view)
    timed = time_site(view, site)
    assert set(timed) == {PLAIN, *site.forms}
    assert all(value > 0 for t in timed.values() for value in t.milliseconds.values())
    assert timed[PLAIN].error == 0
    assert all(0 < timed[form].error < 1e-5 for form in site.forms)


def test_a_form_is_chosen_only_if_it_is_clearly_faster_and_right() -> None:
    plain = Timed({1: 10.0, 4: 40.0}, 0.0)
    assert choose({PLAIN: plain, "a": Timed({1: 9.9, 4: 39.0}, 0.0)}) == PLAIN
    assert choose({PLAIN: plain, "a": Timed({1: 5.0, 4: 20.0}, 0.0), "b": Timed({1: 4.0, 4: 12.0}, 1e-3)}) == "a"


@pytest.fixture
def tuned(exported_copy: Path) -> Path:
    tune_bundle(read_bundle(exported_copy), measure=first_other)
    return exported_copy


def test_a_bundle_is_tuned_in_place_and_stays_what_it_was(exported: Path, tuned: Path) -> None:
    before, after = read_bundle(exported), read_bundle(tuned)
    assert after.fingerprint == before.fingerprint  # finished results stay valid
    assert {name: after.files[name] for name in before.files} == before.files
    assert set(after.files) - set(before.files) == {"encoder.tuned.onnx", "generator.tuned.onnx"}
    entry = after.manifest["tuned"]
    assert entry["processor"] == processor_kind()
    assert entry["parity"]["reconstruction"] < 1e-4
    assert sum(layer["sites"] for layer in entry["layers"]["generator"].values()) > 0
    tuned_files = [path for path in tuned.iterdir() if path.name.startswith(".")]
    assert tuned_files == []


def test_the_processor_runs_the_tuned_graph_and_others_the_plain_one(tuned: Path) -> None:
    bundle = read_bundle(tuned)
    assert tuned_graph(bundle, "generator") == "generator.tuned.onnx"
    image = np.random.default_rng(5).uniform(-1, 1, (3, 3, 32, 32)).astype(np.float32)
    chosen = open_session(bundle, "encoder", "cpu").run({"image": image})
    plain = open_session(bundle, "encoder", "cpu", tuned=False).run({"image": image})
    differences = {name: float(np.abs(chosen[name] - plain[name]).max()) for name in plain}
    assert max(differences.values()) < 1e-4
    assert max(differences.values()) > 0  # another graph, so another rounding
    open_session(bundle, "encoder", "cpu", precision="fp16").run({"image": image})

    manifest = {key: value for key, value in bundle.manifest.items() if key not in ("files", "format")}
    manifest["tuned"] = {**manifest["tuned"], "processor": "of another kind"}
    write_manifest(tuned, manifest)
    assert tuned_graph(read_bundle(tuned), "generator") is None
    again = open_session(read_bundle(tuned), "encoder", "cpu").run({"image": image})
    np.testing.assert_array_equal(again["wp"], plain["wp"])


def test_a_tuned_graph_that_was_changed_is_not_run(tuned: Path) -> None:
    from padinv.runtime.errors import BundleError

    path = tuned / "generator.tuned.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"generator\.tuned\.onnx has changed"):
        open_session(read_bundle(tuned), "generator", "cpu")


def test_a_wrong_form_is_caught_and_nothing_is_written(exported_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (exported_copy / "model.json").read_bytes()
    monkeypatch.setattr("padinv.export.graph_tuning.winograd.OUTPUT", OUTPUT * 1.01)
    with pytest.raises(ExportError, match="onnxruntime differs by"):
        tune_bundle(read_bundle(exported_copy), measure=always("winograd"))
    assert (exported_copy / "model.json").read_bytes() == before
    assert not list(exported_copy.glob("*.tuned.onnx"))


def test_tuning_again_drops_what_is_not_faster_any_more(tuned: Path) -> None:
    slower = {"milliseconds": {1: 99.0}, "error": 0.0}

    def plain_wins(view: GraphView, site: Site) -> dict[str, Timed]:
        return {PLAIN: Timed({1: 1.0}, 0.0), **{form: Timed(**slower) for form in site.forms}}  # type: ignore[arg-type]

    bundle = tune_bundle(read_bundle(tuned), measure=plain_wins)
    assert not any(name.endswith(".tuned.onnx") for name in bundle.files)
    assert not list(tuned.glob("*.tuned.onnx"))


def test_a_copy_is_tuned_and_the_source_is_not_touched(exported: Path, tmp_path: Path) -> None:
    result = extend_bundle(read_bundle(exported), tmp_path / "copy", Options(tune=True))
    assert isinstance(result, Result)
    assert result.bundle.folder == tmp_path / "copy"
    assert "tuned" in result.bundle.manifest
    assert "tuned" not in json.loads((exported / "model.json").read_text())


def test_what_cannot_be_tuned_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tune"):
        extend_bundle(read_bundle(exported), None, Options())
    bundle = read_bundle(exported)
    bundle.manifest["compact"] = True
    with pytest.raises(UsageError, match="compact"):
        tune_bundle(bundle)
