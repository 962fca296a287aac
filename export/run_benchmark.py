"""`padinv bench` from Python: open what is installed, measure them alternately, and say what is fastest."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from padinv.export.torch_contestants import torch_contestants
from padinv.runtime.backends import BACKENDS, PRECISIONS, check_threads, get_backend
from padinv.runtime.backends.saved_defaults import SavedDefaults, save_defaults
from padinv.runtime.benchmark.cold_start import ColdStart, cold_start
from padinv.runtime.benchmark.contestants import Contestant, open_contestants
from padinv.runtime.benchmark.flops import graph_gflop
from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.benchmark.matrix_rate import matrix_rates
from padinv.runtime.benchmark.measuring import measure
from padinv.runtime.benchmark.report import Report
from padinv.runtime.bundle import Bundle, read_bundle
from padinv.runtime.demo_pictures import demo_folder
from padinv.runtime.errors import BackendError, UsageError
from padinv.runtime.images import prepare, read_image, to_float

Step = Callable[[str], None]
IMAGES = 8  # photographs that differences are measured on


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        model: a bundle; None: the built-in one.
        backends, precisions: names; empty: all.
        batches: batch sizes.
        threads: numbers of processor threads.
        device: as `--device` takes it.
        seconds: per stage and batch size, over all contestants.
        torch: compare with eager torch.
        cold: also measure fresh processes.
    """

    model: Path | None = None
    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 4, 8, 16)
    threads: tuple[int, ...] = (1,)
    device: str | None = None
    seconds: float = 3.0
    torch: bool = True
    cold: bool = True


def run_benchmark(options: Options, step: Step = lambda what: None) -> Report:
    """Measure this machine.

    Args:
        step: called with a line before each piece of work.

    Raises:
        UsageError: a wrong option, or nothing that could be measured. BundleError: the model cannot be read.
    """
    if "auto" in options.backends:
        raise UsageError("bench measures backends by name; leave --backend out to measure all of them")
    for count in options.threads:
        check_threads(count)
    for name in options.backends:  # what was asked for by name must be there
        if problem := get_backend(name).problem():
            raise BackendError(f"the backend {name} is not available: {problem}; nothing was measured")
    machine, bundle = this_machine(), read_bundle(options.model)
    before = _load()
    step("matrix product of this machine")
    rates = matrix_rates(options.threads[0])
    step("opening backends")
    precisions = options.precisions or PRECISIONS
    contestants, problems = open_contestants(
        bundle, options.backends or BACKENDS[1:], precisions, options.threads, options.device
    )
    if options.torch:
        gpu = any(c.unit == "cuda" for c in contestants)
        torch_ones, reason = torch_contestants(bundle, precisions, options.threads[0], gpu)
        contestants = [*torch_ones, *contestants]
        problems += [reason] if reason else []
    gflop = {graph: graph_gflop(bundle, graph) for graph in ("encoder", "generator")}
    measured = measure(contestants, photographs(bundle), options.batches, gflop, rates, options.seconds, step)
    measured.problems[:0] = problems
    cold = _cold_starts(bundle, contestants, measured.problems, step) if options.cold else {}
    return Report(
        machine,
        bundle.name,
        bundle.generator_hash,
        bundle.spec.resolution,
        gflop,
        rates,
        measured,
        (before, _load()),
        datetime.date.today().isoformat(),
        cold,
    )


def save_fastest(options: Options, report: Report) -> str:
    """Make the fastest flags of a report the defaults for this machine and model; a sentence that says so.

    Raises:
        UsageError: no backend of padinv took part. OutputError: not writable.
    """
    best = report.measured.fastest()
    if best is None:
        raise UsageError("no backend of padinv took part, so nothing was saved")
    chosen = SavedDefaults(
        best.backend,
        best.precision,
        best.threads,
        best.device,
        best.batch,
        round(best.images_per_second, 3),
        report.day,
    )
    path = save_defaults(read_bundle(options.model), chosen)
    mean, _ = report.measured.differences[best.contestant]
    return (
        f"saved in {path}: {chosen.flags} (mean difference {mean:.2f} grey levels); used for this model where no "
        "--backend is given"
    )


def photographs(bundle: Bundle) -> np.ndarray:
    """The shipped demo images at the model's size, float32 [N, 3, S, S] in [-1, 1]."""
    files = sorted(Path(demo_folder()).glob("*.png"))[:IMAGES]
    size = bundle.spec.image_size
    return to_float(np.stack([prepare(read_image(file)[0], size, "crop").pixels for file in files]))


def _cold_starts(
    bundle: Bundle, contestants: list[Contestant], problems: list[str], step: Step
) -> dict[str, ColdStart]:
    found = {}
    for c in contestants:
        if c.backend == "torch" or c.plain:
            continue
        step(f"cold start of {c.name}")
        try:
            found[c.name] = cold_start(str(bundle.folder), c.backend, c.precision, c.threads, c.device)
        except BackendError as error:
            problems.append(str(error))
    return found


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
