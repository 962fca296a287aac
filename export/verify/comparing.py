"""How far a run may be from the float64 reference, in each precision, and how fast it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from padinv.export.parity import BATCHES, Limits, Reference, compare
from padinv.export.verify.checks import CheckError
from padinv.runtime.backends import run_held
from padinv.runtime.backends.protocol import Session
from padinv.runtime.benchmark.timing import alternate
from padinv.runtime.errors import ExportError
from padinv.runtime.passes import encoder_feeds

Sessions = Callable[[str], Session]

# Largest and mean difference. The shorter a mantissa, the further a single value may go, never a whole image: a mean of
# 0.004 is half a grey level of 255. tf32 and fp16 keep 10 bits of mantissa, bf16 keeps 7.
LIMITS = {
    "fp32": (1e-3, 1e-4),
    "tf32": (0.15, 0.015),
    "fp16": (0.15, 0.015),
    "bf16": (1.0, 0.06),
}


def parity(expected: Reference, sessions: Sessions, precision: str, what: str) -> dict[str, Any]:
    """Largest differences of every output at batches 1, 3 and 8.

    Raises:
        CheckError: beyond the limits of the precision, or not finite.
    """
    largest, mean = LIMITS[precision]
    limits = Limits(what, largest, mean, "please attach this report to an issue")
    opened: dict[str, Session] = {}

    def run(graph: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if graph not in opened:
            opened[graph] = sessions(graph)
        return opened[graph].run(feeds)

    try:
        return compare(expected, run, tuple(expected.feeds), limits)
    except ExportError as error:
        raise CheckError(str(error)) from error


def parity_line(found: dict[str, Any]) -> str:
    """The differences in a few words."""
    graphs = [graph for graph in found if graph != "reconstruction"]
    worst = {graph: max(max(entry.values()) for entry in found[graph].values()) for graph in graphs}
    return (
        f"largest difference: encoder {worst['encoder']:.1e}, generator {worst['generator']:.1e}, "
        f"reconstruction {found['reconstruction']:.1e} (batches {', '.join(map(str, BATCHES))})"
    )


def reconstructor(encoder: Session, generator: Session, image: np.ndarray) -> Callable[[], object]:
    """A call that takes images through encoder and generator, and has them back in the processor's memory."""

    def call() -> object:
        return generator.run(run_held(encoder, encoder_feeds(encoder, image)))

    return call


def images_per_second(
    encoder: Session, generator: Session, image: np.ndarray, batches: tuple[int, ...], seconds: float
) -> dict[str, float]:
    """Batch -> reconstructed images per second.

    One batch size after the other: if they alternated, every call would make a provider that plans a graph for its last
    shape plan again (as onnxruntime does with cuDNN 9), and nothing but planning would be timed.
    """
    found = {}
    for n in batches:
        call = reconstructor(encoder, generator, np.resize(image, (n, *image.shape[1:])))
        found[str(n)] = round(n / alternate({"": call}, seconds / len(batches))[""].median, 2)
    return found


def speed_line(found: Mapping[str, float]) -> str:
    """The same in words."""
    return ", ".join(f"{rate:,.0f} images/s at batch {n}" for n, rate in found.items())
