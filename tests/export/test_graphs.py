"""The exported bundle: its graphs walked node by node, and its results against torch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_run import SPEC, lively_encoder, lively_generator

from padinv.checkpoints import generator_hash, load_encoder, load_generator
from padinv.export.fp16_reductions import widen_sums
from padinv.export.graph_check import audit
from padinv.export.graph_table import graphs
from padinv.export.onnx_export import _rename, to_onnx
from padinv.export.onnx_modules import EncoderGraph, GeneratorGraph, check_pair
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.runtime import Model
from padinv.runtime.backends.onnxruntime_session import OnnxSession
from padinv.runtime.bundle import read_bundle
from padinv.runtime.errors import ExportError, MismatchError, UsageError
from padinv.runtime.spec import ModelSpec

GRAPH_FILES = ("encoder.onnx", "generator.onnx", "mapping.onnx", "encoder.fp16.onnx", "generator.fp16.onnx")
LATENTS = {
    "wp": ["batch", 8, 8],
    "const": ["batch", 8, 4, 4],
    "pad_4": ["batch", 8, 20],
    "pad_8": ["batch", 8, 36],
    "pad_16": ["batch", 6, 68],
}
PORTS = {
    "encoder": ({"image": ["batch", 3, 32, 32]}, LATENTS),
    "generator": (LATENTS, {"output": ["batch", 3, 32, 32]}),
    "mapping": ({"z": ["batch", 8]}, {"w": ["batch", 8]}),
}


def ports(values: list) -> dict:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }


@pytest.mark.parametrize("file", GRAPH_FILES)
def test_a_graph_is_what_the_design_says(exported: Path, file: str) -> None:
    model = onnx.load(exported / file)
    onnx.checker.check_model(model, full_check=True)
    inputs, outputs = PORTS[file.split(".")[0]]
    assert ports(model.graph.input) == inputs
    assert ports(model.graph.output) == outputs
    assert {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)} == {TensorProto.FLOAT}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.ir_version <= 8  # read by every onnxruntime that knows the opset

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kinds = {node.op_type for node in model.graph.node}
    assert not any("Random" in kind or "Sequence" in kind for kind in kinds)
    assert not kinds & {"If", "Loop", "Scan", "Multinomial", "Bernoulli", "BatchNormalization", "Transpose", "GatherND"}
    wanted = TensorProto.FLOAT16 if "fp16" in file else TensorProto.FLOAT
    convolutions = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    assert bool(convolutions) == (file != "mapping.onnx")
    for node in convolutions:
        assert stored[node.input[1]].data_type == wanted
    assert TensorProto.DOUBLE not in {tensor.data_type for tensor in model.graph.initializer}


@pytest.mark.parametrize("file", GRAPH_FILES)
def test_a_graph_carries_no_trace_of_this_machine(exported: Path, file: str) -> None:
    data = (exported / file).read_bytes()
    for trace in (os.getcwd(), str(Path(torch.__file__).parent), "onnx_export.py", "site-packages"):
        assert trace.encode() not in data
    assert b"/somebody/private" not in (exported / "model.json").read_bytes()


def test_the_manifest_stores_the_comparison(exported: Path) -> None:
    manifest = json.loads((exported / "model.json").read_text())
    exact, half = manifest["parity"]["fp32"], manifest["parity"]["fp16"]
    assert exact["batches"] == [1, 3, 8]
    assert set(exact["encoder"]) == set(LATENTS)
    for graph in ("encoder", "generator", "mapping"):
        for name, differences in exact[graph].items():
            assert set(differences) == {"1", "3", "8"}, name
            assert 0 <= max(differences.values()) < 1e-4
    assert exact["reconstruction"] < 1e-4
    assert exact["reconstruction"] < half["reconstruction"] < 0.1  # float16 is another arithmetic
    assert "onnxruntime" in half["method"]
    assert manifest["precision"] == ["fp32", "fp16"]
    assert manifest["name"] == "my-run"
    record = manifest["provenance"]["encoder"]["record"]
    assert record == {"data": "photos.zip", "images": 12}
    assert "my-run" in (exported / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("batch", [1, 5])
@torch.no_grad()
def test_the_runtime_reproduces_torch(exported: Path, run_folder: Path, batch: int) -> None:
    generator = load_generator(run_folder / "generator.safetensors")
    encoder = load_encoder(run_folder / "encoder.safetensors")
    model = Model.load(exported, backend="cpu")
    assert model.generator_hash == generator_hash(generator)
    image = torch.from_numpy(np.random.default_rng(batch).uniform(-1, 1, (batch, 3, 32, 32)).astype(np.float32))
    inversion = model.encode(image.numpy())
    wp, const, rings = encoder(image)
    np.testing.assert_allclose(inversion.wp, wp.numpy(), atol=1e-4)
    np.testing.assert_allclose(inversion.rings[16], rings[16].numpy(), atol=1e-4)
    picture = generator.synthesis(wp, const, rings).numpy()
    np.testing.assert_allclose(model.generate_float(inversion), picture, atol=1e-4)

    seeds = list(range(batch))
    z = torch.from_numpy(np.stack([np.random.RandomState(s).randn(8) for s in seeds]).astype(np.float32))
    sample = generator(z, truncation=0.5).numpy()
    np.testing.assert_allclose(model.generate_float(model.sample(seeds, 0.5)), sample, atol=1e-4)


@torch.no_grad()
def test_the_half_precision_twins_run_and_are_close(exported: Path) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (3, 3, 32, 32)).astype(np.float32)
    exact, half = (Model.load(exported, backend="cpu", precision=p) for p in ("fp32", "fp16"))
    a, b = exact.generate_float(exact.encode(image)), half.generate_float(half.encode(image))
    assert 0 < np.abs(a - b).mean() < 0.01


def test_the_weights_load_as_generator_and_as_encoder(exported: Path, run_folder: Path) -> None:
    generator = load_generator(exported / "weights.safetensors")
    assert generator_hash(generator) == read_bundle(exported).generator_hash
    original = load_encoder(run_folder / "encoder.safetensors").state_dict()
    for name, tensor in load_encoder(exported / "weights.safetensors").state_dict().items():
        torch.testing.assert_close(tensor, original[name].half().to(tensor.dtype))


@torch.no_grad()
def test_a_latent_only_encoder_gives_the_learned_constant_and_empty_rings() -> None:
    generator = lively_generator(ModelSpec(16, (6, 5, 4), z_dim=7, w_dim=8, mapping_layers=2))
    encoder = lively_encoder(generator, EncoderConfig("fast", padding=False))
    table = graphs(generator.spec)
    model = to_onnx(EncoderGraph(encoder), table["encoder"], dynamo=False)
    audit(model, table["encoder"])
    outputs = OnnxSession(model.SerializeToString(), Path("encoder.onnx"), "cpu", 1).run(
        {"image": np.zeros((3, 3, 16, 16), np.float32)}
    )
    np.testing.assert_array_equal(outputs["const"], np.repeat(generator.const.numpy()[None], 3, 0))
    assert outputs["pad_8"].shape == (3, 5, 36)
    assert not outputs["pad_8"].any()
    np.testing.assert_allclose(outputs["wp"], encoder(torch.zeros(3, 3, 16, 16))[0].numpy(), atol=1e-5)


@torch.no_grad()
def test_an_encoder_that_predicts_some_rings_gives_the_others_empty() -> None:
    generator = lively_generator(ModelSpec(16, (6, 5, 4), z_dim=7, w_dim=8, mapping_layers=2))
    wrapper = EncoderGraph(lively_encoder(generator, EncoderConfig("fast", pad_resolutions=(8,))))
    _, _, pad_4, pad_8 = wrapper(torch.rand(2, 3, 16, 16))
    assert pad_4.shape == (2, 6, 20)
    assert not pad_4.any()
    assert pad_8.any()


@torch.no_grad()
def test_the_tracing_exporter_of_older_torch_serves_too() -> None:
    generator = lively_generator(ModelSpec(16, (6, 5, 4), z_dim=7, w_dim=8, mapping_layers=2))
    graph = graphs(generator.spec)["generator"]
    model = to_onnx(GeneratorGraph(generator), graph, dynamo=False)
    audit(model, graph)
    session = OnnxSession(model.SerializeToString(), Path("generator.onnx"), "cpu", 1)
    feeds = graph.example(4)
    rings = {r: feeds[f"pad_{r}"] for r in generator.spec.pad_resolutions}
    expected = generator.synthesis(feeds["wp"], feeds["const"], rings).numpy()
    got = session.run({name: tensor.numpy() for name, tensor in feeds.items()})["output"]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_names_of_inner_values_give_way_to_ours() -> None:
    """Exporters number operators, so the fifth padding operator's result is called like an input of ours."""
    graph = graphs(ModelSpec(16, (3, 3, 3), w_dim=2))["generator"]
    nodes = [
        helper.make_node("Pad", ["const_in", "sizes"], ["pad_4"], mode="constant"),
        helper.make_node("Add", ["pads_0", "pads_1"], ["wp"]),
        helper.make_node("Mul", ["pad_4", "wp"], ["y"]),
    ]
    inputs = ["wp_in", "const_in", "pads_0", "pads_1"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in (*inputs, "y")]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:4], values[4:]))
    _rename(model, graph)
    assert [value.name for value in model.graph.input] == ["wp", "const", "pad_4", "pad_8"]
    assert [value.name for value in model.graph.output] == ["output"]
    pad, add, mul = model.graph.node
    assert pad.input[:] == ["const", "sizes"]
    assert add.input[:] == ["pad_4", "pad_8"]
    assert mul.input[:] == [pad.output[0], add.output[0]]
    assert len({*graph.inputs, pad.output[0], add.output[0]}) == 6
    assert ports(model.graph.input)["pad_8"] == ["batch", 3, 36]


