"""TensorRT behind the session interface: finding a bundle's engine, and running it without torch.

Device memory goes through `cuda-bindings`, NVIDIA's own. Written for TensorRT 10.13 and newer, 11 included.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from padinv.runtime.backends.protocol import on_host
from padinv.runtime.bundle import Bundle
from padinv.runtime.errors import BackendError, BundleError, MismatchError

_INSTALL = "pip install 'padinv[trt]'"
_OLDEST = (10, 13)


@dataclass(frozen=True)
class Platform:
    """What an engine is bound to.

    Attributes:
        arch: compute capability of the GPU, e.g. 'sm90'.
        version: of TensorRT, e.g. '11.4.0'.
    """

    arch: str
    version: str

    def engine_name(self, graph: str, precision: str) -> str:
        """File name of an engine in a bundle, e.g. 'generator.fp16.sm90.trt11.4.0.plan'."""
        return f"{graph}.{precision}.{self.arch}.trt{self.version}.plan"


def import_tensorrt() -> Any:
    """The tensorrt module.

    Raises:
        BackendError: not installed, its libraries do not load, or it is too old.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise BackendError(
            f"TensorRT needs the package 'tensorrt', which is not installed; install it with: {_INSTALL}"
        ) from error
    except (ImportError, OSError) as error:  # the bindings are there, the libraries are not
        raise BackendError(
            f"TensorRT is installed but its libraries do not load ({_line(error)}); install the libraries that belong "
            f"to it, or reinstall with: {_INSTALL}"
        ) from error
    version = tuple(int(part) for part in tensorrt.__version__.split(".")[:2])
    if version < _OLDEST:
        raise BackendError(f"TensorRT {tensorrt.__version__} is too old; 10.13 or newer is needed: {_INSTALL}")
    return tensorrt


class Cuda:
    """The few calls of the CUDA runtime that a session needs; every error becomes a BackendError.

    Args:
        device: number of the GPU.

    Raises:
        BackendError: `cuda-bindings` is missing, or there is no usable GPU of that number.
    """

    def __init__(self, device: int = 0) -> None:
        try:
            from cuda.bindings import runtime
        except ModuleNotFoundError as error:
            raise BackendError(
                f"TensorRT needs the package 'cuda-bindings', which is not installed; install it with: {_INSTALL}"
            ) from error
        except (ImportError, OSError, RuntimeError) as error:
            raise BackendError(
                f"cuda-bindings does not load ({_line(error)}); reinstall it with: {_INSTALL}"
            ) from error
        self._runtime = runtime
        self.device = device
        count = self._call("cudaGetDeviceCount")
        if count < 1:
            raise BackendError("TensorRT needs an NVIDIA GPU, and this machine has none")
        if not 0 <= device < count:
            raise BackendError(f"this machine has {count} NVIDIA GPU(s), numbered from 0, so there is no GPU {device}")

    @contextmanager
    def selected(self) -> Iterator[None]:
        """Make this GPU the calling thread's, and give the thread its own back afterwards."""
        before = self._call("cudaGetDevice")
        if before == self.device:
            yield
            return
        self._call("cudaSetDevice", self.device)
        try:
            yield
        finally:
            self._call("cudaSetDevice", before)

    def _call(self, name: str, *args: Any) -> Any:
        runtime = self._runtime
        error, *results = getattr(runtime, name)(*args)
        if error != runtime.cudaError_t.cudaSuccess:
            text = runtime.cudaGetErrorString(error)[1]
            text = text.decode() if isinstance(text, bytes) else text
            if name == "cudaGetDeviceCount":
                raise BackendError(f"TensorRT needs an NVIDIA GPU and its driver, and CUDA finds none ({text})")
            if name == "cudaMalloc":
                raise BackendError(f"the GPU's memory does not hold the engine's buffers ({text}); free some of it")
            raise BackendError(f"CUDA failed in {name}: {text}")
        return results[0] if results else None

    def arch(self) -> str:
        """Compute capability of the GPU, e.g. 'sm90'."""
        attributes, device = self._runtime.cudaDeviceAttr, self.device
        major = self._call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMajor, device)
        minor = self._call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMinor, device)
        return f"sm{major}{minor}"

    def free_memory(self) -> int:
        """Bytes that are free on the GPU."""
        with self.selected():
            free: Any = self._runtime.cudaMemGetInfo()[1]
        return int(free)

    def malloc(self, size: int) -> int:
        """Device memory of `size` bytes."""
        return int(self._call("cudaMalloc", size))

    def free(self, pointer: int) -> None:
        self._call("cudaFree", pointer)

    def stream(self) -> int:
        """A new stream: on the default one TensorRT synchronises more than it must."""
        return int(self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def upload(self, pointer: int, array: np.ndarray, stream: int) -> None:
        """Copy a C-contiguous array to the device; it must live until `synchronize`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", pointer, array.ctypes.data, array.nbytes, kind, stream)

    def download(self, array: np.ndarray, pointer: int, stream: int) -> None:
        """Copy from the device into a C-contiguous array, which is filled after `synchronize`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, pointer, array.nbytes, kind, stream)

    def synchronize(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)


