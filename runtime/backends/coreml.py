"""onnxruntime through Apple's Core ML, on macOS."""

from __future__ import annotations

from padinv.runtime.backends.onnxruntime_session import OnnxSession, Provider, provider_problem
from padinv.runtime.backends.protocol import Backend, Request, Session
from padinv.runtime.errors import UsageError

_NAME = "CoreMLExecutionProvider"
_UNITS = {"all": "ALL", "cpu": "CPUOnly", "gpu": "CPUAndGPU", "npu": "CPUAndNeuralEngine"}


def _problem() -> str | None:
    return provider_problem(_NAME, "pip install 'padinv[cpu]' on macOS")


def _open(request: Request) -> Session:
    # The Neural Engine computes in float16 whatever the graph says, so float32 leaves it out unless it is named.
    device = (request.device or ("gpu" if request.precision == "fp32" else "all")).lower()
    if device not in _UNITS:
        raise UsageError(f"--device of coreml is one of {', '.join(_UNITS)}, not {device[:40]!r}")
    settings = {"ModelFormat": "MLProgram", "MLComputeUnits": _UNITS[device], "RequireStaticInputShapes": "0"}
    provider = Provider(_NAME, settings, "it needs macOS 12 or newer; or use --backend cpu")
    return OnnxSession(*request.onnx(), "coreml", request.threads, provider=provider)


BACKEND = Backend("coreml", "onnxruntime, Core ML", ("fp32", "fp16"), _problem, _open, ", ".join(_UNITS))
