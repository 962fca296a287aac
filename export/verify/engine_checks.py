"""TensorRT: engines for this machine, in a copy of the bundle, then everything that other backends go through."""

from __future__ import annotations

from pathlib import Path

from padinv.export.add_engines import add_engines
from padinv.export.export_bundle import Options
from padinv.export.parity import Reference
from padinv.export.trt_build import BatchProfile, EngineOptions
from padinv.export.verify.backend_checks import Opened, check_backend
from padinv.export.verify.checks import Checks, Figures
from padinv.runtime.bundle import Bundle, read_bundle

PROFILE = BatchProfile(1, 8, 32)


def check_engines(checks: Checks, bundle: Bundle, expected: Reference, folder: Path, seconds: float) -> None:
    """Build float32 engines, and float16 ones where the bundle has their graphs, and check them."""
    half = bundle.has("generator.fp16.onnx")
    out = folder / "with-engines"

    def build() -> tuple[str, Figures]:
        result = add_engines(bundle, out, Options(half=half, engines=EngineOptions(PROFILE)))
        engines = result.bundle.manifest["engines"]
        return f"built {', '.join(engines)}", {"engines": engines}

    if checks.run("engines", "build", build):
        finished = read_bundle(out)
        check_backend(checks, Opened(finished, finished, "trt"), expected, seconds)
