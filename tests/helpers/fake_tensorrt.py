"""A stand-in for `tensorrt` and `cuda.bindings.runtime`: the same calls and rules, computing with onnxruntime.

An engine is the ONNX graph with a header. Copies and execution are queued and happen when the stream is synchronised,
as they may on a GPU, so that results read too early or inputs freed too early show.
"""

from __future__ import annotations

import ctypes
import enum
import json
import sys
import types
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

_MAGIC = b"FAKEPLAN"


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.started = True


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 2


class LayerInformationFormat(enum.Enum):
    ONELINE = 0
    JSON = 1


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model: bytes = b""


class Config:
    def __init__(self) -> None:
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.cleared: list[Any] = []
        self.profiles: list[Profile] = []
        self.flags: list[Any] = []
        self.cache: TimingCache | None = None

    def set_flag(self, flag: Any) -> None:
        self.flags.append(flag)

    def create_timing_cache(self, data: bytes) -> TimingCache:
        return TimingCache(data)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return not cache.data or cache.data.startswith(b"timings")

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache

    def clear_flag(self, flag: Any) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = bytes(data)

    def serialize(self) -> memoryview:
        return memoryview(self.data + b"timings")


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, low: tuple[int, ...], best: tuple[int, ...], high: tuple[int, ...]) -> None:
        self.shapes[name] = [low, best, high]


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: Network, logger: ILogger) -> None:
        self._network, self._errors = network, list[str]()

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._errors[index])

    def parse(self, model: bytes) -> bool:
        try:
            graph = onnx.load_from_string(model).graph
            onnx.checker.check_model(onnx.load_from_string(model))
        except Exception as error:
            self._errors.append(f"cannot parse: {type(error).__name__}")
            return False
        stored = {tensor.name for tensor in graph.initializer}
        if any(node.op_type in ("Conv", "ConvTranspose") and node.input[1] not in stored for node in graph.node):
            self._errors.append("kernel weights must be constant")
            return False
        self._network.model = model
        return True


