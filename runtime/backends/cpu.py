"""onnxruntime on the processor: the backend that works everywhere."""

from __future__ import annotations

from padinv.runtime.backends.onnxruntime_session import OnnxSession, import_onnxruntime
from padinv.runtime.backends.protocol import Backend, Request, Session
from padinv.runtime.backends.tuned import tuned_graph
from padinv.runtime.errors import BackendError


def _problem() -> str | None:
    try:
        import_onnxruntime()
    except BackendError as error:
        return str(error)
    return None


def _open(request: Request) -> Session:
    bundle = request.bundle
    name = tuned_graph(bundle, request.graph) if request.tuned and request.precision == "fp32" else None
    found = request.onnx() if name is None else (bundle.read_bytes(name), bundle.folder / name)
    return OnnxSession(*found, "cpu", request.threads)


BACKEND = Backend("cpu", "onnxruntime, processor", ("fp32", "fp16"), _problem, _open)
