"""TensorRT engines of a bundle, as `padinv export --trt` builds them."""

from __future__ import annotations

from padinv.runtime.backends.cuda import device_number
from padinv.runtime.backends.onnxruntime_session import OnnxSession
from padinv.runtime.backends.protocol import Backend, Request, Session
from padinv.runtime.backends.tensorrt_session import Cuda, import_tensorrt, open_trt_session
from padinv.runtime.errors import BackendError


def _problem() -> str | None:
    try:
        import_tensorrt()
        Cuda()
    except BackendError as error:
        return str(error)
    return None


def _open(request: Request) -> Session:
    if request.graph in ("mapping", "spatial"):  # small networks, which have no engines
        return OnnxSession(*request.onnx(), "cpu", request.threads)
    number = device_number(request.device, "trt")
    return open_trt_session(request.bundle, request.graph, request.precision, device=number)


BACKEND = Backend("trt", "TensorRT", ("fp32", "fp16"), _problem, _open, "cuda, cuda:1, ... (NVIDIA GPU number)")
