"""TensorRT engines and the session that runs them, on stand-ins for TensorRT and CUDA (`fake_tensorrt`)."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

import fake_tensorrt
import numpy as np
import onnx
import pytest
from fake_tensorrt import Cuda, describe_layer, install, uninstall

from padinv.export.add_engines import Result, add_engines
from padinv.export.export_bundle import Options
from padinv.export.trt_build import BatchProfile, EngineBuilder, EngineOptions, fitting_profile
from padinv.export.trt_precision import check_precision, layer_precisions
from padinv.runtime import Model
from padinv.runtime.backends.tensorrt_session import TrtSession, open_trt_session
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.errors import BackendError, BundleError, ExportError, MismatchError, UsageError
from padinv.runtime.spec import ModelSpec

VERSIONS = ("10.13.3", "11.4.0")


def build(source: Path, out: Path, **options: object) -> Result:
    return add_engines(read_bundle(source), out, Options(engines=EngineOptions(BatchProfile(1, 2, 4)), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", VERSIONS)
def test_engines_are_built_named_checked_and_run(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    cuda = install(monkeypatch, version)
    result = build(exported, tmp_path / "out", half=True)
    assert result.problem is None
    names = [f"{g}.{p}.sm90.trt{version}.plan" for g in ("encoder", "generator") for p in ("fp16", "fp32")]
    assert [name for name in result.bundle.files if name.endswith(".plan")] == names
    entry = result.bundle.manifest["engines"][f"generator.fp32.sm90.trt{version}.plan"]
    assert entry["batch"] == "1:2:4"
    assert entry["parity"]["reconstruction"] < 1e-4
    assert result.bundle.fingerprint == read_bundle(exported).fingerprint  # finished results stay valid
    assert result.bundle.path("encoder.onnx").read_bytes() == (exported / "encoder.onnx").read_bytes()

    engines = Model.load(tmp_path / "out", backend="trt")
    reference = Model.load(exported, backend="cpu")
    image = np.random.default_rng(0).uniform(-1, 1, (7, 3, 32, 32)).astype(np.float32)  # more than an engine takes
    inversion = engines.encode(image)
    assert engines.session("encoder").backend == "trt"
    np.testing.assert_allclose(inversion.wp, reference.encode(image).wp, atol=1e-5)
    np.testing.assert_allclose(engines.generate_float(inversion), reference.generate_float(inversion), atol=1e-4)
    half = Model.load(tmp_path / "out", backend="trt", precision="fp16")
    difference = np.abs(half.generate_float(inversion) - reference.generate_float(inversion)).mean()
    assert 0 < difference < 0.01
    assert len(engines.sample([1, 2, 3])) == 3  # the mapping network needs no engine

    for model in (engines, half):
        for graph in ("encoder", "generator"):
            session = model.session(graph)
            assert isinstance(session, TrtSession)
            session.close()
            session.close()
    assert cuda.memory == {}
    assert cuda.queues == {}


def test_small_batches_are_filled_up_to_the_smallest_the_engine_takes(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    options = Options(engines=EngineOptions(BatchProfile(2, 2, 4)))
    bundle = add_engines(read_bundle(exported), tmp_path / "out", options).bundle
    session = open_trt_session(bundle, "encoder")
    image = np.random.default_rng(0).uniform(-1, 1, (5, 3, 32, 32)).astype(np.float32)
    whole = session.run({"image": image})["wp"]
    assert whole.shape == (5, 8, 8)  # 4 and then 1
    np.testing.assert_array_equal(session.run({"image": image[4:]})["wp"], whole[4:])


def test_graphs_that_compute_their_weights_are_folded(
    exported_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a compact bundle: TensorRT gets convolutions whose weights are stored."""
    install(monkeypatch)
    for name in ("encoder.onnx", "generator.onnx"):
        model = onnx.load(exported_copy / name)
        weights = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
        for weight in sorted(weights):
            model.graph.node.insert(0, onnx.helper.make_node("Identity", [weight], [f"{weight}.computed"]))
        for node in model.graph.node:
            if node.op_type == "Conv":
                node.input[1] += ".computed"
        onnx.save(model, exported_copy / name)
    manifest = {k: v for k, v in read_bundle(exported_copy).manifest.items() if k not in ("files", "format")}
    write_manifest(exported_copy, manifest)
    with pytest.raises(BackendError, match="kernel weights must be constant"):
        build(exported_copy, tmp_path / "out")
    write_manifest(exported_copy, {**manifest, "compact": True})
    plan = build(exported_copy, tmp_path / "out").bundle.read_bytes("generator.fp32.sm90.trt11.4.0.plan")
    graph = onnx.load_from_string(plan[16 + int.from_bytes(plan[8:16], "little") :]).graph
    assert {node.domain for node in graph.node} == {""}


