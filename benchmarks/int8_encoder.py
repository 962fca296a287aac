"""The encoder in 8 bits on a processor: what static quantisation gains, and what it costs in quality.

    python benchmarks/int8_encoder.py [--model BUNDLE] [--calibrate ZIP] [--images ZIP] [--count 64] [--seconds 20]

Quantises the encoder in several ways, calibrated on photographs: onnxruntime's QDQ form (min-max and percentile, whole,
and without its heads), and NNCF through OpenVINO. Each one, and bfloat16, is timed in turns with float32, alone on one
thread, and the reconstructions of other photographs are compared. Processor seconds are given beside seconds, because
other programs disturb them less. Writes benchmarks/results/int8-MODEL-MACHINE.json and .md.
Needs `pip install nncf` besides `padinv[cpu,openvino,export]`.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.backends import Session, open_session
from padinv.runtime.backends.onnxruntime_session import OnnxSession
from padinv.runtime.backends.openvino import OpenVinoSession
from padinv.runtime.benchmark.contestants import Contestant
from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.bundle import read_bundle
from padinv.runtime.images import average_pool, prepare, to_float
from padinv.runtime.passes import encoder_feeds

RESULTS = Path(__file__).resolve().parent / "results"
FACES = Path("/work/shared/faces")
GREY = 127.5


def photographs(path: Path, count: int, size: int) -> np.ndarray:
    """The first pictures of a ZIP, float32 [N, 3, S, S]."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist())[:count]
        pictures = [Image.open(io.BytesIO(archive.read(name))) for name in names]
        return to_float(np.stack([prepare(picture, size).pixels for picture in pictures]))


def onnxruntime_int8(
    graph: Path, feeds: list[dict[str, np.ndarray]], out: Path, method: str, leave: list[str]
) -> bytes:
    """onnxruntime's static quantisation: weights by channel in 8 bits, activations unsigned in 8 bits."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    ready = out.with_suffix(".ready.onnx")
    quant_pre_process(str(graph), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method],
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        nodes_to_exclude=leave,
    )
    return out.read_bytes()


def nncf_int8(graph: Path, feeds: list[dict[str, np.ndarray]]) -> Any:
    """NNCF's post-training quantisation of the OpenVINO model."""
    import nncf
    import openvino

    model = openvino.Core().read_model(str(graph))
    data = nncf.Dataset(feeds, lambda feed: feed)
    return nncf.quantize(model, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(feeds))


class CompiledSession:
    """An OpenVINO model that is in memory, as a session."""

    backend = "openvino"

    def __init__(self, model: Any) -> None:
        import openvino

        settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        self.compiled = openvino.Core().compile_model(model, "CPU", settings)
        self.inputs = tuple(port.get_any_name() for port in self.compiled.inputs)
        self.outputs = tuple(port.get_any_name() for port in self.compiled.outputs)
        self.notes: list[str] = []

    def run(self, feeds: Any) -> dict[str, np.ndarray]:
        found = self.compiled([feeds[name] for name in self.inputs])
        return {name: np.array(found[name], np.float32) for name in self.outputs}


def heads(graph: Path) -> list[str]:
    """Names of the nodes behind the backbone: everything that leads to `wp` alone, and the last layer of the rest."""
    import onnx

    nodes = onnx.load(str(graph), load_external_data=False).graph.node
    makes = {name: node for node in nodes for name in node.output}
    found: set[str] = set()

    def walk(name: str, left: int) -> None:
        node = makes.get(name)
        if node is None or left == 0:
            return
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            found.add(node.name)
            left -= 1
        for one in node.input:
            walk(one, left)

    for output in onnx.load(str(graph), load_external_data=False).graph.output:
        walk(output.name, 1)
    return sorted(found)


def timed(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, tuple[float, float]]:
    """Name -> medians of (seconds, processor seconds) of a call, in turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(taken.values()))) < 5:
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {name: np.median(np.array(values), axis=0) for name, values in taken.items()}
    return {name: (float(wall), float(cpu)) for name, (wall, cpu) in medians.items()}


def encoders(
    graph: Path, feeds: list[dict[str, np.ndarray]], bundle: Any, scratch: Path
) -> Iterator[tuple[str, Session]]:
    yield "onnxruntime fp32", open_session(bundle, "encoder", "cpu", 1, tuned=False)
    yield "openvino fp32", open_session(bundle, "encoder", "openvino", 1)
    yield "openvino bf16", open_session(bundle, "encoder", "openvino", 1, "bf16")
    last = heads(graph)
    for name, method, leave in (
        ("onnxruntime int8, min-max", "MinMax", []),
        ("onnxruntime int8, percentile", "Percentile", []),
        ("onnxruntime int8, min-max, last layers in float32", "MinMax", last),
    ):
        data = onnxruntime_int8(graph, feeds, scratch / "q.onnx", method, leave)
        yield name, OnnxSession(data, graph, "cpu", 1)
        if method == "MinMax":
            yield (
                name.replace("onnxruntime int8", "the same graph in openvino"),
                OpenVinoSession(data, graph, "fp32", 1),
            )
    yield "openvino int8, NNCF", CompiledSession(nncf_int8(graph, feeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--calibrate", type=Path, default=FACES / "train.zip")
    parser.add_argument("--images", type=Path, default=FACES / "val.zip")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--go", type=Path, help="prepare everything, then wait until this file exists")
    arguments = parser.parse_args()
    bundle, machine = read_bundle(arguments.model), this_machine()
    graph, size = bundle.path("encoder.onnx"), bundle.spec.image_size
    generator = open_session(bundle, "generator", "cpu", 1)
    spatial = open_session(bundle, "spatial", "cpu", 1) if bundle.spec.spatial_resolutions else None
    base = Contestant("cpu", "fp32", 1, None, open_session(bundle, "encoder", "cpu", 1, tuned=False), generator)
    base = replace(base, spatial=spatial)
    calibration = photographs(arguments.calibrate, arguments.count, size)
    feeds = [dict(encoder_feeds(base.encoder, image[None])) for image in calibration]
    x = photographs(arguments.images, arguments.count, size)
    rows, calls, wanted = [], {}, None
    with tempfile.TemporaryDirectory() as scratch:
        for name, session in encoders(graph, feeds, bundle, Path(scratch)):
            contestant = replace(base, encoder=session)
            y = np.clip(np.concatenate([contestant.reconstruct(x[i : i + 4]) for i in range(0, len(x), 4)]), -1, 1)
            wanted = y if wanted is None else wanted
            error = float(((average_pool(y, size) - x) ** 2).mean())
            rows.append({"form": name, "mse": error, "mean_levels": float(np.abs(y - wanted).mean() * GREY)})
            calls[name] = lambda s=session: s.run(encoder_feeds(s, x[:1]))
            print(rows[-1], flush=True)
    while arguments.go and not arguments.go.exists():
        time.sleep(1)
    for row, (wall, cpu) in zip(rows, timed(calls, arguments.seconds).values(), strict=True):
        row |= {"milliseconds": 1000 * wall, "processor_milliseconds": 1000 * cpu}
    value = {"model": bundle.name, "machine": machine.to_dict(), "pictures": len(x), "rows": rows}
    stem = RESULTS / f"int8-{bundle.name}-{machine.slug}"
    stem.with_suffix(".json").write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    print(json.dumps(value, indent=1))


if __name__ == "__main__":
    main()
