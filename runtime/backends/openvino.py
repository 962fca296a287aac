"""Intel's OpenVINO, on x86 and Arm processors and on Intel's GPUs and NPUs."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.backends.protocol import Backend, Request, Session, on_host
from padinv.runtime.backends.threads import default_threads
from padinv.runtime.errors import BackendError, BundleError, MismatchError, UsageError
from padinv.runtime.onnx_safety import require_safe_graph

_INSTALL = "pip install 'padinv[openvino]'"
_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def import_openvino() -> Any:
    """The openvino module.

    Raises:
        BackendError: it is not installed, or does not import.
    """
    try:
        with _no_telemetry():
            import openvino
    except ModuleNotFoundError as error:
        raise BackendError(f"openvino is not installed; install it with: {_INSTALL}") from error
    except (ImportError, OSError) as error:
        raise BackendError(f"openvino does not import ({_line(error)}); reinstall it with: {_INSTALL}") from error
    return openvino


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Hide `openvino_telemetry` while openvino is imported: it would report that to a server, from another process.

    openvino has a stand-in of its own for machines on which that package is not installed.
    """
    name = "openvino_telemetry"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # importing it now raises ModuleNotFoundError
    try:
        yield
    finally:
        sys.modules.pop(name, None)


class OpenVinoSession:
    """An ONNX graph in OpenVINO. Threads share it: each run takes its own inference request.

    Args:
        model: the graph's bytes.
        path: where they were read, for messages.
        precision: 'fp32' or 'bf16' compute the float32 graph in that precision; 'fp16' is for the float16 graph.
        threads: of the processor; None: `default_threads()`.
        device: OpenVINO's name: 'CPU', 'GPU', 'GPU.1', 'NPU'.

    Raises:
        BackendError: openvino or the device is missing, or does not have the precision.
        BundleError: OpenVINO cannot read the graph.
    """

    backend = "openvino"

    def __init__(
        self, model: bytes, path: Path, precision: str = "fp32", threads: int | None = None, device: str = "CPU"
    ) -> None:
        ov = import_openvino()
        self.notes: list[str] = []
        self._path = path
        require_safe_graph(model, str(path))
        core = ov.Core()
        _check_device(core, device, precision)
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _TYPES[precision], "PERFORMANCE_HINT": "LATENCY"}
        if device.startswith("CPU"):
            settings["INFERENCE_NUM_THREADS"] = threads or default_threads()
        try:
            graph = core.read_model(model=model, weights=b"")
        except Exception as error:  # pybind raises RuntimeError and others
            raise BundleError(f"{path} is not an ONNX graph that OpenVINO can read: {_line(error)}") from error
        try:
            self._compiled = core.compile_model(graph, device, settings)
        except Exception as error:
            raise BackendError(
                f"OpenVINO cannot run {path} on {device} in {precision} ({_line(error)}); use --backend cpu"
            ) from error
        self.inputs = tuple(_graph_name(port) for port in self._compiled.inputs)
        self.outputs = tuple(_graph_name(port) for port in self._compiled.outputs)
        self._free: list[Any] = []
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named float32 arrays in and out; see `Session.run`."""
        if set(feeds) != set(self.inputs):
            raise MismatchError(f"{self._path} takes {', '.join(self.inputs)}, not {', '.join(sorted(feeds))}")
        ready = {name: np.ascontiguousarray(array, np.float32) for name, array in on_host(feeds).items()}
        self._check_shapes(ready)
        with self._lock:
            request = self._free.pop() if self._free else self._compiled.create_infer_request()
        try:
            request.infer([ready[name] for name in self.inputs], share_inputs=True)
            return {
                name: np.array(request.get_output_tensor(i).data, np.float32) for i, name in enumerate(self.outputs)
            }
        except Exception as error:
            raise BackendError(f"{self._path} failed on openvino: {_line(error)}; try a smaller --batch") from error
        finally:
            with self._lock:
                self._free.append(request)

    def _check_shapes(self, feeds: Mapping[str, np.ndarray]) -> None:
        rows = {len(array) for array in feeds.values() if array.ndim}
        for name, port in zip(self.inputs, self._compiled.inputs, strict=True):
            shape, array = port.get_partial_shape(), feeds[name]
            fixed = [d.get_length() if d.is_static else None for d in shape]
            fits = len(fixed) == array.ndim and all(a in (b, None) for b, a in zip(array.shape, fixed, strict=True))
            if not fits or len(rows) != 1 or rows == {0}:
                raise MismatchError(
                    f"{self._path} does not take these shapes: {name} is "
                    f"[{', '.join('N' if n is None else str(n) for n in fixed)}], not {list(array.shape)}"
                )


def _check_device(core: Any, device: str, precision: str) -> None:
    known = list(core.available_devices)
    if device.split(".")[0] not in {name.split(".")[0] for name in known}:
        raise BackendError(
            f"OpenVINO finds no device {device!r} here (it has: {', '.join(known) or 'none'}); choose another --device"
        )
    capabilities: list[str] = []
    with contextlib.suppress(Exception):  # old plugins do not say
        capabilities = list(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
    # OpenVINO would take another precision without a word: bfloat16 for float16 on x86 processors.
    if capabilities and precision.upper() not in capabilities:
        hint = " (AVX512-BF16 or AMX on x86)" if precision == "bf16" else ""
        raise BackendError(f"{device} does not compute in {precision} here{hint}, so nothing was run; use fp32")


def _graph_name(port: Any) -> str:
    """The ONNX name of an input or output. A tensor may have further names, of nodes that OpenVINO removed."""
    names = port.get_names()
    friendly = port.get_node().get_friendly_name().partition("/sink_port_")[0]
    return str(friendly if friendly in names else port.get_any_name())


def devices() -> tuple[str, ...]:
    """OpenVINO's devices on this machine; empty where it is not installed."""
    try:
        return tuple(import_openvino().Core().available_devices)
    except BackendError:
        return ()


def _problem() -> str | None:
    try:
        import_openvino()
    except BackendError as error:
        return str(error)
    return None


def _open(request: Request) -> Session:
    device = (request.device or "CPU").upper()
    if not device.replace(".", "").isalnum() or len(device) > 20:
        raise UsageError(f"--device of openvino is CPU, GPU, GPU.1 or NPU, not {device[:40]!r}")
    # The mapping network stays in float32: it is tiny, and every picture depends on it.
    precision = "fp32" if request.graph == "mapping" else request.precision
    return OpenVinoSession(*request.onnx(), precision, request.threads, device)


def _line(error: object) -> str:
    return " ".join(str(error).split())[:240]


BACKEND = Backend(
    "openvino", "OpenVINO", ("fp32", "bf16", "fp16"), _problem, _open, "CPU, GPU, GPU.1, NPU (OpenVINO's names)"
)