def test_a_session_may_be_shared_between_threads(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    session = open_trt_session(build(exported, tmp_path / "out").bundle, "encoder")
    images = np.random.default_rng(0).uniform(-1, 1, (16, 3, 32, 32)).astype(np.float32)
    alone = [session.run({"image": image[None]})["wp"] for image in images]
    together: list = [None] * 16

    def work(k: int) -> None:
        together[k] = session.run({"image": images[k][None]})["wp"]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_feeds_that_do_not_fit_are_refused(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    session = open_trt_session(build(exported, tmp_path / "out").bundle, "encoder")
    for feeds in ({"picture": np.zeros((1, 3, 32, 32))}, {}, {"image": np.zeros((1, 3, 64, 64))}):
        with pytest.raises(MismatchError, match="takes image"):
            session.run(feeds)
    with pytest.raises(MismatchError):
        session.run({"image": np.zeros((0, 3, 32, 32))})


def test_an_engine_for_another_gpu_or_tensorrt_is_not_taken(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "11.4.0")
    bundle = build(exported, tmp_path / "out").bundle
    plan = bundle.read_bytes("encoder.fp32.sm90.trt11.4.0.plan")
    install(monkeypatch, "11.4.0", Cuda(arch=(8, 6)))
    with pytest.raises(BundleError, match=r"sm86 and TensorRT 11\.4\.0 \(it has: encoder\.fp32\.sm90"):
        open_trt_session(bundle, "encoder")
    install(monkeypatch, "11.5.0")
    with pytest.raises(BundleError, match=r"--trt$"):
        open_trt_session(bundle, "encoder")
    with pytest.raises(BackendError, match="another GPU or TensorRT"):
        TrtSession(plan, "the engine")
    with pytest.raises(BackendError, match="magic tag does not match"):
        TrtSession(b"noise", "the engine")
    with pytest.raises(BundleError, match=r"no fp16 engine .* --fp16"):
        open_trt_session(bundle, "encoder", "fp16")


def test_an_engine_that_came_out_in_float32_is_not_kept(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, silently_fp32=True)
    with pytest.raises(ExportError, match="asked for in fp16, but TensorRT built 0 of its convolutions in fp16"):
        build(exported, tmp_path / "out", half=True)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_computes_something_else_is_not_kept(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    honest = fake_tensorrt.Context._execute

    def wrong(self: fake_tensorrt.Context, shapes: dict) -> None:
        honest(self, {name: (1, *shape[1:]) for name, shape in shapes.items()})  # the batch axis is ignored

    monkeypatch.setattr(fake_tensorrt.Context, "_execute", wrong)
    with pytest.raises(ExportError, match=r"TensorRT differs by|TensorRT gives numbers"):
        build(exported, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_float16_graphs_there_are_no_float16_engines(
    exported_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    manifest = json.loads((exported_copy / "model.json").read_text())
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if "fp16" not in name}
    (exported_copy / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="export the run again with --fp16"):
        build(exported_copy, tmp_path / "out", half=True)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch)
    with pytest.raises(BackendError, match="needs the package 'tensorrt'"):
        EngineBuilder()
    install(monkeypatch)
    monkeypatch.setitem(sys.modules, "cuda.bindings", types.ModuleType("cuda.bindings"))  # no `runtime` inside
    monkeypatch.delitem(sys.modules, "cuda.bindings.runtime")
    with pytest.raises(BackendError, match="cuda-bindings"):
        EngineBuilder()
    install(monkeypatch, cuda=Cuda(devices=0))
    with pytest.raises(BackendError, match=r"NVIDIA GPU and its driver.*fake: cudaErrorInsufficientDriver"):
        EngineBuilder()
    install(monkeypatch, "10.3.0")
    with pytest.raises(BackendError, match="too old"):
        EngineBuilder()


def test_bindings_without_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a package registry alone gives: the bindings' wheel, whose libraries are elsewhere."""
    install(monkeypatch)
    monkeypatch.delitem(sys.modules, "tensorrt")
    package = tmp_path / "tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libnvinfer.so.11: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"libraries do not load \(libnvinfer\.so\.11"):
        EngineBuilder()


def test_a_graph_that_tensorrt_refuses_is_named(monkeypatch: pytest.MonkeyPatch, exported: Path) -> None:
    install(monkeypatch)
    builder = EngineBuilder()
    with pytest.raises(BackendError, match="does not take the graph: cannot parse"):
        builder.build(b"noise", {}, BatchProfile(), "fp32")
    model = (exported / "mapping.onnx").read_bytes()
    with pytest.raises(BackendError, match=r"could not build the engine .an input has no optimization profile"):
        builder.build(model, {"other": (8,)}, BatchProfile(), "fp32")


def test_too_little_device_memory_is_a_sentence(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = install(monkeypatch)
    bundle = build(exported, tmp_path / "out").bundle
    monkeypatch.setattr(cuda, "cudaMalloc", lambda size: (cuda.cudaError_t.cudaErrorMemoryAllocation, None))
    with pytest.raises(BackendError, match="memory does not hold the engine's buffers"):
        open_trt_session(bundle, "encoder")
    assert cuda.memory == {}


def layers(*kinds: tuple[str, str], major: int) -> str:
    return json.dumps({"Layers": [describe_layer(name, kind, major) for name, kind in kinds]})


@pytest.mark.parametrize("major", [10, 11])
def test_layer_types_are_read_in_both_schemas(major: int) -> None:
    text = layers(("conv_1", "Half"), ("conv_2", "Half"), ("conv_3", "Float"), major=major)
    assert layer_precisions(text).convolutions == {"fp16": 2, "fp32": 1}
    with pytest.raises(ExportError, match="built 2 of its convolutions in fp16 and 1 in fp32"):
        check_precision(text, "fp16", "the engine")
    with pytest.raises(ExportError, match="asked for in fp32"):
        check_precision(text, "fp32", "the engine")
    assert check_precision(layers(("a", "Half"), major=major), "fp16", "the engine").convolutions == {"fp16": 1}
    assert check_precision(layers(("a", "Float"), major=major), "fp32", "the engine").convolutions == {"fp32": 1}


def test_verbose_formats_casts_and_moves_are_understood() -> None:
    half, single = "Channel major FP16 format where channel % 8 == 0", "Row major linear FP32 format"
    text = json.dumps(
        {
            "Layers": [
                # A cast fused into the first convolution: it reads float32 and computes in float16.
                {
                    "Name": "Cast + Conv",
                    "LayerType": "CaskConvolution",
                    "Inputs": [{"Format/Datatype": single}],
                    "Outputs": [{"Format/Datatype": half}],
                },
                {
                    "Name": "Reformatting CopyNode for conv",
                    "LayerType": "Reformat",
                    "Inputs": [{"Format/Datatype": single}],
                },
                {"Name": "demod", "LayerType": "kgen", "Inputs": [{"Format/Datatype": single}], "Outputs": []},
            ]
        }
    )
    found = check_precision(text, "fp16", "the engine")
    assert found.to_dict() == {"convolutions": {"fp16": 1}, "others": {"fp32": 1}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "gave no list of layers"),
        ("[]", "gave no list of layers"),
        ('{"Layers": ["conv_1"]}', "detailed profiling verbosity"),
    ],
)
def test_an_inspector_that_says_nothing_is_no_proof(text: str, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        check_precision(text, "fp16", "the engine")


def test_nothing_recognisable_is_judged_by_the_majority() -> None:
    def kgen(*kinds: str) -> str:
        return json.dumps({"Layers": [{"Name": "k", "LayerType": "kgen", "Inputs": [{"DataType": k}]} for k in kinds]})

    check_precision(kgen("Half", "Half", "Float"), "fp16", "the engine")
    with pytest.raises(ExportError):
        check_precision(kgen("Half", "Float", "Float"), "fp16", "the engine")
    with pytest.raises(ExportError):
        check_precision(kgen(), "fp16", "the engine")


@pytest.mark.parametrize("text", ["0:1:2", "1:2", "1:2:99999", "a:b:c", "1:2:3:4", "-1:2:3", ""])
def test_batch_profiles_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="MIN:BEST:MAX"):
        BatchProfile.parse(text)
    assert BatchProfile.parse("1:8:32") == BatchProfile()


def test_engines_from_the_command_line(
    run_cli: Callable, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    result = run_cli("export", exported, "--out", tmp_path / "out", "--trt", "--batch", "1:1:2")
    assert result.code == 0, result.err
    assert "engine generator.fp32.sm90.trt11.4.0.plan (batch 1:1:2)" in result.out
    install(monkeypatch, cuda=Cuda(devices=0))
    result = run_cli("export", exported, "--out", tmp_path / "none", "--trt")
    assert result.code == 1
    assert "NVIDIA GPU" in result.err
    assert not (tmp_path / "none").exists()


def header(plan: bytes) -> dict:
    return dict(json.loads(plan[16 : 16 + int.from_bytes(plan[8:16], "little")]))


def test_engines_are_added_in_place(
    exported_copy: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install(monkeypatch)
    (exported_copy / "notes.txt").write_text("the owner's")
    before = {name: (exported_copy / name).read_bytes() for name in read_bundle(exported_copy).files}
    result = run_cli("export", exported_copy, "--trt", "--batch", "1:2:4")
    assert result.code == 0, result.err
    bundle = read_bundle(exported_copy)
    plans = [name for name in bundle.files if name.endswith(".plan")]
    assert len(plans) == 2
    assert {name: bundle.read_bytes(name) for name in before} == before
    assert "notes.txt" not in bundle.files  # what is not the bundle's stays outside it
    assert not [path for path in exported_copy.iterdir() if path.name.startswith(".padinv-")]
    assert Model.load(exported_copy, backend="trt").session("generator").backend == "trt"

    written = (exported_copy / plans[0]).stat().st_mtime_ns
    assert run_cli("export", exported_copy, "--trt", "--batch", "1:2:4").code == 0  # done already
    assert (exported_copy / plans[0]).stat().st_mtime_ns == written
    assert run_cli("export", exported_copy, "--trt", "--batch", "1:2:8", "--out", exported_copy).code == 0
    assert read_bundle(exported_copy).manifest["engines"][plans[0]]["batch"] == "1:2:8"


def test_a_failed_build_leaves_the_bundle_as_it_was(
    exported_copy: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install(monkeypatch, silently_fp32=True)
    before = {path.name: path.read_bytes() for path in exported_copy.iterdir()}
    result = run_cli("export", exported_copy, "--trt", "--fp16")
    assert result.code == 1
    assert {path.name: path.read_bytes() for path in exported_copy.iterdir()} == before


def test_without_tensorrt_the_graphs_are_written_and_the_engines_follow_by_the_same_command(
    run_folder: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uninstall(monkeypatch)
    command = ["export", run_folder, "--out", tmp_path / "out", "--trt", "--batch", "1:2:4"]
    result = run_cli(*command)
    assert result.code == 3
    assert "but no TensorRT engines: TensorRT needs the package 'tensorrt'" in result.err
    assert "the same command adds them in place once that is solved" in result.err
    graphs = (tmp_path / "out" / "encoder.onnx").read_bytes()
    install(monkeypatch)
    result = run_cli(*command)
    assert result.code == 0, result.err
    bundle = read_bundle(tmp_path / "out")
    assert len(bundle.manifest["engines"]) == 2
    assert bundle.read_bytes("encoder.onnx") == graphs


def test_flags_and_timings_reach_the_builder(
    exported_copy: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install(monkeypatch)
    command = ["export", exported_copy, "--trt", "--level", "5", "--version-compatible", "--hardware-compatible"]
    assert run_cli(*command).code == 0
    bundle = read_bundle(exported_copy)
    name = "generator.fp32.sm90.trt11.4.0.plan"
    found = header(bundle.read_bytes(name))
    assert (found["level"], found["version_compatible"], found["hardware"]) == (5, True, "ampere+")
    assert bundle.manifest["engines"][name]["build"]["level"] == 5
    cache = tmp_path / "cache" / "padinv" / "tensorrt" / "timings-sm90-11.4.0.cache"
    assert cache.read_bytes() == b"timings" * 2  # the second engine began with the first one's
    cache.write_bytes(b"of another GPU")
    assert run_cli(*command, "--overwrite").code == 0
    assert cache.read_bytes() == b"timings" * 2


def test_batch_sizes_follow_from_image_size_and_free_memory() -> None:
    small, large = ModelSpec(64, (64, 64, 64, 64, 64)), ModelSpec(1024, (512, 512, 512, 512, 512, 256, 128, 64, 32))
    assert fitting_profile(small, 80 << 30) == BatchProfile(1, 8, 64)
    assert fitting_profile(large, 80 << 30).largest > fitting_profile(large, 8 << 30).largest >= 1
    assert fitting_profile(large, 1) == BatchProfile(1, 1, 1)


@pytest.mark.parametrize("flags", [["--level", "3"], ["--batch", "1:2:4"], ["--version-compatible"]])
def test_engine_flags_need_trt(run_folder: Path, run_cli: Callable, tmp_path: Path, flags: list[str]) -> None:
    result = run_cli("export", run_folder, "--out", tmp_path / "out", *flags)
    assert result.code == 2
    assert f"{flags[0]} is for TensorRT engines; add --trt" in result.err


def test_a_new_bundle_needs_a_folder(run_folder: Path, run_cli: Callable) -> None:
    result = run_cli("export", run_folder)
    assert result.code == 2
    assert "--out" in result.err
