"""onnxruntime on AMD GPUs: MIGraphX, or the older ROCm provider where the installed variant has only that."""

from __future__ import annotations

from padinv.runtime.backends.cuda import device_number
from padinv.runtime.backends.onnxruntime_session import OnnxSession, Provider, import_onnxruntime, provider_problem
from padinv.runtime.backends.protocol import Backend, Request, Session

_MIGRAPHX, _ROCM = "MIGraphXExecutionProvider", "ROCMExecutionProvider"


def _problem() -> str | None:
    if provider_problem(_ROCM, "") is None:
        return None
    return provider_problem(_MIGRAPHX, "AMD's onnxruntime-migraphx wheel in place of onnxruntime")


def _open(request: Request) -> Session:
    has = import_onnxruntime().get_available_providers()
    settings = {"device_id": device_number(request.device, "rocm")}
    provider = Provider(
        _MIGRAPHX if _MIGRAPHX in has else _ROCM, settings, "check the ROCm driver with rocminfo, or use --backend cpu"
    )
    return OnnxSession(*request.onnx(), "rocm", request.threads, provider=provider)


BACKEND = Backend("rocm", "onnxruntime, MIGraphX or ROCm", ("fp32", "fp16"), _problem, _open, "gpu:0, gpu:1, ...")
