"""What `padinv export` can add to a bundle that is there already, without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from padinv.export.add_engines import Result, add_engines, require_fitting
from padinv.export.export_bundle import Options
from padinv.export.tune_bundle import tune_bundle
from padinv.runtime.bundle import Bundle
from padinv.runtime.errors import UsageError

Step = Callable[[str], None]


def extend_bundle(source: Bundle, out: Path | str | None, options: Options, step: Step = lambda what: None) -> Result:
    """Add tuned graphs, TensorRT engines, or both.

    Args:
        source: the bundle.
        out: a copy is written there; None, or the bundle's own folder: in place.

    Raises:
        UsageError: neither was asked for, or something that needs the networks was.
        BundleError, BackendError, ExportError: as `tune_bundle` and `add_engines`.
    """
    if options.engines is None and not options.tune:
        raise UsageError(
            f"{source.folder} is a bundle already; add engines with --trt or tuned graphs with --tune, or give a run"
        )
    require_fitting(source, options)
    result = Result(source)
    if options.tune:
        result = Result(tune_bundle(source, out, options.overwrite, step))
        source, out = result.bundle, None
    return add_engines(source, out, options, step) if options.engines is not None else result
