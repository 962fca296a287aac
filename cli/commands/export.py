"""`padinv export`: a trained model as a bundle of ONNX graphs, with tuned graphs and TensorRT engines on request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.console import say
from padinv.cli.json_output import print_json, skipped_input
from padinv.cli.progress import progress_bar
from padinv.export.export_bundle import Options, export_bundle, steps
from padinv.export.extend_bundle import extend_bundle
from padinv.export.trt_build import BatchProfile, EngineOptions
from padinv.runtime.bundle import MANIFEST, read_bundle
from padinv.runtime.errors import ExitCode, UsageError
from padinv.runtime.files import require_files
from padinv.runtime.model_names import find_model, is_model_name
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from padinv.export.add_engines import Result


def command(
    *,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN|BUNDLE]",
            help="Folder of a training, or a bundle that is to get engines (--trt) or tuned graphs (--tune).",
            show_default=False,
        ),
    ] = None,
    generator: Annotated[Path | None, typer.Option(help="Generator file, in place of RUN.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="Encoder file, in place of RUN.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="BUNDLE",
            help="Folder of the bundle to write; if omitted, BUNDLE itself is extended.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; the folder's if omitted.")] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Also float16 graphs (and engines, with --trt).")] = False,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Round weights to float16 and store them once: half the size, and trainable."),
    ] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="Also weights.safetensors (float16), for further training.")
    ] = False,
    trt: Annotated[bool, typer.Option("--trt", help="Also TensorRT engines for this machine's GPU.")] = False,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:BEST:MAX",
            help="Batch sizes of the engines, fastest at BEST; chosen by image size and free GPU memory if omitted.",
        ),
    ] = None,
    level: Annotated[
        int | None, typer.Option(min=0, max=5, help="TensorRT's optimization level: 0 builds fast, 5 runs fast.")
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Engines for later minor versions of TensorRT too; slower.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Engines for all GPUs from Ampere on; slower.")
    ] = False,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Also graphs with each layer in the form that is fastest on this processor."),
    ] = False,
    opset: Annotated[
        int | None, typer.Option(min=17, max=21, help="ONNX opset; 18 if omitted.", show_default=False)
    ] = None,
    card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Model card (Markdown) to take along; else one is written.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Export RUN, or a generator and an encoder, as a model bundle for the torch-free runtime.

    Every graph is run in onnxruntime against torch at batch 1, 3 and 8; a difference above 1e-4 aborts the export with
    nothing written. The differences are stored in the bundle's model.json.
    """
    profile = None if batch is None else BatchProfile.parse(batch)
    for flag, given in (
        ("--batch", batch is not None),
        ("--level", level is not None),
        ("--version-compatible", version_compatible),
        ("--hardware-compatible", hardware_compatible),
    ):
        if given and not trt:
            raise UsageError(f"{flag} is for TensorRT engines; add --trt, or leave it out (ONNX graphs take any batch)")
    if (source is None) == (generator is None and encoder is None) or (generator is None) != (encoder is None):
        raise UsageError("give either a RUN, or both --generator and --encoder")
    if name is not None and not 0 < len(name) <= 100:
        raise UsageError("--name takes 1 to 100 characters")
    if source is not None and is_model_name(source):
        if out is None:
            raise UsageError(f"{source} stays as it is where it lies; give the folder of a copy with --out")
        source = find_model(source)
    files = [path for path in (source, generator, encoder) if path is not None and not is_model_name(path)]
    require_files(*files, folders=True)  # before torch is asked for
    require_files(card)

    engines = EngineOptions(profile, level, version_compatible, hardware_compatible) if trt else None
    options = Options(name, fp16, compact, weights, opset, card, engines, overwrite, tune)
    of_bundle = source is not None and (source / MANIFEST).is_file()
    if out is None and not (of_bundle and (trt or tune)):
        raise UsageError("give the folder of the bundle to write with --out")
    with progress_bar("exporting", steps(options, of_bundle), "steps") as bar:
        begun = False

        def step(what: str) -> None:
            nonlocal begun
            bar.describe(what)
            if begun:
                bar.advance()
            begun = True

        result: Result
        if source is not None and of_bundle:
            result = extend_bundle(read_bundle(source), out, options, step)
        else:
            from padinv.checkpoints.generator_encoder import read_pair, read_run

            if source is not None:
                pair = read_run(source)
            else:
                assert generator is not None
                assert encoder is not None
                pair = read_pair(generator, encoder)
            assert out is not None  # checked above
            result = export_bundle(pair, out, options, step)
        bar.advance()
    folder = result.bundle.folder
    if as_json:
        _print_json(result)
    else:
        for line in summary(result.bundle.manifest):
            typer.echo(line)
        typer.echo(printable(f"wrote {folder}: try it with: padinv invert PICTURE --model {folder}"))
    if result.problem is not None:
        say(
            f"the ONNX graphs are in {folder}, but no TensorRT engines: {result.problem}; the same command adds them "
            "in place once that is solved"
        )
        raise typer.Exit(ExitCode.PARTLY)


def _print_json(result: Result) -> None:
    manifest = result.bundle.manifest
    shown = ("name", "generator_hash", "parity", "engines", "tuned")
    lost = [] if result.problem is None else [skipped_input(str(result.problem), code="engines")]
    made = {"folder": str(result.bundle.folder), **{key: manifest[key] for key in shown if key in manifest}}
    print_json([made], code=ExitCode.PARTLY if lost else ExitCode.DONE, skipped=lost)


def summary(manifest: dict[str, object]) -> list[str]:
    """What a manifest says about agreement and engines, one line each."""
    lines = []
    parity = manifest["parity"]
    assert isinstance(parity, dict)
    for precision, entry in parity.items():
        images = max(entry["generator"]["output"].values())
        lines.append(
            f"{precision}: images differ from torch by at most {images:.1e}, reconstructions by "
            f"{entry['reconstruction']:.1e} (batch {', '.join(map(str, entry['batches']))})"
        )
    engines = manifest.get("engines")
    assert isinstance(engines, dict)
    lines += [f"engine {file} (batch {entry['batch']})" for file, entry in engines.items()]
    tuned = manifest.get("tuned")
    if isinstance(tuned, dict):
        lines += [tuned_line(tuned, graph) for graph in tuned["layers"]]
    return lines


def tuned_line(tuned: dict[str, Any], graph: str) -> str:
    """How many layers of a graph have another form than the exporter's."""
    layers = tuned["layers"][graph].values()
    changed = sum(layer["sites"] for layer in layers if layer["form"] != "plain")
    return (
        f"tuned for {tuned['processor']}: {changed} of {sum(layer['sites'] for layer in layers)} places of the {graph}"
    )
