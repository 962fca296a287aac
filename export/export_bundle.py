"""Writing a model bundle: export, check, compare, and only then put the folder in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.export.add_engines import Result, add_engines, build_checked_engines, engine_problem, is_export_of
from padinv.export.atomic_folder import check_target, staged_folder
from padinv.export.parity import (
    BATCHES,
    ONNX,
    ONNX_HALF,
    Limits,
    Run,
    compare,
    make_reference,
)
from padinv.export.trt_build import EngineOptions
from padinv.export.tune_bundle import STEPS as TUNING_STEPS
from padinv.export.tune_bundle import tune_files
from padinv.runtime.backends.onnxruntime_session import OnnxSession, import_onnxruntime
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.errors import BackendError, ExportError, InputError, UsageError
from padinv.runtime.files import open_regular, write_bytes, write_text

if TYPE_CHECKING:
    from padinv.checkpoints.generator_encoder import Pair

HALF_METHOD = "float16 graphs in onnxruntime on the CPU, which computes most float16 operators in float32"
MAX_CARD_BYTES = 1 << 20

Step = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What goes into a bundle.

    Attributes:
        name: for people; None: the run's or the bundle folder's name.
        half: float16 twins of encoder and generator.
        compact: float32 graphs that store the raw weights as float16: half the size, and a checkpoint besides. The
            weights are rounded to float16 first, so that torch and ONNX agree.
        weights: `weights.safetensors`, generator and encoder in float16, for further training.
        opset: of the ONNX graphs.
        card: a model card to take along; None: one is written from what is known.
        engines: TensorRT engines for this machine, built so; None: no engines.
        overwrite: replace an existing bundle.
        tune: also float32 graphs whose layers have the forms that are fastest on this machine's processor.
    """

    name: str | None = None
    half: bool = False
    compact: bool = False
    weights: bool = False
    opset: int | None = None
    card: Path | None = None
    engines: EngineOptions | None = None
    overwrite: bool = False
    tune: bool = False

    @property
    def precisions(self) -> tuple[str, ...]:
        return ("fp32", "fp16") if self.half else ("fp32",)


def steps(options: Options, of_bundle: bool = False) -> int:
    """How often an export (`of_bundle`: adding engines to a bundle) calls `step`."""
    extra = 3 * len(options.precisions) if options.engines else 0
    if options.tune:
        extra += TUNING_STEPS + of_bundle
    return extra + (2 if of_bundle else (6 if options.half else 3) + 2)


