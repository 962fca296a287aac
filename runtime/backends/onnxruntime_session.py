"""ONNX graphs in onnxruntime, on the processor or through one of its execution providers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.backends.protocol import Held, HeldOnHost, on_host
from padinv.runtime.backends.threads import default_threads
from padinv.runtime.errors import BackendError, BundleError, MismatchError, OutOfMemoryError, PadInvError
from padinv.runtime.onnx_safety import require_safe_graph

# How onnxruntime, its providers and the C++ library say that memory is short.
_MEMORY = ("Failed to allocate memory", "bad allocation", "bad_alloc", "out of memory", "ALLOC_FAILED")
_INSTALL = "pip install 'padinv[cpu]' (or 'padinv[gpu]' for CUDA; never both)"


@dataclass(frozen=True)
class Provider:
    """An execution provider of onnxruntime.

    Attributes:
        name: onnxruntime's, e.g. 'CUDAExecutionProvider'.
        options: of the provider.
        advice: what to do where the provider does not initialize.
        memory: where outputs may stay, 'cuda' or 'cpu'.
        device_id: which of several devices.
        pad_batches: run batches at the size of the last one, if that is no more than `_MOST_PADDING` times as large, or
            else at the next power of two, by repeating the last row. Providers that plan a graph for its last shape
            then see few changes: a last, smaller batch does not make them plan again.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    memory: str = "cpu"
    device_id: int = 0
    pad_batches: bool = False


CPU = Provider("CPUExecutionProvider")
_MOST_PADDING = 8


class OnnxSession:
    """An ONNX graph in onnxruntime.

    Args:
        model: the graph's bytes.
        path: where they were read, for messages.
        backend: the name this session reports.
        threads: of the processor; None: `default_threads()`.
        provider: what runs the graph; the processor takes what the provider does not implement.

    Raises:
        BundleError: the graph is unsafe (see `onnx_safety`), or onnxruntime cannot run it.
        BackendError: the provider did not initialize.
    """

    def __init__(
        self,
        model: bytes,
        path: Path,
        backend: str = "cpu",
        threads: int | None = None,
        *,
        provider: Provider = CPU,
    ) -> None:
        self.notes: list[str] = []
        self.backend = backend
        self._path = path
        self._provider = provider
        self._last_size = 0  # of the last batch, padding included
        self._ort = import_onnxruntime()
        require_safe_graph(model, str(path))
        self._session = self._create(model, threads)
        # onnxruntime falls back silently where a driver or library is missing: look at what really initialized.
        if provider.name not in self._session.get_providers():
            raise BackendError(f"{backend} did not initialize, so nothing was run; {provider.advice}")
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        self._kinds = {value.name: kinds.get(value.type, np.float32) for value in self._session.get_inputs()}

    def _create(self, model: bytes, threads: int | None) -> Any:
        ort, provider = self._ort, self._provider
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        # Encoder and generator alternate: threads of the idle one must not spin on the cores of the busy one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The graph is known to be self-contained. Should a file be looked for all the same, then beside the graph and
        # never in the working directory; and never as onnxruntime's own format, which was not checked.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self._path.parent.absolute())
        )
        options.log_severity_level = 4  # fatal only: what matters is raised, and the CLI prints one sentence
        providers: list[Any] = [CPU.name]
        if provider.name != CPU.name:
            providers.insert(0, (provider.name, {name: str(value) for name, value in provider.options.items()}))
        try:
            # With its own fallback onnxruntime would print to standard output, and run on something else.
            return ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except Exception as error:  # onnxruntime raises about ten unrelated types for a graph it cannot load
            if provider.name != CPU.name:
                raise BackendError(
                    f"{self.backend} did not initialize ({brief(error)}), so nothing was run; {provider.advice}"
                ) from error
            raise BundleError(f"{self._path} is not an ONNX graph that onnxruntime can run: {brief(error)}") from error

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Named arrays, or held outputs, in; float32 arrays out. See `Session.run`."""
        self._check_names(feeds)
        if not all(isinstance(value, (np.ndarray, HeldOnHost)) for value in feeds.values()):
            return {name: held.numpy() for name, held in self.run_held(feeds).items()}
        feeds = on_host(feeds)
        ready, rows = {}, _rows(feeds)
        size = self._size(feeds, rows)
        for name in self.inputs:
            ready[name] = _padded(np.ascontiguousarray(feeds[name], self._kinds[name]), size)
        try:
            values = self._session.run(list(self.outputs), ready)
        except Exception as error:  # as above
            raise self._failure(error) from error
        return {
            name: np.asarray(np.atleast_1d(value)[:rows], np.float32)
            for name, value in zip(self.outputs, values, strict=True)
        }

    def run_held(self, feeds: Mapping[str, Any]) -> dict[str, Held]:
        """Like `run`, but outputs stay in the provider's memory, and inputs may come from there."""
        self._check_names(feeds)
        provider, ort = self._provider, self._ort
        binding, rows = self._session.io_binding(), _rows(feeds)
        size = self._size(feeds, rows)
        try:
            for name in self.inputs:
                value = feeds[name]
                if isinstance(value, _HeldByOrt):
                    binding.bind_ortvalue_input(name, value.value)
                    continue
                host = value if isinstance(value, np.ndarray) else value.numpy()
                ready = _padded(np.ascontiguousarray(host, self._kinds[name]), size)
                binding.bind_ortvalue_input(
                    name, ort.OrtValue.ortvalue_from_numpy(ready, provider.memory, provider.device_id)
                )
            for name in self.outputs:
                binding.bind_output(name, provider.memory, provider.device_id)
            self._session.run_with_iobinding(binding)
            values = binding.get_outputs()
        except PadInvError:
            raise
        except Exception as error:  # as above
            raise self._failure(error) from error
        return {name: _HeldByOrt(value, rows) for name, value in zip(self.outputs, values, strict=True)}

    def _check_names(self, feeds: Mapping[str, Any]) -> None:
        if set(feeds) != set(self.inputs):
            raise MismatchError(f"{self._path} takes {', '.join(self.inputs)}, not {', '.join(sorted(feeds))}")

    def _size(self, feeds: Mapping[str, Any], rows: int) -> int:
        """How many rows a batch is run with."""
        if not self._provider.pad_batches or rows == 0:
            return rows
        for value in feeds.values():
            if isinstance(value, _HeldByOrt):  # padded by the session that made it
                return int(value.value.shape()[0])
        size = 1 << (rows - 1).bit_length()
        if size <= self._last_size <= _MOST_PADDING * size:
            size = self._last_size
        self._last_size = size
        return size

    def _failure(self, error: BaseException) -> PadInvError:
        text = brief(error)
        if "nvalid dimensions" in text or "nvalid rank" in text or "INVALID_ARGUMENT" in text:
            return MismatchError(f"{self._path} does not take these shapes: {text}")
        kind = OutOfMemoryError if any(words in str(error) for words in _MEMORY) else BackendError
        return kind(f"{self._path} failed on {self.backend}: {text}; try a smaller --batch")


