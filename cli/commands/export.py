"""`padinv export`: a trained model as a bundle of ONNX graphs, with TensorRT engines on request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from padinv.runtime.errors import UsageError
from padinv.runtime.files import require_files

DEFAULT_BATCH = "1:8:32"


def command(
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="Folder of the bundle to write.")],
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN|BUNDLE]",
            help="Folder of a training, or a bundle that is to get engines (with --trt).",
            show_default=False,
        ),
    ] = None,
    generator: Annotated[Path | None, typer.Option(help="Generator file, in place of RUN.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="Encoder file, in place of RUN.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; the folder's if left out.")] = None,
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
        str, typer.Option(metavar="MIN:BEST:MAX", help="Batch sizes the engines take; they are fastest at BEST.")
    ] = DEFAULT_BATCH,
    opset: Annotated[
        int | None, typer.Option(min=17, max=21, help="ONNX opset; 18 if left out.", show_default=False)
    ] = None,
    card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Model card (Markdown) to take along; else one is written.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Export RUN, or a generator and an encoder, as a model bundle for the torch-free runtime.

    Every graph is run in onnxruntime against torch at batch 1, 3 and 8; a difference above 1e-4 aborts the export with
    nothing written. The differences are stored in the bundle's model.json.
    """
    require_files(source, generator, encoder, folders=True)  # before torch is asked for
    require_files(card)
    from padinv.cli.main import say
    from padinv.cli.progress import progress_bar
    from padinv.export.export_bundle import Options, Result, add_engines, export_bundle, steps
    from padinv.export.trt_build import BatchProfile
    from padinv.runtime.bundle import MANIFEST, read_bundle

    profile = BatchProfile.parse(batch)
    if not trt and batch != DEFAULT_BATCH:
        raise UsageError("--batch is for TensorRT engines; add --trt, or leave it out (ONNX graphs take any batch)")
    if (source is None) == (generator is None and encoder is None) or (generator is None) != (encoder is None):
        raise UsageError("give either a RUN, or both --generator and --encoder")
    if name is not None and not 0 < len(name) <= 100:
        raise UsageError("--name takes 1 to 100 characters")
    options = Options(name, fp16, compact, weights, opset, card, profile if trt else None, overwrite)

    of_bundle = source is not None and (source / MANIFEST).is_file()
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
            result = add_engines(read_bundle(source), out, options, step)
        else:
            from padinv.checkpoints.generator_encoder import read_pair, read_run

            if source is not None:
                pair = read_run(source)
            else:
                assert generator is not None
                assert encoder is not None
                pair = read_pair(generator, encoder)
            result = export_bundle(pair, out, options, step)
        bar.advance()
    for line in summary(result.bundle.manifest):
        typer.echo(line)
    typer.echo(f"wrote {out}: try it with: padinv invert PICTURE --model {out}")
    if result.problem is not None:
        say(f"the ONNX graphs are in {out}, but no TensorRT engines: {result.problem}")
        raise typer.Exit(1)


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
    return lines