def test_averages_of_float16_maps_are_summed_in_float32() -> None:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape)
        for name, shape in (("x", ["n", 3, 128, 128]), ("y", ["n", 3]))
    ]
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    model = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    assert widen_sums(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [n.op_type for n in model.graph.node] == ["Cast", "ReduceMean", "Cast"]
    assert helper.get_attribute_value(model.graph.node[0].attribute[0]) == TensorProto.FLOAT
    session = OnnxSession(model.SerializeToString(), Path("m.onnx"), "cpu", 1)
    assert session.run({"x": np.full((2, 3, 128, 128), 11.0)})["y"].tolist() == [[11.0] * 3] * 2


@pytest.fixture(scope="module")
def mapping_graph() -> tuple[onnx.ModelProto, object]:
    generator = lively_generator(SPEC)
    from padinv.export.onnx_modules import MappingGraph

    graph = graphs(SPEC)["mapping"]
    return to_onnx(MappingGraph(generator), graph, dynamo=False), graph


def _custom(model: onnx.ModelProto) -> None:
    model.graph.node[-1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _random(model: onnx.ModelProto) -> None:
    output = model.graph.node[-1].output[0]
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("RandomNormalLike", ["before"], ["noise"]))
    model.graph.node.append(helper.make_node("Add", ["before", "noise"], [output]))


def _conv(model: onnx.ModelProto) -> None:
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    model.graph.initializer.append(axes)
    model.graph.node.insert(0, helper.make_node("Unsqueeze", ["z", "axes"], ["map"]))
    model.graph.node.insert(1, helper.make_node("Conv", ["map", "map"], ["unused"]))


def _double(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3), "numbers"))


