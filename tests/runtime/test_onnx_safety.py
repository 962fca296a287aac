"""Bundles of strangers: a graph that reads other files, or holds what the exporter never writes, is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, external_data_helper, helper, numpy_helper

from padinv.runtime import Model, onnx_safety
from padinv.runtime.backends.onnxruntime_session import OnnxSession
from padinv.runtime.bundle import builtin_bundle, read_bundle, write_manifest
from padinv.runtime.describe import describe
from padinv.runtime.errors import BundleError
from padinv.runtime.onnx_safety import require_safe_graph

SECRET = np.arange(8, dtype=np.float32)


def external(location: str = "secret.bin", name: str = "stolen") -> TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[8])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def small() -> onnx.ModelProto:
    """x + one, harmless."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [8])],
        [value("y", TensorProto.FLOAT, [8])],
        [numpy_helper.from_array(np.ones(8, np.float32), "one")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def branch(tensor: TensorProto) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [8])
    return helper.make_graph([helper.make_node("Identity", ["stolen"], ["out"])], "branch", [], [out], [tensor])


def in_an_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external(name="one"))


def by_location_alone(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL


def in_memory_of_the_process(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external("*/_ORT_MEM_ADDR_/*"))


def in_a_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=external()))


def in_a_list_of_tensors(model: onnx.ModelProto) -> None:
    attribute = AttributeProto(name="values", type=AttributeProto.TENSORS)
    attribute.tensors.append(external())
    model.graph.node[0].attribute.append(attribute)


def in_a_sparse_initializer(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add(dims=[8])
    sparse.values.CopyFrom(external())


def in_a_sparse_constant(model: onnx.ModelProto) -> None:
    attribute = AttributeProto(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.values.CopyFrom(external())
    model.graph.node[0].attribute.append(attribute)


def in_a_branch(model: onnx.ModelProto) -> None:
    node = helper.make_node("If", ["x"], ["z"], then_branch=branch(external()), else_branch=branch(external()))
    model.graph.node.append(node)


def in_a_branch_of_a_branch(model: onnx.ModelProto) -> None:
    inner = branch(external())
    outer = branch(numpy_helper.from_array(SECRET, "stolen"))
    outer.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    model.graph.node.append(helper.make_node("Identity", ["x"], ["z"], body=outer))


def in_a_function(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["b"], value=external())
    model.functions.append(helper.make_function("local", "f", ["a"], ["b"], [constant], [helper.make_opsetid("", 17)]))


def in_training_information(model: onnx.ModelProto) -> None:
    model.training_info.add().initialization.initializer.append(external())


def a_loop(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["n", "c"], ["z"]))


def a_foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft"))


def randomness(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["z"], shape=[8]))


def a_sequence(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("SequenceConstruct", ["x"], ["z"]))


ATTACKS: list[tuple[Callable[[onnx.ModelProto], None], str]] = [
    (in_an_initializer, "external data"),
    (by_location_alone, "external data"),
    (in_memory_of_the_process, "external data"),
    (in_a_constant, "external data"),
    (in_a_list_of_tensors, "external data"),
    (in_a_sparse_initializer, "sparse initializers"),
    (in_a_sparse_constant, "a sparse tensor"),
    (in_a_branch, "control flow"),
    (in_a_branch_of_a_branch, "control flow"),
    (in_a_function, "local functions"),
    (in_training_information, "training information"),
    (a_loop, r"control flow \(Loop\)"),
    (a_foreign_operator, "domain 'com.microsoft'"),
    (randomness, "no exported graph has"),
    (a_sequence, "no exported graph has"),
]


def test_a_self_contained_graph_passes() -> None:
    require_safe_graph(small().SerializeToString(), "g.onnx")


@pytest.mark.parametrize("graph", ["encoder", "generator", "mapping"])
def test_the_graphs_that_ship_with_padinv_pass(graph: str) -> None:
    assert read_bundle(builtin_bundle()).graph(f"{graph}.onnx")