@dataclass(frozen=True)
class _HeldByOrt:
    """An output in a provider's memory; the first `rows` rows are the result."""

    value: Any
    rows: int

    def numpy(self) -> np.ndarray:
        return np.asarray(self.value.numpy()[: self.rows], np.float32)

    def __len__(self) -> int:
        return self.rows


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """An array [N, ...] with its last row repeated up to `size` rows."""
    missing = size - len(array) if array.ndim and len(array) else 0
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing > 0 else array


def _rows(feeds: Mapping[str, Any]) -> int:
    """Rows of a batch; 0 for what is not a batch, which the graph then refuses."""
    first = next(iter(feeds.values()))
    return len(first) if getattr(first, "ndim", 1) and hasattr(first, "__len__") else 0


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises:
        BackendError: it is not installed, or does not import.
    """
    # Since 1.32 onnxruntime keeps records of its use, and an identifier of the machine, for Microsoft. It looks at this
    # variable while it is imported, and writes nothing where it is set.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise BackendError(
            f"running a model needs onnxruntime, which is not installed; install it with: {_INSTALL}"
        ) from error
    except ImportError as error:
        raise BackendError(f"onnxruntime does not import ({brief(error)}); reinstall it with: {_INSTALL}") from error
    if not hasattr(onnxruntime, "InferenceSession"):  # what is left when one of the two twins was uninstalled
        raise BackendError(f"onnxruntime is broken (two variants were mixed); uninstall both, then: {_INSTALL}")
    return onnxruntime


def provider_problem(name: str, install: str) -> str | None:
    """Why onnxruntime cannot offer an execution provider; None where the installed variant was built with it."""
    try:
        ort = import_onnxruntime()
    except BackendError as error:
        return str(error)
    if name in ort.get_available_providers():
        return None
    return f"the installed onnxruntime was built without {name}; install: {install}"


def brief(error: BaseException) -> str:
    """The first line of onnxruntime's message, without its code prefix."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return text.split(" : ", 3)[-1].strip()[:240]