def _renamed(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["latent" if name == "z" else name for name in node.input]
    model.graph.input[0].name = "latent"


def _fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def _not_a_graph(model: onnx.ModelProto) -> None:
    del model.graph.node[0]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_custom, "custom operator com.example"),
        (_random, "RandomNormalLike"),
        (_conv, "weights are computed at run time"),
        (_double, "float64"),
        (_renamed, "latent"),
        (_fixed_batch, "input z of shape"),
        (_not_a_graph, "checker"),
    ],
)
def test_the_audit_refuses(mapping_graph: tuple, damage: object, word: str) -> None:
    model, graph = onnx.ModelProto.FromString(mapping_graph[0].SerializeToString()), mapping_graph[1]
    audit(model, graph)
    damage(model)  # type: ignore[operator]
    with pytest.raises(ExportError, match=word):
        audit(model, graph)


def test_an_encoder_of_another_generator_is_refused() -> None:
    generator = lively_generator(ModelSpec(16, (6, 5, 4), z_dim=7, w_dim=8, mapping_layers=2))
    other = Encoder(ModelSpec(16, (6, 5, 4), z_dim=7, w_dim=9, mapping_layers=2), EncoderConfig("fast"))
    with pytest.raises(MismatchError, match="w_dim is 9, the generator's is 8"):
        check_pair(generator, other)


def test_an_opset_out_of_range_is_refused() -> None:
    generator = lively_generator(ModelSpec(16, (6, 5, 4)))
    with pytest.raises(UsageError, match="17 to 21"):
        to_onnx(GeneratorGraph(generator), graphs(generator.spec)["generator"], opset=11)
