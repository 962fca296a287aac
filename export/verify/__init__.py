"""`padinv verify`: everything this machine has of backends, precisions and training, checked in one run."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.export.parity import Reference, Run, make_reference
from padinv.export.verify.backend_checks import Opened, check_backend, check_missing_backend
from padinv.export.verify.checks import Check, Checks, Figures, NotHereError, Step
from padinv.export.verify.report import write_report
from padinv.runtime.backends import BACKENDS, installed_backends, open_session
from padinv.runtime.benchmark.machine import Machine, this_machine
from padinv.runtime.bundle import Bundle, read_bundle
from padinv.runtime.errors import BackendError, BundleError
from padinv.runtime.passes import trained_passes

if TYPE_CHECKING:
    from padinv.checkpoints.generator_encoder import Pair

__all__ = ["Options", "Verification", "verify"]


@dataclass(frozen=True)
class Options:
    """What to verify.

    Attributes:
        model: a bundle; None: the built-in one.
        backends: names; empty: all.
        training: train fifty small steps in every precision, and the preset church.
        large: also measure a full-sized model at random weights in torch, where there is a GPU.
        seconds: for timing each backend and precision.
    """

    model: Path | None = None
    backends: tuple[str, ...] = ()
    training: bool = True
    large: bool = True
    seconds: float = 0.5


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        machine: where.
        checks: in the order they ran.
        report: the Markdown file; a JSON file of the same name lies beside it.
        interrupted: Ctrl-C ended the run before all checks were done.
    """

    machine: Machine
    checks: list[Check] = field(repr=False)
    report: Path
    interrupted: bool = False

    def count(self, status: str) -> int:
        """How many checks 'passed', 'failed' or were 'skipped'."""
        return sum(check.status == status for check in self.checks)


def verify(options: Options, out: Path, step: Step = lambda what: None) -> Verification:
    """Check what this machine has, and write the report into `out`. A check that fails does not end the others.

    Args:
        step: called with a line before each check.

    Raises:
        BundleError: the model cannot be read. OutputError: the report cannot be written.
        BackendError: not even onnxruntime or torch is there to compare with.
    """
    started = time.perf_counter()
    machine = this_machine()
    source = read_bundle(options.model)
    checks = Checks(step)
    interrupted = False
    try:
        with tempfile.TemporaryDirectory(prefix="padinv-verify-") as name:
            _run(checks, options, source, Path(name))
    except KeyboardInterrupt:
        # What was found until then is worth a report: on a lent machine the time may simply be over.
        interrupted = True
        checks.run("run", "all checks ran", _interrupted)
    model = {"name": source.name, "resolution": source.spec.resolution, "hash": source.generator_hash[:12]}
    report = write_report(out, machine, model, checks.done, time.perf_counter() - started)
    return Verification(machine, checks.done, report, interrupted)


def _run(checks: Checks, options: Options, source: Bundle, folder: Path) -> None:
    pair = _networks(checks, source)
    half = _with_half(checks, source, pair, folder)
    expected = _reference(checks, source, pair)
    _backends(checks, options, source, half, expected, folder)
    if pair is not None:
        _torch(checks, options, pair, expected)
    if options.training:
        _training(checks, folder)


def _interrupted() -> tuple[str, Figures]:
    raise NotHereError("interrupted before the end; the checks above are complete")


def _has(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in packages)


def _networks(checks: Checks, source: Bundle) -> Pair | None:
    """The networks of the bundle, where it holds raw weights and torch is installed."""
    found: list[Pair] = []

    def load() -> tuple[str, Figures]:
        if not _has("torch", "onnx"):
            raise NotHereError("torch or onnx is not installed, so onnxruntime on the processor is the reference")
        from padinv.export.bundle_networks import bundle_networks

        try:
            found.append(bundle_networks(source, exact=True))
        except BundleError as error:
            raise NotHereError(str(error)) from error
        return "generator and encoder from the bundle's own weights", {}

    checks.run("model", "networks in torch", load)
    return found[0] if found else None


