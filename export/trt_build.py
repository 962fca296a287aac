"""ONNX graphs -> TensorRT engines for this machine's GPU, checked for precision and against onnxruntime.

No torch here: engines belong to a GPU and a TensorRT version, so they are built from a finished bundle's graphs on the
machine that will run them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from padinv.export.trt_precision import check_precision
from padinv.runtime.backends.onnxruntime_session import import_onnxruntime
from padinv.runtime.backends.tensorrt_session import (
    Cuda,
    Platform,
    deserialize,
    import_tensorrt,
    logged,
    make_logger,
    platform,
)
from padinv.runtime.errors import BackendError, ExportError, OutputError, UsageError
from padinv.runtime.files import write_bytes
from padinv.runtime.onnx_safety import require_safe_graph
from padinv.runtime.spec import ModelSpec

GRAPHS = ("encoder", "generator")  # the mapping network is tiny and runs in onnxruntime


@dataclass(frozen=True)
class BatchProfile:
    """Batch sizes an engine takes: from `smallest` to `largest`, fastest at `best`."""

    smallest: int = 1
    best: int = 8
    largest: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.best <= self.largest <= 4096:
            raise UsageError(
                f"--batch {self} is not a batch profile; write MIN:BEST:MAX, e.g. 1:8:32, in rising order, at most 4096"
            )

    @classmethod
    def parse(cls, text: str) -> BatchProfile:
        """'1:8:32' -> BatchProfile(1, 8, 32).

        Raises:
            UsageError: not three whole numbers in rising order.
        """
        if not re.fullmatch(r"\d{1,6}:\d{1,6}:\d{1,6}", text):
            raise UsageError(f"--batch {text[:40]!r} is not a batch profile; write MIN:BEST:MAX, e.g. 1:8:32")
        return cls(*map(int, text.split(":")))

    def __str__(self) -> str:
        return f"{self.smallest}:{self.best}:{self.largest}"


@dataclass(frozen=True)
class EngineOptions:
    """How engines are built.

    Attributes:
        batch: sizes they take; None: chosen from the model's size and the GPU's free memory.
        level: TensorRT's optimization level, 0 (fast build) to 5 (fast engine); None: its default.
        version_compatible: engines that later minor versions of TensorRT can run, at some cost of speed.
        hardware_compatible: engines that all GPUs from Ampere on can run, at some cost of speed.
    """

    batch: BatchProfile | None = None
    level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= 5:
            raise UsageError(f"the optimization level of TensorRT is 0 to 5, not {self.level}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form: what decides an engine, apart from graph, GPU and TensorRT."""
        return {
            "batch": None if self.batch is None else str(self.batch),
            "level": self.level,
            "version_compatible": self.version_compatible,
            "hardware_compatible": self.hardware_compatible,
        }


