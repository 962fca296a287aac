"""onnxruntime through DirectML: any DirectX 12 GPU on Windows."""

from __future__ import annotations

from padinv.runtime.backends.cuda import device_number
from padinv.runtime.backends.onnxruntime_session import OnnxSession, Provider, provider_problem
from padinv.runtime.backends.protocol import Backend, Request, Session

_NAME = "DmlExecutionProvider"


def _problem() -> str | None:
    return provider_problem(_NAME, "pip uninstall -y onnxruntime && pip install onnxruntime-directml")


def _open(request: Request) -> Session:
    settings = {"device_id": device_number(request.device, "directml")}
    provider = Provider(_NAME, settings, "it needs Windows and a DirectX 12 GPU; or use --backend cpu")
    return OnnxSession(*request.onnx(), "directml", request.threads, provider=provider)


BACKEND = Backend("directml", "onnxruntime, DirectML", ("fp32", "fp16"), _problem, _open, "gpu:0, gpu:1, ...")
