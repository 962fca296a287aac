"""onnxruntime on NVIDIA GPUs.

`padinv[gpu]` brings onnxruntime-gpu with the CUDA and cuDNN wheels that it names itself, so a driver is all that the
machine needs; `preload_dlls()` loads them from there.
"""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from typing import Any

from padinv.runtime.backends.onnxruntime_session import OnnxSession, Provider, import_onnxruntime, provider_problem
from padinv.runtime.backends.protocol import Backend, Request, Session
from padinv.runtime.errors import UsageError

_NAME = "CUDAExecutionProvider"
INSTALL = "pip uninstall -y onnxruntime && pip install 'padinv[gpu]'"
_ADVICE = (
    "the driver, or a CUDA or cuDNN library, is missing or does not fit onnxruntime-gpu; check nvidia-smi, reinstall "
    "with pip install --force-reinstall 'padinv[gpu]', or use --backend cpu"
)


def device_number(device: str | None, backend: str) -> int:
    """'cuda:1', 'gpu:1' or '1' -> 1; None -> 0.

    Raises:
        UsageError: anything else.
    """
    text = "cuda" if device is None else device.strip().lower()
    found = re.fullmatch(r"(?:cuda|gpu)(?::(\d{1,3}))?|(\d{1,3})", text)
    if found is None:
        raise UsageError(f"--device of {backend} is cuda, cuda:1, or a number, not {str(device)[:40]!r}")
    return int(found[1] or found[2] or 0)


def options(number: int, tf32: bool) -> dict[str, Any]:
    """Provider options, each with its reason."""
    return {
        "device_id": number,
        # float32 means float32: TensorFloat-32 keeps 10 bits of the mantissa, and is on by default in onnxruntime.
        "use_tf32": int(tf32),
        # With cuDNN 9, onnxruntime times nothing: EXHAUSTIVE, HEURISTIC and DEFAULT are cuDNN's heuristics B, A and
        # fallback (onnxruntime issue 22705). Each convolution keeps the plan of its last shape only, and makes another
        # whenever the shape changes (conv.cc, UpdateState). A is the quick one to ask, and batches are padded so that
        # shapes seldom change. With cuDNN 8, EXHAUSTIVE would time every algorithm for every new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": 1,
        # Grow by what is needed: the default doubles the arena, and takes memory that other programs may want.
        "arena_extend_strategy": "kSameAsRequested",
    }


@cache
def preload() -> None:
    """Load CUDA's and cuDNN's libraries from the wheels beside onnxruntime-gpu, once a process."""
    ort = import_onnxruntime()
    ort.set_default_logger_severity(4)  # what does not load is said once, in our own sentence
    if hasattr(ort, "preload_dlls"):  # onnxruntime 1.21
        # It prints what it does not find; whether CUDA works is seen when the session opens.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            ort.preload_dlls()


def _problem() -> str | None:
    return provider_problem(_NAME, INSTALL)


def _open(request: Request) -> Session:
    preload()
    number = device_number(request.device, "cuda")
    provider = Provider(
        _NAME,
        options(number, request.precision == "tf32"),
        _ADVICE,
        memory="cuda",
        device_id=number,
        pad_batches=True,
    )
    return OnnxSession(*request.onnx(), "cuda", request.threads, provider=provider)


BACKEND = Backend(
    "cuda", "onnxruntime, CUDA", ("fp32", "tf32", "fp16"), _problem, _open, "cuda, cuda:1, ... (NVIDIA GPU number)"
)
