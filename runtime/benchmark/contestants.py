"""What is measured: a backend in a precision with a number of threads, its sessions open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from padinv.runtime.backends import Session, get_backend, installed_backends, open_session, run_held
from padinv.runtime.backends.tuned import tuned_graph
from padinv.runtime.bundle import Bundle
from padinv.runtime.errors import BackendError, BundleError
from padinv.runtime.graphs import graph_names
from padinv.runtime.passes import encoder_feeds
from padinv.runtime.spatial import add_spatial

STAGES = ("encode", "generate", "end to end")
_GPU_BACKENDS = ("cuda", "trt", "ort-trt", "rocm", "directml", "coreml")


@dataclass(frozen=True)
class Contestant:
    """One way to run the model.

    Attributes:
        backend: as `--backend` takes it, or 'torch'.
        precision, threads, device: as the options of the same names take them.
        encoder, generator: open sessions.
        unit: 'cpu' or 'cuda': whose matrix product it is compared with.
        plain: runs the plain graphs although the bundle holds tuned ones, for comparison.
        spatial: open session of the spatial code; None for a model without one.
    """

    backend: str
    precision: str
    threads: int | None
    device: str | None
    encoder: Session = field(repr=False)
    generator: Session = field(repr=False)
    unit: str = "cpu"
    plain: bool = False
    spatial: Session | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """For tables, e.g. 'openvino bf16, 2 threads'."""
        where = f", {self.device}" if self.device else ""
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.threads else ""
        return f"{self.backend} {self.precision}{where}{threads}{', plain graphs' if self.plain else ''}"

    def calls(self, image: np.ndarray, latents: Mapping[str, np.ndarray]) -> dict[str, Callable[[], object]]:
        """Stage -> a call that does it, with its results in the processor's memory afterwards."""
        return {
            "encode": lambda: self.encoder.run(encoder_feeds(self.encoder, image)),
            "generate": lambda: self.generator.run(latents),
            "end to end": lambda: self.reconstruct(image),
        }

    def reconstruct(self, image: np.ndarray) -> np.ndarray:
        """Images through everything that the model does: [N, 3, S, S] -> [N, 3, R, R]."""
        held = run_held(self.encoder, encoder_feeds(self.encoder, image))
        whole, _ = add_spatial(held, image, self.generator, self.spatial)
        return self.generator.run(whole)["output"]


def open_contestants(
    bundle: Bundle,
    backends: Iterable[str],
    precisions: Iterable[str],
    threads: Iterable[int],
    device: str | None = None,
) -> tuple[list[Contestant], list[str]]:
    """Every wanted backend that is installed, in every wanted precision it has.

    Args:
        threads: numbers of processor threads; a GPU backend is opened with the first only.

    Returns:
        the contestants, and a sentence for each that could not be opened although its backend is installed.
    """
    found, problems = [], []
    wanted, counts = set(precisions), list(threads)
    here = installed_backends()
    for name in backends:
        if here[name] is not None:
            continue
        backend = get_backend(name)
        unit = "cuda" if name in _GPU_BACKENDS else "cpu"
        for precision in (p for p in backend.precisions if p in wanted):
            for count in counts if unit == "cpu" else counts[:1]:
                where = device if backend.devices else None
                try:
                    opened = {
                        graph: open_session(bundle, graph, name, count, precision, device=where)
                        for graph in graph_names(bundle.spec, 1)
                        if graph != "mapping"
                    }
                except (BackendError, BundleError) as error:
                    problems.append(f"{name} {precision} was left out: {error}")
                    break
                shown = count if unit == "cpu" else None
                found.append(_contestant((name, precision, shown, where), opened, unit))
                if name == "cpu" and precision == "fp32" and any(tuned_graph(bundle, graph) for graph in opened):
                    plain = {graph: open_session(bundle, graph, name, count, tuned=False) for graph in opened}
                    found.append(_contestant((name, precision, shown, where), plain, unit, plain=True))
    return found, problems


def _contestant(
    how: tuple[str, str, int | None, str | None], opened: Mapping[str, Session], unit: str, *, plain: bool = False
) -> Contestant:
    """A contestant of sessions by graph; `how` is (backend, precision, threads, device)."""
    return Contestant(*how, opened["encoder"], opened["generator"], unit, plain, opened.get("spatial"))