def fitting_profile(spec: ModelSpec, free_bytes: int) -> BatchProfile:
    """Batch sizes for a model's resolution and a GPU's free memory: at most 64, in half of what is free.

    A convolution of the generator's largest layer holds its input, its padded input and its output at once, and
    encoder and generator are loaded together.
    """
    widest = max(channels * r * r for r, channels in zip(spec.resolutions, spec.channels, strict=True))
    image = 2 * 3 * 4 * widest  # two networks, three maps, float32
    largest = max(1, min(64, free_bytes // 2 // image))
    return BatchProfile(1, min(8, largest), largest)


def timing_cache_file(here: Platform) -> Path:
    """Where TensorRT's timings are kept between builds: $XDG_CACHE_HOME/padinv/tensorrt."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "padinv" / "tensorrt" / f"timings-{here.arch}-{here.version}.cache"


def folded(model: bytes) -> bytes:
    """An ONNX graph with everything computed that depends on stored tensors alone.

    A compact graph stores raw weights and computes the convolutions' from them, which a runtime does when it loads the
    graph; TensorRT wants a convolution's weights as they are. onnxruntime's basic level changes nothing else and stays
    within standard operators.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4  # fatal only: that a saved graph may be bound to a machine is said at higher levels
    with TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(file)
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return file.read_bytes()


class EngineBuilder:
    """Builds engines on this machine.

    Raises:
        BackendError: TensorRT, CUDA or a GPU is missing.
    """

    def __init__(self) -> None:
        self.trt = import_tensorrt()
        self.cuda = Cuda()
        self.here: Platform = platform(self.trt, self.cuda)

    def build(
        self,
        model: bytes,
        shapes: Mapping[str, tuple[int, ...]],
        batch: BatchProfile,
        precision: str,
        options: EngineOptions | None = None,
    ) -> bytes:
        """Serialize an engine of one ONNX graph.

        Precision is the graph's own: networks are strongly typed, and TensorFloat-32 is off, so that float32 parts stay
        float32.

        Args:
            model: the ONNX graph.
            shapes: input -> shape without the batch axis.
            precision: 'fp32' or 'fp16', what the finished engine is checked for.
            options: level and compatibility; the batch sizes are `batch`.

        Raises:
            BackendError: TensorRT refuses the graph. ExportError: the engine came out in another precision.
        """
        trt = self.trt
        logger = make_logger(trt)
        try:
            builder = trt.Builder(logger)
        except TypeError as error:  # pybind's way to say that the library gave nothing
            raise BackendError(f"TensorRT did not start{logged(logger)}") from error
        flags = trt.NetworkDefinitionCreationFlag
        wanted = (getattr(flags, name, None) for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"))
        network = builder.create_network(sum(1 << int(flag) for flag in wanted if flag is not None))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(model):
            reasons = "; ".join(str(parser.get_error(i).desc()) for i in range(min(parser.num_errors, 3)))
            raise BackendError(f"TensorRT {trt.__version__} does not take the graph: {reasons or logged(logger)}")
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if hasattr(trt.BuilderFlag, "TF32"):  # on by default
            config.clear_flag(trt.BuilderFlag.TF32)
        self._set_options(config, options or EngineOptions())
        timings = self._load_timings(config)
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, (batch.smallest, *shape), (batch.best, *shape), (batch.largest, *shape))
        if config.add_optimization_profile(profile) < 0:
            raise BackendError(f"TensorRT refuses the batch profile {batch}{logged(logger)}")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BackendError(f"TensorRT could not build the engine{logged(logger)}")
        if timings is not None:
            self._save_timings(config)
        data = bytes(plan)
        runtime, engine = deserialize(trt, data, "the engine it has just built", logger)
        report = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
        del engine, runtime
        check_precision(report, precision, "the engine")
        return data

    def _set_options(self, config: Any, options: EngineOptions) -> None:
        trt = self.trt
        if options.level is not None:
            config.builder_optimization_level = options.level
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if options.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS

    def _load_timings(self, config: Any) -> Any:
        """Give TensorRT what earlier builds measured; None where this version has no such cache."""
        if not hasattr(config, "create_timing_cache"):
            return None
        try:
            data = timing_cache_file(self.here).read_bytes()
        except OSError:
            data = b""
        cache = config.create_timing_cache(data)
        if cache is None or not config.set_timing_cache(cache, False):  # of another GPU or version
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)
        return cache

    def _save_timings(self, config: Any) -> None:
        """Keep what this build measured. Later builds are only slower without it, so a full disk is not an error."""
        with contextlib.suppress(OutputError):
            write_bytes(timing_cache_file(self.here), bytes(config.get_timing_cache().serialize()))


def build_engines(
    folder: Path,
    spec: ModelSpec,
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]],
    precisions: tuple[str, ...],
    options: EngineOptions,
    check: Callable[[str, dict[str, bytes]], dict[str, Any]],
    step: Callable[[str], None] = lambda what: None,
    compact: bool = False,
) -> dict[str, Any]:
    """Build the engines of a bundle's graphs and write them beside them; all of them or none.

    Args:
        folder: holds the ONNX graphs.
        shapes: graph -> input -> shape without the batch axis.
        options: how to build them.
        precisions: 'fp32', 'fp16' or both.
        check: (precision, graph -> plan) -> measured differences; raises ExportError where they are too large.
        step: called with a line before each piece of work.
        compact: the float32 graphs compute their weights from stored ones.

    Returns:
        engine file -> {'batch', 'parity', 'build'}, JSON-ready.

    Raises:
        BackendError: TensorRT, CUDA or a GPU is missing, or the build failed. ExportError: a check failed.
        BundleError: a graph holds what padinv's exporter never writes.
    """
    builder = EngineBuilder()
    batch = options.batch or fitting_profile(spec, builder.cuda.free_memory())
    finished: dict[str, bytes] = {}
    record: dict[str, Any] = {}
    for precision in precisions:
        plans: dict[str, bytes] = {}
        for graph in GRAPHS:
            name = f"{graph}.fp16.onnx" if precision == "fp16" else f"{graph}.onnx"
            step(f"TensorRT engine of the {graph} ({precision})")
            try:
                model = (folder / name).read_bytes()
            except OSError as error:
                raise ExportError(f"{folder / name} cannot be read: {error.strerror or error}") from error
            require_safe_graph(model, str(folder / name))
            if compact and precision == "fp32":
                model = folded(model)
            plans[graph] = builder.build(model, shapes[graph], batch, precision, options)
        step(f"comparing the engines ({precision})")
        parity = check(precision, plans)
        for graph, plan in plans.items():
            file = builder.here.engine_name(graph, precision)
            finished[file] = plan
            record[file] = {"batch": str(batch), "parity": parity, "build": options.to_dict()}
    for file, plan in finished.items():
        write_bytes(folder / file, plan)
    return record
