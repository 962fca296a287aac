"""Backends behind one interface: named arrays in, named arrays out. One file per backend in this folder."""

from __future__ import annotations

from importlib import import_module
from typing import Literal

from padinv.runtime.backends.protocol import (
    PRECISIONS,
    Backend,
    Held,
    Precision,
    PrecisionChoice,
    Request,
    Session,
    run_held,
)
from padinv.runtime.backends.threads import check_threads, default_threads
from padinv.runtime.bundle import GRAPHS, Bundle
from padinv.runtime.errors import BackendError, UsageError

# Name -> module with a `BACKEND`; a module is imported when its backend is asked for.
_MODULES = {
    "cpu": "cpu",
    "openvino": "openvino",
    "cuda": "cuda",
    "trt": "trt",
    "ort-trt": "ort_trt",
    "coreml": "coreml",
    "directml": "directml",
    "rocm": "rocm",
}
BACKENDS = ("auto", *_MODULES)
BackendName = Literal["auto", "cpu", "openvino", "cuda", "trt", "ort-trt", "coreml", "directml", "rocm"]
# What `auto` tries, in this order. The backends that are left out were never run by us, so they must be asked for.
AUTO_ORDER = ("cuda", "cpu", "openvino")

__all__ = [
    "AUTO_ORDER",
    "BACKENDS",
    "PRECISIONS",
    "Backend",
    "BackendName",
    "Held",
    "Precision",
    "PrecisionChoice",
    "Request",
    "Session",
    "check_threads",
    "default_threads",
    "get_backend",
    "installed_backends",
    "open_session",
    "run_held",
]


def get_backend(name: str) -> Backend:
    """A backend by name.

    Raises:
        UsageError: an unknown name.
    """
    if name not in _MODULES:
        raise UsageError(f"backend must be one of {', '.join(BACKENDS)}, not {name!r}")
    backend = import_module(f"padinv.runtime.backends.{_MODULES[name]}").BACKEND
    assert isinstance(backend, Backend)
    return backend


def installed_backends() -> dict[str, str | None]:
    """Every backend's name -> why it cannot run here, or None."""
    return {name: get_backend(name).problem() for name in _MODULES}


def open_session(
    bundle: Bundle,
    graph: str,
    backend: str = "auto",
    threads: int | None = None,
    precision: str = "fp32",
    *,
    device: str | None = None,
    tuned: bool = True,
) -> Session:
    """Load one graph of a bundle.

    Args:
        graph: 'encoder', 'generator', 'mapping' or 'spatial'.
        backend: one of `BACKENDS`. 'auto' takes the first of `AUTO_ORDER` that initializes; when a better one was
            installed and did not, a note says so. Any other is used as asked, or fails.
        threads: of the processor; None: `default_threads()`.
        precision: one of `PRECISIONS`. 'fp16' runs the bundle's half-precision graphs; 'bf16' and 'tf32' compute the
            float32 graphs with shorter mantissas, where the backend can do that.
        device: which device, in the backend's own words, e.g. 'cuda:1' or 'GPU'; None: its first.
        tuned: on `cpu` in float32, take the graph that was tuned for this kind of processor, where the bundle has one.

    Raises:
        UsageError, BundleError, BackendError.
    """
    if graph not in GRAPHS:
        raise UsageError(f"a bundle has the graphs {', '.join(GRAPHS)}, not {graph!r}")
    if backend not in BACKENDS:
        raise UsageError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    check_threads(threads)
    request = Request(bundle, graph, precision, threads, device, tuned)
    session = _open_best(request) if backend == "auto" else _open_named(request, backend)
    if graph == "generator" and bundle.spec.spatial_resolutions:
        from padinv.runtime.spatial import OptionalSpatial  # it is built on sessions itself

        return OptionalSpatial(session, bundle.spec)
    return session


def _open_named(request: Request, backend: str) -> Session:
    chosen, precision, device = get_backend(backend), request.precision, request.device
    if precision not in chosen.precisions:
        raise UsageError(
            f"the backend {backend} computes in {', '.join(chosen.precisions)}, not {precision}; "
            f"{_others(precision, backend)}"
        )
    if device is not None and not chosen.devices:
        raise UsageError(f"the backend {backend} has no devices to choose from; leave --device out")
    if problem := chosen.problem():
        raise BackendError(f"the backend {backend} is not available: {problem}; nothing was run")
    return chosen.open(request)


def _others(precision: str, backend: str) -> str:
    names = [name for name in _MODULES if name != backend and precision in get_backend(name).precisions]
    return f"{precision} is available with: {', '.join(f'--backend {name}' for name in names)}"


def _open_best(request: Request) -> Session:
    failed: list[str] = []
    reasons: list[str] = []
    for name in AUTO_ORDER:
        backend = get_backend(name)
        if request.precision not in backend.precisions or (request.device is not None and not backend.devices):
            continue
        if problem := backend.problem():
            reasons.append(problem)
            continue
        try:
            session = backend.open(request)
        except BackendError as error:
            failed.append(name)
            reasons.append(str(error))
            continue
        session.notes[:0] = [
            f"{other} is installed but did not initialize, so {name} is used; --backend {other} says why"
            for other in failed
        ]
        return session
    if not reasons:
        raise UsageError(
            f"auto finds no backend for {request.precision}"
            + ("" if request.device is None else f" with --device {request.device}")
            + "; name one with --backend"
        )
    raise BackendError(reasons[-1] if len(reasons) == 1 else f"no backend is available: {'; '.join(reasons)}")