def platform(trt: Any, cuda: Cuda) -> Platform:
    """The GPU and TensorRT of this machine."""
    return Platform(cuda.arch(), ".".join(trt.__version__.split(".")[:3]))


def make_logger(trt: Any) -> Any:
    """A TensorRT logger that keeps errors (in `.errors`) instead of printing them."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(_line(message))

    return Logger()


def logged(logger: Any) -> str:
    """The first error that a logger kept, in brackets, or nothing."""
    return f" ({logger.errors[0]})" if logger.errors else ""


def deserialize(trt: Any, plan: bytes, what: str, logger: Any) -> tuple[Any, Any]:
    """A serialized engine -> (runtime, engine); the runtime must outlive the engine.

    Raises:
        BackendError: it was built for another TensorRT or GPU, or is damaged.
    """
    try:
        runtime = trt.Runtime(logger)
    except TypeError as error:  # pybind's way to say that the library gave nothing
        raise BackendError(f"TensorRT did not start{logged(logger)}") from error
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(
            f"TensorRT refuses {what}{logged(logger)}: it was built for another GPU or TensorRT; build it here with: "
            "padinv export BUNDLE --trt"
        )
    return runtime, engine


class TrtSession:
    """An engine with its buffers, for batches of any size: larger ones than the engine's go through in parts.

    Args:
        plan: the serialized engine.
        what: what to call it in messages.
        device: number of the GPU.

    Raises:
        BackendError: TensorRT, CUDA or a GPU is missing, or the engine does not belong to them.
    """

    backend = "trt"

    def __init__(self, plan: bytes, what: str, device: int = 0) -> None:
        trt, self._cuda = import_tensorrt(), Cuda(device)
        self.notes: list[str] = []
        self._what = what
        self._lock = threading.Lock()
        self._logger = make_logger(trt)
        with self._cuda.selected():
            self._prepare(trt, plan)

    def _prepare(self, trt: Any, plan: bytes) -> None:
        what = self._what
        self._runtime, self._engine = deserialize(trt, plan, what, self._logger)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise BackendError(
                f"TensorRT cannot run {what}{logged(self._logger)}: the GPU's memory is probably too small"
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self.inputs = tuple(name for name in names if modes[name] == trt.TensorIOMode.INPUT)
        self.outputs = tuple(name for name in names if modes[name] == trt.TensorIOMode.OUTPUT)
        self._shapes = {name: tuple(self._engine.get_tensor_shape(name))[1:] for name in names}
        self._kinds = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        low, _, high = self._engine.get_tensor_profile_shape(self.inputs[0], 0)
        self.smallest, self.largest = int(low[0]), int(high[0])
        self._stream = self._cuda.stream()
        self._buffers: dict[str, int] = {}
        self._finalizer = weakref.finalize(self, _release, self._cuda, self._buffers, self._stream)
        for name in names:
            size = self.largest * int(np.prod(self._shapes[name])) * self._kinds[name].itemsize
            self._buffers[name] = self._cuda.malloc(size)
            self._context.set_tensor_address(name, self._buffers[name])

    def close(self) -> None:
        """Free the device memory; the session is of no use afterwards."""
        self._finalizer()

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named float32 arrays in and out; see `padinv.runtime.backends.Session`.

        Raises:
            MismatchError: the feeds do not fit the engine. BackendError: the GPU failed.
        """
        feeds = on_host(feeds)
        if set(feeds) != set(self.inputs):
            raise MismatchError(f"{self._what} takes {', '.join(self.inputs)}, not {', '.join(sorted(feeds))}")
        counts = {len(feeds[name]) for name in self.inputs}
        for name in self.inputs:
            if tuple(feeds[name].shape[1:]) != self._shapes[name] or len(counts) != 1 or counts == {0}:
                raise MismatchError(
                    f"{self._what} takes {name} as [N, {', '.join(map(str, self._shapes[name]))}], "
                    f"not {list(feeds[name].shape)}"
                )
        (count,) = counts
        with self._lock, self._cuda.selected():  # one context, one set of buffers
            parts = [self._part(feeds, start) for start in range(0, count, self.largest)]
        return {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in self.outputs}

    def _part(self, feeds: Mapping[str, np.ndarray], start: int) -> dict[str, np.ndarray]:
        ready, rows = {}, 0
        for name in self.inputs:
            array = np.ascontiguousarray(feeds[name][start : start + self.largest], self._kinds[name])
            rows = len(array)
            if rows < self.smallest:  # the profile's lower end: repeat the last row, and drop the surplus
                array = np.concatenate([array, np.repeat(array[-1:], self.smallest - rows, axis=0)])
            ready[name] = array
            if not self._context.set_input_shape(name, array.shape):
                raise BackendError(f"{self._what} does not take {name} as {list(array.shape)}{logged(self._logger)}")
            self._cuda.upload(self._buffers[name], array, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise BackendError(f"{self._what} failed on the GPU{logged(self._logger)}")
        batch = max(rows, self.smallest)
        results = {}
        for name in self.outputs:
            results[name] = np.empty((batch, *self._shapes[name]), self._kinds[name])
            self._cuda.download(results[name], self._buffers[name], self._stream)
        self._cuda.synchronize(self._stream)
        return {name: array[:rows] for name, array in results.items()}


def _release(cuda: Cuda, buffers: dict[str, int], stream: int) -> None:
    for pointer in buffers.values():
        cuda.free(pointer)
    buffers.clear()
    cuda.destroy_stream(stream)


def open_trt_session(bundle: Bundle, graph: str, precision: str = "fp32", *, device: int = 0) -> TrtSession:
    """The session of a bundle's engine for this machine's GPU and TensorRT.

    Args:
        graph: 'encoder' or 'generator'.
        precision: 'fp32' or 'fp16'.
        device: number of the GPU.

    Raises:
        BackendError: TensorRT, CUDA or a GPU is missing. BundleError: the bundle has no engine that fits.
    """
    here = platform(import_tensorrt(), Cuda(device))
    name = here.engine_name(graph, precision)
    if not bundle.has(name):
        found = sorted(entry for entry in bundle.files if entry.endswith(".plan"))
        half = " --fp16" if precision == "fp16" else ""
        raise BundleError(
            f"the model bundle {bundle.folder} holds no {precision} engine of the {graph} for {here.arch} and TensorRT "
            f"{here.version} (it has: {', '.join(found) or 'none'}); build one here with: "
            f"padinv export {bundle.folder} --trt{half}"
        )
    return TrtSession(bundle.read_bytes(name), f"the engine {bundle.folder / name}", device)


def _line(error: object) -> str:
    return " ".join(str(error).split())[:240]
