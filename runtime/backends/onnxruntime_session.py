"""ONNX graphs in onnxruntime, on the CPU or on CUDA."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.errors import BackendError, BundleError, MismatchError

_INSTALL = "pip install 'padinv[cpu]' (or 'padinv[gpu]' for CUDA; never both)"


class OnnxSession:
    """An ONNX graph in onnxruntime, on the CPU or on CUDA."""

    def __init__(self, model: bytes, path: Path, backend: str, threads: int | None) -> None:
        ort = import_onnxruntime()
        self.notes: list[str] = []
        self._path = path
        self._session, self.backend = self._open(ort, model, backend, threads)
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        self._kinds = {value.name: kinds.get(value.type, np.float32) for value in self._session.get_inputs()}

    def _open(self, ort: Any, model: bytes, backend: str, threads: int | None) -> tuple[Any, str]:
        has_cuda = "CUDAExecutionProvider" in ort.get_available_providers()
        if backend == "cuda" and not has_cuda:
            raise BackendError(
                "the installed onnxruntime has no CUDA, so nothing was run; take --backend cpu, or: "
                "pip uninstall onnxruntime && pip install 'padinv[gpu]'"
            )
        if backend == "cpu" or not has_cuda:
            return self._create(ort, model, ["CPUExecutionProvider"], threads), "cpu"
        session = self._create(ort, model, ["CUDAExecutionProvider", "CPUExecutionProvider"], threads)
        # onnxruntime falls back silently when the driver or a CUDA library is missing: look at what came up.
        if "CUDAExecutionProvider" in session.get_providers():
            return session, "cuda"
        if backend == "cuda":
            raise BackendError(
                "CUDA was asked for but did not come up (driver, CUDA or cuDNN libraries are missing or do not fit the "
                "installed onnxruntime-gpu), so nothing was run; mend the installation or take --backend cpu"
            )
        self.notes.append("CUDA did not come up (driver or libraries missing); running on the CPU instead")
        return session, "cpu"

    def _create(self, ort: Any, model: bytes, providers: list[str], threads: int | None) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        # Encoder and generator alternate: threads of the idle one must not spin on the cores of the busy one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # fatal only: what matters is raised, and the CLI prints one sentence
        try:
            return ort.InferenceSession(model, options, providers=providers)
        except Exception as error:  # onnxruntime raises about ten unrelated types for a graph it cannot load
            raise BundleError(f"{self._path} is no ONNX graph that onnxruntime can run: {_brief(error)}") from error

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if set(feeds) != set(self.inputs):
            raise MismatchError(f"{self._path} takes {', '.join(self.inputs)}, not {', '.join(sorted(feeds))}")
        ready = {name: np.ascontiguousarray(feeds[name], self._kinds[name]) for name in self.inputs}
        try:
            values = self._session.run(list(self.outputs), ready)
        except Exception as error:  # as above
            text = _brief(error)
            if "nvalid dimensions" in text or "nvalid rank" in text or "INVALID_ARGUMENT" in text:
                raise MismatchError(f"{self._path} does not take these shapes: {text}") from error
            raise BackendError(f"{self._path} failed on {self.backend}: {text}; try a smaller --batch") from error
        return {name: np.asarray(value, np.float32) for name, value in zip(self.outputs, values, strict=True)}


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises:
        BackendError: it is not installed, or does not import.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise BackendError(
            f"running a model needs onnxruntime, which is not installed; install it with: {_INSTALL}"
        ) from error
    except ImportError as error:
        raise BackendError(f"onnxruntime does not import ({_brief(error)}); reinstall it with: {_INSTALL}") from error
    if not hasattr(onnxruntime, "InferenceSession"):  # what is left when one of the two twins was uninstalled
        raise BackendError(f"onnxruntime is broken (two variants were mixed); uninstall both, then: {_INSTALL}")
    return onnxruntime


def default_threads() -> int:
    """Physical cores this process may use (two logical ones at least), and OMP_NUM_THREADS at most."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        usable = set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in usable:
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    count = max(len(cores), min(2, len(usable)))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(count, int(asked)) if asked.isdigit() and int(asked) > 0 else count


def _brief(error: BaseException) -> str:
    """The first line of onnxruntime's message, without its code prefix."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return text.split(" : ", 3)[-1].strip()[:240]