def export_bundle(pair: Pair, out: Path | str, options: Options, step: Step = lambda what: None) -> Result:
    """Export a generator and its encoder.

    Args:
        pair: the networks and where they come from.
        out: the bundle's folder.
        step: called with a line before each piece of work, about `steps(options)` times.

    Where engines are asked for and `out` holds an earlier export of the same networks, they are added to it in place.

    Raises:
        ExportError: a graph is not as it must be or does not compute what torch computes; nothing was written.
        UsageError: `out` is taken. OutputError: it cannot be written. MissingPackageError: onnx is not installed.
    """
    import torch

    from padinv.checkpoints import generator_hash, save_model
    from padinv.export.compact_modules import (
        CompactEncoder,
        CompactGenerator,
        CompactMapping,
        CompactSpatial,
        rounded,
        to_compact_onnx,
    )
    from padinv.export.deeper_rings import with_all_rings
    from padinv.export.fp16_reductions import widen_sums
    from padinv.export.graph_check import audit
    from padinv.export.graph_table import graphs
    from padinv.export.model_card import model_card
    from padinv.export.modulation import write_modulation
    from padinv.export.onnx_export import DEFAULT_OPSET, require_packages, to_onnx
    from padinv.export.onnx_modules import EncoderGraph, GeneratorGraph, MappingGraph, SpatialGraph, check_pair
    from padinv.export.provenance import provenance
    from padinv.export.torch_reference import torch_run

    check_pair(pair.generator, pair.encoder)
    pair = with_all_rings(pair)
    if options.compact and pair.encoder.config.refinements and not pair.encoder.takes_error:
        raise UsageError(
            "an encoder that refines its codes in steps (ReStyle) holds the generator, too, so that a compact bundle "
            "would store it twice; nothing was exported; leave out --compact"
        )
    if options.compact and options.tune:
        raise UsageError(
            "a compact graph computes its weights, so there is nothing to tune; nothing was exported; leave out --tune "
            "or --compact"
        )
    if options.engines is not None and not options.overwrite and is_export_of(out, pair):
        return add_engines(read_bundle(out), None, options, step)
    problem: Exception | None = engine_problem() if options.engines is not None else None
    if problem is not None:
        step(f"no TensorRT engines will be built: {problem}")
    if options.compact:
        pair = replace(pair, generator=rounded(pair.generator), encoder=rounded(pair.encoder))
    out = check_target(out, options.overwrite)
    card = _read_card(options.card)
    require_packages()
    import_onnxruntime()
    spec, opset = pair.encoder.spec, options.opset or DEFAULT_OPSET  # the generator's, with the spatial codes
    table = graphs(spec, pair.encoder.config.passes)
    constants = {"w_avg": pair.generator.w_avg.numpy(), "const": pair.generator.const.detach().numpy()}
    with staged_folder(out, options.overwrite) as folder:

        def write(name: str, module: torch.nn.Module, half: bool) -> None:
            step(f"exporting the {name}{' in float16' if half else ''}")
            model = to_onnx(module.eval(), table[name], opset)
            if half:
                widen_sums(model)
            audit(model, table[name], half)
            write_bytes(folder / (f"{name}.fp16.onnx" if half else f"{name}.onnx"), model.SerializeToString())

        def write_compact(name: str, module: torch.nn.Module) -> None:
            step(f"exporting the {name}")
            model = to_compact_onnx(module, table[name], opset)
            audit(model, table[name], compact=True)
            write_bytes(folder / f"{name}.onnx", model.SerializeToString())

        if options.compact:
            write_compact("encoder", CompactEncoder(pair.encoder))
            write_compact("generator", CompactGenerator(pair.generator, spec))
            write_compact("mapping", CompactMapping(pair.generator))
            if spec.spatial_resolutions:
                write_compact("spatial", CompactSpatial(pair.encoder))
        else:
            write("encoder", EncoderGraph(pair.encoder), False)
            write("generator", GeneratorGraph(pair.generator, spec=spec), False)
            write("mapping", MappingGraph(pair.generator), False)
            if spec.spatial_resolutions:
                write("spatial", SpatialGraph(pair.encoder), False)
        _write_constants(folder / "constants.safetensors", constants)
        if not options.compact:  # a compact graph holds the weights under their names
            write_modulation(folder, pair.generator)
        if options.half:
            write("encoder", EncoderGraph(pair.encoder, torch.float16), True)
            write("generator", GeneratorGraph(pair.generator, torch.float16, spec), True)
            if spec.spatial_resolutions:
                write("spatial", SpatialGraph(pair.encoder, torch.float16), True)
        if options.weights:
            save_model(folder / "weights.safetensors", pair.generator, pair.encoder, half=True)

        step("running the networks in torch")
        expected = make_reference(
            spec, constants, torch_run(pair.generator, pair.encoder), passes=pair.encoder.config.passes
        )
        step("comparing onnxruntime with torch")
        parity = {
            "fp32": _parity(
                compare(expected, _files(folder), tuple(table), ONNX), "float32 graphs in onnxruntime, CPU", ONNX
            )
        }
        if options.half:
            step("comparing the float16 graphs")
            halved = tuple(name for name in table if name != "mapping")
            twins = compare(expected, _files(folder, half=True), halved, ONNX_HALF)
            parity["fp16"] = _parity(twins, HALF_METHOD, ONNX_HALF)
        tuned = {"tuned": tune_files(folder, spec, expected, step)} if options.tune else {}
        engines: dict[str, Any] = {}
        if options.engines is not None and problem is None:
            try:
                engines = build_checked_engines(folder, spec, expected, options, step, options.compact)
            except (BackendError, ExportError) as error:
                problem = error

        manifest = {
            "name": options.name or pair.name or out.name,
            "spec": spec.to_dict(),
            "encoder": pair.encoder.config.to_dict(),
            "generator_hash": generator_hash(pair.generator),
            "precision": list(options.precisions),
            "compact": options.compact,
            "opset": opset,
            "parity": parity,
            "engines": engines,
            **tuned,
            "provenance": provenance(pair),
        }
        write_text(folder / "MODEL_CARD.md", card if card is not None else model_card(manifest))
        write_manifest(folder, manifest)
    return Result(read_bundle(out), problem)


def _files(folder: Path, half: bool = False) -> Run:
    """Graphs lying in a folder, in onnxruntime on the CPU."""
    opened: dict[str, OnnxSession] = {}

    def run(graph: str, feeds: Any) -> dict[str, np.ndarray]:
        if graph not in opened:
            path = folder / (f"{graph}.fp16.onnx" if half else f"{graph}.onnx")
            opened.clear()  # one at a time: a large encoder takes gigabytes
            opened[graph] = OnnxSession(path.read_bytes(), path, "cpu", None)
        return opened[graph].run(feeds)

    return run


def _parity(differences: dict[str, Any], method: str, limits: Limits) -> dict[str, Any]:
    return {"method": method, "tolerance": limits.largest, "batches": list(BATCHES), **differences}


def _write_constants(path: Path, constants: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(array, np.float32) for name, array in constants.items()}))


def _read_card(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with open_regular(path) as file:
            data = file.read(MAX_CARD_BYTES + 1)
        if len(data) > MAX_CARD_BYTES:
            raise InputError(f"{path} is larger than a model card can be, so nothing was exported")
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the model card {path} cannot be read ({_reason(error)}), so nothing was exported") from error


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
