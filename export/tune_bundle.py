"""Tuned graphs for a bundle: every layer timed on this machine, the result checked, added to a copy or in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.export.bundle_workspace import copy_of, onnx_sessions, scratch_inside
from padinv.export.parity import BATCHES, ONNX, Reference, compare, make_reference
from padinv.runtime.backends.onnxruntime_session import OnnxSession, import_onnxruntime
from padinv.runtime.backends.threads import default_threads
from padinv.runtime.backends.tuned import processor_kind
from padinv.runtime.bundle import TUNED_SUFFIX, Bundle, read_bundle, write_manifest
from padinv.runtime.errors import UsageError
from padinv.runtime.files import write_bytes
from padinv.runtime.passes import trained_passes

if TYPE_CHECKING:
    from padinv.export.graph_tuning.tune_graph import Measure
    from padinv.runtime.spec import ModelSpec

GRAPHS = ("encoder", "generator")
Step = Callable[[str], None]
STEPS = 3  # that `tune_files` takes


def tune_bundle(
    source: Bundle,
    out: Path | str | None = None,
    overwrite: bool = False,
    step: Step = lambda what: None,
    measure: Measure | None = None,
) -> Bundle:
    """Add tuned graphs for this kind of processor to a bundle; needs no torch.

    Args:
        source: the bundle; its graphs stay as they are.
        out: a copy is written there; None, or the bundle's own folder: in place.
        measure: times the forms of a layer; None: `graph_tuning.timing.time_site`.

    Returns:
        the bundle, as read back.

    Raises:
        UsageError: a compact bundle. BundleError: `source` is damaged. ExportError: a tuned graph computes something
            else; nothing was written.
    """
    if source.manifest.get("compact") is True:
        raise UsageError(
            f"{source.folder} is a compact bundle, whose graphs compute their weights, so it was not tuned; export the "
            "run again without --compact"
        )
    in_place = out is None or Path(out).resolve() == source.folder.resolve()
    with scratch_inside(source) if in_place else copy_of(source, Path(out or ""), overwrite, step) as folder:
        step("running the networks in onnxruntime")
        passes = trained_passes(source.encoder)
        expected = make_reference(source.spec, source.constants(), onnx_sessions(source), passes=passes)
        entry = tune_files(folder, source.spec, expected, step, measure)
        manifest = {key: value for key, value in source.manifest.items() if key not in ("files", "format")}
        manifest["tuned"] = entry
        if in_place:
            names = set(entry["graphs"])
            for name in names:
                write_bytes(source.folder / name, (folder / name).read_bytes())
            stale = {f"{graph}{TUNED_SUFFIX}" for graph in GRAPHS} - names
            write_manifest(source.folder, manifest, only={*source.files, *names} - stale)
            for name in stale & set(source.files):
                (source.folder / name).unlink(missing_ok=True)
        else:
            write_manifest(folder, manifest)
    return read_bundle(source.folder if in_place else out)


def tune_files(
    folder: Path, spec: ModelSpec, expected: Reference, step: Step, measure: Measure | None = None
) -> dict[str, Any]:
    """Write tuned graphs into a folder that holds the plain ones, and compare them with the reference.

    Returns:
        what the manifest says: kind of processor, threads, onnxruntime, the forms of every kind of layer with their
        times, and the agreement. 'graphs' names the files; a graph whose plain form is fastest throughout has none.

    Raises:
        ExportError: a tuned graph computes something else.
    """
    import onnx

    from padinv.export.graph_check import audit
    from padinv.export.graph_table import graphs
    from padinv.export.graph_tuning.timing import time_site
    from padinv.export.graph_tuning.tune_graph import tune_graph

    passes = 2 if len(expected.feeds["encoder"]) > 1 else 1  # an iterative encoder takes more than the image
    layers, files = {}, {}
    for graph in GRAPHS:
        step(f"tuning the {graph}")
        model, layers[graph] = tune_graph(
            onnx.load_from_string((folder / f"{graph}.onnx").read_bytes()), measure or time_site
        )
        name = f"{graph}{TUNED_SUFFIX}"
        (folder / name).unlink(missing_ok=True)
        if all(layer["form"] == "plain" for layer in layers[graph].values()):
            continue
        audit(model, graphs(spec, passes)[graph], folded=True)
        write_bytes(folder / name, model.SerializeToString())
        files[graph] = name
    step("comparing the tuned graphs")
    return {
        "processor": processor_kind(),
        "threads": default_threads(),
        "onnxruntime": import_onnxruntime().__version__,
        "graphs": {name: graph for graph, name in files.items()},
        "layers": layers,
        "parity": {"tolerance": ONNX.largest, "batches": list(BATCHES), **_compared(folder, files, expected)},
    }


def _compared(folder: Path, files: dict[str, str], expected: Reference) -> dict[str, Any]:
    opened: dict[str, OnnxSession] = {}

    def run(graph: str, feeds: Any) -> dict[str, np.ndarray]:
        if graph not in opened:
            opened.clear()  # one at a time: a large encoder takes gigabytes
            path = folder / files.get(graph, f"{graph}.onnx")
            opened[graph] = OnnxSession(path.read_bytes(), path)
        return opened[graph].run(feeds)

    return compare(expected, run, GRAPHS, ONNX) if files else {}