class Cuda:
    """`cuda.bindings.runtime`."""

    class cudaError_t(enum.Enum):
        cudaSuccess = 0
        cudaErrorMemoryAllocation = 2
        cudaErrorInsufficientDriver = 35

    class cudaDeviceAttr(enum.Enum):
        cudaDevAttrComputeCapabilityMajor = 75
        cudaDevAttrComputeCapabilityMinor = 76

    class cudaMemcpyKind(enum.Enum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    cudaStreamNonBlocking = 1

    def __init__(self, arch: tuple[int, int] = (9, 0), devices: int = 1) -> None:
        self.arch, self.devices, self.made = arch, devices, 0
        self.memory: dict[int, ctypes.Array[Any]] = {}
        self.queues: dict[int, list[Any]] = {}
        self.ok = self.cudaError_t.cudaSuccess

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        if self.devices == 0:
            return (self.cudaError_t.cudaErrorInsufficientDriver, None)
        return (self.ok, self.devices)

    def cudaGetErrorString(self, error: Any) -> tuple[Any, ...]:
        return (self.ok, f"fake: {error.name}".encode())

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return (self.ok, 64 << 20, 80 << 30)

    def cudaGetDevice(self) -> tuple[Any, ...]:
        return (self.ok, 0)

    def cudaDeviceGetAttribute(self, attribute: Any, device: int) -> tuple[Any, ...]:
        major = attribute is self.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor
        return (self.ok, self.arch[0] if major else self.arch[1])

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if size > 1 << 30:
            return (self.cudaError_t.cudaErrorMemoryAllocation, None)
        block = (ctypes.c_byte * size)()
        self.memory[ctypes.addressof(block)] = block
        return (self.ok, ctypes.addressof(block))

    def cudaFree(self, pointer: int) -> tuple[Any, ...]:
        del self.memory[pointer]
        return (self.ok,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == self.cudaStreamNonBlocking
        self.made += 1
        self.queues[self.made] = []
        return (self.ok, self.made)

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        del self.queues[stream]
        return (self.ok,)

    def cudaMemcpyAsync(self, target: int, source: int, count: int, kind: Any, stream: int) -> tuple[Any, ...]:
        device = target if kind is self.cudaMemcpyKind.cudaMemcpyHostToDevice else source
        assert count <= len(self.memory[device]), "copy beyond the buffer"
        self.queues[stream].append(lambda: ctypes.memmove(target, source, count))
        return (self.ok,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        for work in self.queues[stream]:
            work()
        self.queues[stream].clear()
        return (self.ok,)


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        self._shapes[name] = shape
        return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in self._engine.cuda.memory
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        shapes = dict(self._shapes)
        self._engine.cuda.queues[stream].append(lambda: self._execute(shapes))
        return True

    def _execute(self, shapes: dict[str, tuple[int, ...]]) -> None:
        engine = self._engine
        feeds = {}
        for name, shape in shapes.items():
            count = int(np.prod(shape))
            block = engine.cuda.memory[self._addresses[name]]
            feeds[name] = np.frombuffer(block, np.float32, count).reshape(shape).copy()
        for name, array in zip(engine.outputs, engine.session.run(list(engine.outputs), feeds), strict=True):
            block = engine.cuda.memory[self._addresses[name]]
            data = array.astype(np.float32).tobytes()
            assert len(data) <= len(block)
            ctypes.memmove(ctypes.addressof(block), data, len(data))


class Engine:
    def __init__(self, plan: bytes, cuda: Cuda) -> None:
        size = int.from_bytes(plan[8:16], "little")
        self.header = json.loads(plan[16 : 16 + size])
        self.cuda = cuda
        model = plan[16 + size :]
        self.graph = onnx.load_from_string(model).graph
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.graph.input]
        self.outputs = [value.name for value in self.graph.output]
        self._values = {value.name: value for value in (*self.graph.input, *self.graph.output)}

    @property
    def num_io_tensors(self) -> int:
        return len(self._values)

    def get_tensor_name(self, index: int) -> str:
        return list(self._values)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> list[int]:
        dims = self._values[name].type.tensor_type.shape.dim
        return [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]

    def get_tensor_dtype(self, name: str) -> DataType:
        kind = self._values[name].type.tensor_type.elem_type
        return {TensorProto.FLOAT: DataType.FLOAT, TensorProto.FLOAT16: DataType.HALF}[kind]

    def get_tensor_profile_shape(self, name: str, index: int) -> list[list[int]]:
        return self.header["profiles"][index][name]

    def create_execution_context(self) -> Context:
        return Context(self)

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)


class Inspector:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get_engine_information(self, kind: LayerInformationFormat) -> str:
        assert kind is LayerInformationFormat.JSON
        header = self._engine.header
        stored = {tensor.name: tensor.data_type for tensor in self._engine.graph.initializer}
        convolutions = [node for node in self._engine.graph.node if node.op_type in ("Conv", "ConvTranspose")]
        if not header["detailed"]:
            return json.dumps({"Layers": [node.name for node in convolutions]})
        layers = []
        for node in convolutions:
            half = stored[node.input[1]] == TensorProto.FLOAT16 and not header["silently_fp32"]
            layers.append(describe_layer(node.name, "Half" if half else "Float", header["major"]))
        # TensorRT puts separators into names that are no legal JSON.
        return json.dumps({"Layers": layers}).replace("+", "\x1e")


def describe_layer(name: str, kind: str, major: int) -> dict[str, Any]:
    """A convolution in the inspector's JSON: TensorRT 10 has one field for format and type, 11 two."""
    if major == 10:
        tensor = {"Name": f"{name}+in", "Dimensions": [1, 8, 4, 4], "Format/Datatype": kind}
        return {"Name": name, "LayerType": "CaskConvolution", "Inputs": [tensor], "Outputs": [tensor]}
    tensor = {"Name": f"{name}+in", "Dimensions": [1, 8, 4, 4], "Format": "Row major linear", "DataType": kind}
    return {"Name": name, "LayerType": "correlation", "Inputs": [tensor], "Outputs": [tensor]}


def make_tensorrt(version: str, cuda: Cuda, silently_fp32: bool = False) -> types.ModuleType:
    """The module, in the state of a version."""
    major = int(version.split(".")[0])
    members = {"STRONGLY_TYPED": 0} if major > 10 else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
    flags = enum.IntEnum("NetworkDefinitionCreationFlag", members)
    builder_flags = enum.Enum(
        "BuilderFlag", ["TF32", "VERSION_COMPATIBLE"] if major > 10 else ["TF32", "FP16", "VERSION_COMPATIBLE"]
    )

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            assert logger.started
            self._logger = logger

        def create_network(self, given: int) -> Network:
            assert given & 1 << flags.STRONGLY_TYPED or major > 10, "not strongly typed"
            return Network(given)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> memoryview | None:
            model = onnx.load_from_string(network.model)
            if {value.name for value in model.graph.input} != set(config.profiles[0].shapes):
                self._logger.log(Severity.ERROR, "an input has no optimization profile")  # type: ignore[attr-defined]
                return None
            assert builder_flags.TF32 in config.cleared
            header = json.dumps(
                {
                    "version": version,
                    "major": major,
                    "arch": cuda.arch,
                    "profiles": [profile.shapes for profile in config.profiles],
                    "detailed": config.profiling_verbosity is ProfilingVerbosity.DETAILED,
                    "silently_fp32": silently_fp32,
                    "level": getattr(config, "builder_optimization_level", None),
                    "hardware": str(getattr(config, "hardware_compatibility_level", None)),
                    "version_compatible": builder_flags.VERSION_COMPATIBLE in config.flags,
                }
            ).encode()
            return memoryview(_MAGIC + len(header).to_bytes(8, "little") + header + network.model)

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if not plan.startswith(_MAGIC):
                self._logger.log(Severity.ERROR, "magic tag does not match")  # type: ignore[attr-defined]
                return None
            engine = Engine(plan, cuda)
            return engine if engine.header["version"] == version else None

    module = types.ModuleType("tensorrt")
    module.__dict__.update(
        __version__=f"{version}.9",
        ILogger=ILogger,
        Builder=Builder,
        Runtime=Runtime,
        OnnxParser=OnnxParser,
        DataType=DataType,
        TensorIOMode=TensorIOMode,
        ProfilingVerbosity=ProfilingVerbosity,
        LayerInformationFormat=LayerInformationFormat,
        NetworkDefinitionCreationFlag=flags,
        BuilderFlag=builder_flags,
        HardwareCompatibilityLevel=types.SimpleNamespace(AMPERE_PLUS="ampere+"),
        nptype=lambda kind: {DataType.FLOAT: np.float32, DataType.HALF: np.float16}[kind],
    )
    return module


def install(
    patch: pytest.MonkeyPatch, version: str = "11.4.0", cuda: Cuda | None = None, silently_fp32: bool = False
) -> Cuda:
    """Put the stand-ins where `import` finds them; returns the CUDA one."""
    cuda = cuda or Cuda()
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = cuda  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "tensorrt", make_tensorrt(version, cuda, silently_fp32))
    patch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    patch.setitem(sys.modules, "cuda.bindings", bindings)
    patch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    return cuda


def uninstall(patch: pytest.MonkeyPatch) -> None:
    """Make `import tensorrt` and `import cuda` fail, whatever is installed."""
    for name in ("tensorrt", "cuda", "cuda.bindings", "cuda.bindings.runtime"):
        patch.setitem(sys.modules, name, None)
