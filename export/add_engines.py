"""TensorRT engines for a bundle: built for this machine, checked, added to a copy or to the bundle itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.export.bundle_workspace import copy_of, onnx_sessions, scratch_inside
from padinv.export.parity import ENGINE, ENGINE_HALF, Reference, compare, make_reference
from padinv.export.trt_build import GRAPHS, EngineBuilder, build_engines
from padinv.runtime.bundle import MANIFEST, Bundle, read_bundle, write_manifest
from padinv.runtime.errors import BackendError, BundleError, UsageError
from padinv.runtime.files import write_bytes
from padinv.runtime.passes import trained_passes
from padinv.runtime.spec import ModelSpec

if TYPE_CHECKING:
    from padinv.export.export_bundle import Options

Step = Callable[[str], None]


@dataclass
class Result:
    """A bundle that was written.

    Attributes:
        bundle: as read back.
        problem: why it holds no engines although they were asked for.
    """

    bundle: Bundle = field(repr=False)
    problem: Exception | None = None


def engine_problem() -> BackendError | None:
    """Why engines cannot be built on this machine; None where TensorRT, CUDA and a GPU are there."""
    try:
        EngineBuilder()
    except BackendError as error:
        return error
    return None


def add_engines(source: Bundle, out: Path | str | None, options: Options, step: Step = lambda what: None) -> Result:
    """Add engines for this machine's GPU to a bundle; needs no torch. The engines are compared with onnxruntime.

    Args:
        source: the bundle.
        out: a copy is written there; None, or the bundle's own folder: the engines are added in place, and the bundle
            stays usable at every moment.

    Raises:
        BundleError: `source` is damaged, or lacks the float16 graphs that were asked for.
        BackendError: TensorRT, CUDA or a GPU is missing; nothing was written.
        ExportError: an engine is not what it must be; nothing was written.
    """
    if options.engines is None:
        raise UsageError(f"{source.folder} is a bundle already; add engines to it with --trt, or give a run")
    require_fitting(source, options)
    engines = options.engines
    builder = EngineBuilder()  # says what is missing before anything is copied
    in_place = out is None or Path(out).resolve() == source.folder.resolve()
    names = [builder.here.engine_name(graph, p) for p in options.precisions for graph in GRAPHS]
    entries = source.manifest.get("engines", {})
    if (
        in_place
        and all(entries.get(name, {}).get("build") == engines.to_dict() for name in names)
        and not options.overwrite
    ):
        for name in names:
            source.path(name)  # whole, or BundleError
        return Result(source)
    with scratch_inside(source) if in_place else copy_of(source, Path(out or ""), options.overwrite, step) as folder:
        step("running the networks in onnxruntime")
        passes = trained_passes(source.encoder)
        expected = make_reference(source.spec, source.constants(), onnx_sessions(source), passes=passes)
        compact = source.manifest.get("compact") is True
        record = build_checked_engines(folder, source.spec, expected, options, step, compact)
        manifest = {key: value for key, value in source.manifest.items() if key not in ("files", "format")}
        manifest["engines"] = {**entries, **record}
        manifest["name"] = options.name or manifest["name"]
        if in_place:
            for name in record:
                write_bytes(source.folder / name, (folder / name).read_bytes())
            write_manifest(source.folder, manifest, only={*source.files, *record})
        else:
            write_manifest(folder, manifest)
    return Result(read_bundle(source.folder if in_place else out))


def require_fitting(source: Bundle, options: Options) -> None:
    """Refuse options that a bundle alone cannot meet.

    Raises:
        UsageError: they need the networks. BundleError: the bundle lacks the float16 graphs.
    """
    needs_networks = {
        "--weights": options.weights and not source.has("weights.safetensors"),
        "--compact": options.compact and source.manifest.get("compact") is not True,
        "--opset": options.opset not in (None, source.manifest.get("opset")),
        "--card": options.card,
    }
    for flag, given in needs_networks.items():
        if given:
            raise UsageError(f"{flag} needs the networks, and {source.folder} is a bundle; export the run again")
    if options.half and not source.has("generator.fp16.onnx"):
        raise BundleError(f"{source.folder} holds no float16 graphs; export the run again with --fp16")


def build_checked_engines(
    folder: Path, spec: ModelSpec, expected: Reference, options: Options, step: Step, compact: bool
) -> dict[str, Any]:
    """Build engines into a folder that holds the graphs, and compare them with the reference.

    Returns:
        engine file -> what the manifest says about it.

    Raises:
        BackendError: TensorRT, CUDA or a GPU is missing, or the build failed. ExportError: a check failed.
    """
    assert options.engines is not None

    def check(precision: str, plans: dict[str, bytes]) -> dict[str, Any]:
        from padinv.runtime.backends.tensorrt_session import TrtSession

        sessions = {graph: TrtSession(plan, f"the engine of the {graph}") for graph, plan in plans.items()}
        try:
            limits = ENGINE_HALF if precision == "fp16" else ENGINE
            return compare(expected, lambda graph, feeds: sessions[graph].run(feeds), GRAPHS, limits)
        finally:
            for session in sessions.values():
                session.close()

    shapes = {graph: {name: array.shape[1:] for name, array in expected.feeds[graph].items()} for graph in GRAPHS}
    return build_engines(folder, spec, shapes, options.precisions, options.engines, check, step, compact)


def is_export_of(out: Path | str, pair: Any) -> bool:
    """Whether `out` is a whole bundle of the same generator and encoder files."""
    if not (Path(out) / MANIFEST).is_file():
        return False
    try:
        bundle = read_bundle(out)
    except BundleError:
        return False
    made_from = bundle.manifest.get("provenance", {})
    if not pair.origins or not isinstance(made_from, dict):
        return False
    return all(
        isinstance(made_from.get(kind), dict) and made_from[kind].get("sha256") == origin.sha256
        for kind, origin in pair.origins.items()
    )