@pytest.mark.parametrize(("attack", "reason"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
def test_what_the_exporter_never_writes_is_refused(attack: Callable, reason: str) -> None:
    model = small()
    attack(model)
    with pytest.raises(BundleError, match=reason):
        require_safe_graph(model.SerializeToString(), "g.onnx")
    with pytest.raises(BundleError, match=reason):
        OnnxSession(model.SerializeToString(), Path("g.onnx"), "cpu", 1)


def test_unchecked_onnxruntime_reads_files_of_the_working_directory(tmp_path: Path, monkeypatch) -> None:
    """The attack is real: without the check, the secret comes out."""
    import onnxruntime

    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    monkeypatch.chdir(tmp_path)
    model = small()
    model.graph.initializer[0].CopyFrom(external(name="one"))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (stolen,) = session.run(None, {"x": np.zeros(8, np.float32)})
    assert np.array_equal(stolen, SECRET)


@pytest.fixture
def poisoned(tiny_bundle: Path, tmp_path: Path, monkeypatch) -> Path:
    """A bundle, correctly hashed, whose encoder takes a weight out of a file in the working directory."""
    path = tiny_bundle / "encoder.onnx"
    model = onnx.load(path)
    (colour,) = [tensor for tensor in model.graph.initializer if tensor.name == "colour"]
    count = colour.ByteSize() // 4
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "secret.bin").write_bytes(np.ones(count, np.float32).tobytes())
    colour.ClearField("raw_data")
    colour.data_location = TensorProto.EXTERNAL
    colour.external_data.add(key="location", value="secret.bin")
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((tiny_bundle / "model.json").read_text())
    write_manifest(tiny_bundle, {key: value for key, value in manifest.items() if key not in ("format", "files")})
    monkeypatch.chdir(tmp_path / "home")
    return tiny_bundle


def test_a_bundle_that_reads_other_files_does_not_load(poisoned: Path) -> None:
    with pytest.raises(BundleError, match=r"encoder\.onnx holds external data.*so the model was not loaded"):
        Model.load(poisoned).session("encoder")


def test_a_file_of_the_bundle_itself_is_no_exception(poisoned: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "home" / "secret.bin", poisoned / "secret.bin")
    with pytest.raises(BundleError, match="holds external data"):
        Model.load(poisoned).session("encoder")


def test_info_does_not_call_such_a_bundle_intact(poisoned: Path, run_cli) -> None:
    facts = describe(poisoned)
    assert not facts["intact"]
    assert "external data" in facts["files"]["encoder.onnx"]["problem"]
    assert "external data" in run_cli("info", poisoned).out + run_cli("info", poisoned).err


def test_the_graph_may_not_come_twice() -> None:
    """Protobuf merges a message that comes twice."""
    data = small().SerializeToString()
    with pytest.raises(BundleError, match="several graphs"):
        require_safe_graph(data + data, "g.onnx")


def holds_external_data(data: bytes) -> bool:
    """By onnx's own reading; a file that it cannot read holds nothing."""
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        return False
    return any(tensor.external_data for tensor in external_data_helper._get_all_tensors(model))


@pytest.mark.parametrize("attack", [in_an_initializer, in_a_constant, in_a_branch_of_a_branch, in_a_sparse_constant])
def test_no_damaged_attack_slips_through(attack: Callable) -> None:
    model = small()
    attack(model)
    data = model.SerializeToString()
    rng = np.random.default_rng(0)
    passed = 0
    for place in rng.integers(0, len(data), 1500):
        changed = bytearray(data)
        changed[place] = rng.integers(0, 256)
        try:
            require_safe_graph(bytes(changed), "g.onnx")
        except BundleError:
            continue
        passed += 1
        assert not holds_external_data(bytes(changed))
    assert passed < 1500


def test_what_is_not_a_graph_is_refused() -> None:
    for nothing in (b"", b"\x00", b"ORTM", b"\xff" * 40, b"\x18\x00\x00\x00ORTM" + bytes(64)):
        with pytest.raises(BundleError, match="is not a valid ONNX graph"):
            require_safe_graph(nothing, "g.onnx")


def test_a_graph_of_endless_parts_costs_bounded_work(monkeypatch) -> None:
    monkeypatch.setattr(onnx_safety, "MAX_PARTS", 1000)
    model = small()
    model.graph.node.extend([helper.make_node("Relu", ["x"], ["z"])] * 1000)
    with pytest.raises(BundleError, match="more than 1000 parts"):
        require_safe_graph(model.SerializeToString(), "g.onnx")
