"""TensorRT inside onnxruntime-gpu: engines are built when the session opens, and kept in a cache on disk."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from padinv.runtime.backends.cuda import INSTALL, device_number, preload
from padinv.runtime.backends.onnxruntime_session import OnnxSession, Provider, provider_problem
from padinv.runtime.backends.protocol import Backend, Request, Session

_NAME = "TensorrtExecutionProvider"
_LIBRARIES = ("libnvinfer.so.10", "libnvinfer.so.11", "nvinfer_10.dll", "nvinfer_11.dll")
_ADVICE = "install TensorRT's libraries (pip install 'padinv[trt]'), or use --backend cuda"


def cache_folder() -> Path:
    """Where engines are kept between runs: $XDG_CACHE_HOME/padinv/ort-trt."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "padinv" / "ort-trt"


def _problem() -> str | None:
    return provider_problem(_NAME, INSTALL) or _missing_libraries()


def _missing_libraries() -> str | None:
    """onnxruntime-gpu is always built with this provider; TensorRT itself is another package."""
    with contextlib.suppress(ImportError, OSError):
        import tensorrt  # noqa: F401  (its wheel loads the libraries)
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return None
    return "TensorRT's libraries are not installed; install them with: pip install 'padinv[trt]'"


def _open(request: Request) -> Session:
    preload()
    number = device_number(request.device, "ort-trt")
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "device_id": number,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": request.precision == "fp16",
    }
    provider = Provider(_NAME, settings, _ADVICE, memory="cuda", device_id=number, pad_batches=True)
    return OnnxSession(*request.onnx(), "ort-trt", request.threads, provider=provider)


BACKEND = Backend(
    "ort-trt", "onnxruntime, TensorRT", ("fp32", "fp16"), _problem, _open, "cuda, cuda:1, ... (NVIDIA GPU number)"
)
