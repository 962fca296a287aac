"""Backends behind one interface: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from padinv.runtime.backends.onnxruntime_session import OnnxSession
from padinv.runtime.bundle import GRAPHS, Bundle
from padinv.runtime.errors import BundleError, UsageError

BACKENDS = ("auto", "cpu", "cuda", "trt")
PRECISIONS = ("fp32", "fp16")


class Session(Protocol):
    """One graph on one backend. Safe to share between threads.

    Attributes:
        inputs, outputs: names of the graph's inputs and outputs, in graph order.
        backend: 'cpu', 'cuda' or 'trt': what it really runs on.
        notes: sentences the user should see, e.g. that `auto` fell back to the CPU.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    backend: str
    notes: list[str]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph on float32 arrays; the outputs are float32 whatever the graph's precision.

        Raises:
            MismatchError: the feeds do not fit the graph. BackendError: the backend failed.
        """
        ...


def open_session(
    bundle: Bundle, graph: str, backend: str = "auto", threads: int | None = None, precision: str = "fp32"
) -> Session:
    """Load one graph of a bundle.

    Args:
        graph: 'encoder', 'generator' or 'mapping'.
        backend: 'cpu'; 'cuda' (fails where CUDA does not come up); 'trt' (the bundle's `.plan`); 'auto': CUDA where the
            installed onnxruntime has it and it comes up, else the CPU, with a note.
        threads: CPU threads of this session; None: one a physical core, OMP_NUM_THREADS at most.
        precision: 'fp32', or 'fp16' for the half-precision twin of encoder and generator.

    Raises:
        UsageError, BundleError, BackendError.
    """
    if graph not in GRAPHS:
        raise UsageError(f"a bundle has the graphs {', '.join(GRAPHS)}, not {graph!r}")
    if backend not in BACKENDS:
        raise UsageError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    if backend == "trt" and graph != "mapping":  # the mapping network is tiny and has no engine
        from padinv.runtime.backends.tensorrt_session import open_trt_session

        return open_trt_session(bundle, graph, precision)
    name = f"{graph}.fp16.onnx" if precision == "fp16" and graph != "mapping" else f"{graph}.onnx"
    if precision == "fp16" and not bundle.has(name) and bundle.has(f"{graph}.onnx"):
        raise BundleError(f"the model bundle {bundle.folder} holds no {name}; export it with: padinv export --fp16")
    return OnnxSession(bundle.read_bytes(name), bundle.folder / name, "cpu" if backend == "trt" else backend, threads)