def _with_half(checks: Checks, source: Bundle, pair: Pair | None, folder: Path) -> Bundle:
    """A bundle with the model's float16 graphs: itself, or one that is exported here; itself where that fails."""
    made: list[Bundle] = []
    if pair is None or source.has("generator.fp16.onnx"):
        return source

    def export() -> tuple[str, Figures]:
        if not _has("onnxscript"):
            raise NotHereError("onnxscript is not installed, so there are no float16 graphs to check")
        from padinv.export.export_bundle import Options as ExportOptions
        from padinv.export.export_bundle import export_bundle

        made.append(export_bundle(pair, folder / "exported", ExportOptions(name=source.name, half=True)).bundle)
        parity = made[0].manifest["parity"]
        worst = {precision: entry["reconstruction"] for precision, entry in parity.items()}
        line = ", ".join(f"{precision} {value:.1e}" for precision, value in worst.items())
        return f"reconstructions differ from torch by at most: {line}", {"parity": parity}

    checks.run("model", "export to ONNX, float32 and float16", export)
    return made[0] if made else source


def _reference(checks: Checks, bundle: Bundle, pair: Pair | None) -> Reference:
    """Seeded inputs and what they come to: in float64 in torch, or in onnxruntime where there is no torch."""
    made: list[Reference] = []
    passes = trained_passes(bundle.encoder)

    def in_torch() -> tuple[str, Figures]:
        if pair is None:
            raise NotHereError("there are no networks in torch")
        from padinv.export.torch_session import TorchNetworks

        networks = TorchNetworks(pair.generator, pair.encoder, "cpu", double=True)

        def run(graph: str, feeds: Any) -> Any:
            return networks.session(graph, "fp64").run(feeds)

        made.append(_float32(make_reference(bundle.spec, bundle.constants(), run, passes=passes)))
        return "float64 in torch on the processor", {}

    def in_onnxruntime() -> tuple[str, Figures]:
        made.append(make_reference(bundle.spec, bundle.constants(), _sessions(bundle), passes=passes))
        return "float32 in onnxruntime on the processor", {}

    if not checks.run("model", "reference", in_torch):
        checks.run("model", "reference without torch", in_onnxruntime)
    if not made:
        raise BackendError(f"nothing could be verified: {checks.done[-1].detail}")
    return made[0]


def _float32(reference: Reference) -> Reference:
    """Inputs as float32, which is what every backend takes."""
    feeds = {
        graph: {name: array.astype("float32") for name, array in arrays.items()}
        for graph, arrays in reference.feeds.items()
    }
    return Reference(feeds, reference.outputs, reference.reconstruction)


def _sessions(bundle: Bundle) -> Run:
    opened: dict[str, Any] = {}

    def run(graph: str, feeds: Any) -> Any:
        if graph not in opened:
            opened[graph] = open_session(bundle, graph, "cpu")
        return opened[graph].run(feeds)

    return run


def _backends(
    checks: Checks, options: Options, bundle: Bundle, half: Bundle, expected: Reference, folder: Path
) -> None:
    wanted = options.backends or BACKENDS[1:]
    for name, problem in installed_backends().items():
        if name not in wanted:
            continue
        if problem is not None:
            check_missing_backend(checks, bundle, name, problem)
        elif name == "trt":
            from padinv.export.verify.engine_checks import check_engines

            check_engines(checks, half, expected, folder, options.seconds)
        else:
            check_backend(checks, Opened(bundle, half, name), expected, options.seconds)


def _torch(checks: Checks, options: Options, pair: Pair, expected: Reference) -> None:
    import torch

    from padinv.export.verify.torch_checks import check_device, check_large, torch_devices

    devices = torch_devices()
    for device in devices:
        _guarded(
            checks,
            "torch",
            device,
            lambda device=device: check_device(  # type: ignore[misc]
                checks, pair, expected, device, options.seconds
            ),
        )
    if options.large and len(devices) > 1:
        _guarded(checks, "torch", "full-sized model", lambda: check_large(checks, devices[1], options.seconds))
        torch.cuda.empty_cache()


def _training(checks: Checks, folder: Path) -> None:
    if not _has("torch", "accelerate", "tensorboard"):

        def missing() -> tuple[str, Figures]:
            raise NotHereError("torch, accelerate or tensorboard is not installed (pip install 'padinv[train]')")

        checks.run("training", "training", missing)
        return
    from padinv.export.verify.training_checks import check_training

    _guarded(checks, "training", "start", lambda: check_training(checks, folder))


def _guarded(checks: Checks, group: str, name: str, run: Callable[[], None]) -> None:
    """Run a group of checks; what fails between them is a failed check of its own."""
    try:
        run()
    except Exception as error:  # the report must be written whatever a machine does
        failure = error

        def failed() -> tuple[str, Figures]:
            raise failure

        checks.run(group, name, failed)
