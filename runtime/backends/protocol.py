"""What every backend offers: one `Backend` entry each, and sessions that take and give named arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from padinv.runtime.bundle import Bundle
from padinv.runtime.errors import BundleError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PrecisionChoice = Literal["auto", "fp32", "tf32", "bf16", "fp16"]  # auto: as `padinv bench --save` kept it
PRECISIONS: tuple[str, ...] = get_args(Precision)


class Session(Protocol):
    """One graph on one backend. Safe to share between threads.

    Attributes:
        inputs, outputs: names of the graph's inputs and outputs, in graph order.
        backend: 'cpu', 'cuda', 'openvino', ...: what it really runs on.
        notes: sentences the user should see, e.g. that `auto` fell back to the CPU.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    backend: str
    notes: list[str]

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run the graph on float32 arrays; the outputs are float32 whatever the graph's precision.

        Args:
            feeds: input name -> array [N, ...], or a `Held` output of another session of the same backend.

        Raises:
            MismatchError: the feeds do not fit the graph. BackendError: the backend failed.
        """
        ...


class Held(Protocol):
    """An output that stayed where it was computed, e.g. in a GPU's memory, to be another session's input."""

    def numpy(self) -> np.ndarray:
        """The values as float32 [N, ...] in the processor's memory."""
        ...

    def __len__(self) -> int:
        """N."""
        ...


@dataclass(frozen=True)
class HeldOnHost:
    """The trivial `Held`, of backends that compute in the processor's own memory."""

    array: np.ndarray

    def numpy(self) -> np.ndarray:
        return self.array

    def __len__(self) -> int:
        return len(self.array)


def run_held(session: Session, feeds: Mapping[str, Any]) -> Mapping[str, Held]:
    """Like `session.run`, but outputs stay on the session's device where the backend can do that.

    Raises as `Session.run`.
    """
    hold: Callable[[Mapping[str, Any]], Mapping[str, Held]] | None = getattr(session, "run_held", None)
    if hold is not None:
        return hold(feeds)
    return {name: HeldOnHost(array) for name, array in session.run(on_host(feeds)).items()}


def on_host(feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Feeds with every `Held` value replaced by its array."""
    return {name: value if isinstance(value, np.ndarray) else value.numpy() for name, value in feeds.items()}


@dataclass(frozen=True)
class Request:
    """A graph to open, and how.

    Attributes:
        bundle: where it lies.
        graph: 'encoder', 'generator' or 'mapping'.
        precision: one of `PRECISIONS`.
        threads: of the processor; None: `default_threads()`.
        device: in the backend's own words, such as 'cuda:1' or 'GPU'; None: its first.
        tuned: take the bundle's graph for this kind of processor, where it has one and the backend runs it.
    """

    bundle: Bundle
    graph: str
    precision: str = "fp32"
    threads: int | None = None
    device: str | None = None
    tuned: bool = True

    def onnx(self, float16_graph: bool | None = None) -> tuple[bytes, Path]:
        """The ONNX graph's bytes and its path.

        Args:
            float16_graph: whether to read the half-precision twin; None: where the precision is fp16. The mapping
                network has none, because it is tiny.

        Raises:
            BundleError: the bundle does not hold it.
        """
        half = self.precision == "fp16" if float16_graph is None else float16_graph
        bundle, graph = self.bundle, self.graph
        name = f"{graph}.fp16.onnx" if half and graph != "mapping" else f"{graph}.onnx"
        if half and not bundle.has(name) and bundle.has(f"{graph}.onnx"):
            raise BundleError(f"the model bundle {bundle.folder} holds no {name}; export it with: padinv export --fp16")
        return bundle.read_bytes(name), bundle.folder / name


@dataclass(frozen=True)
class Backend:
    """One way to run graphs.

    Attributes:
        name: as `--backend` takes it.
        title: for tables, e.g. 'onnxruntime, CUDA'.
        precisions: what it computes in; the first is the default.
        problem: why it cannot run on this machine, as a sentence without its full stop; None where it seems to be
            available. Cheap: opens nothing.
        open: a session, or a `PadInvError`.
        devices: what `--device` may be, for help and messages; '' where there is nothing to choose.
    """

    name: str
    title: str
    precisions: tuple[str, ...]
    problem: Callable[[], str | None] = field(repr=False)
    open: Callable[[Request], Session] = field(repr=False)
    devices: str = ""
