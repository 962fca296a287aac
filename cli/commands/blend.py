"""`padinv blend`: the facial features of one picture in the shape, hair and background of another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padinv.cli import options as opt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from padinv.runtime.batch.edit_files import Edited, Job
    from padinv.runtime.batch.sources import Loaded, Reader, Source
    from padinv.runtime.inversion import Inversion
    from padinv.runtime.reports.comparison_report import Comparison

DEFAULT_OUT = Path("padinv-out/blend")
MIXED = "style-mixing"


def command(
    a: Annotated[str, typer.Argument(metavar="A", help="Gives the facial features: a picture, inversion or folder.")],
    b: Annotated[
        list[str],
        typer.Argument(metavar="B...", help="Gives shape, hair and background: pictures, inversions or folders."),
    ],
    model: opt.ModelOption = None,
    out: opt.OutOption = DEFAULT_OUT,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Latent codes taken from A, like 0-6 or 7-; all if left out.")
    ] = None,
    strength: opt.StrengthOption = 1.0,
    style_mixing: Annotated[
        bool,
        typer.Option("--style-mixing", help="Also write the paper's comparison: B with the later latents of A (pSp)."),
    ] = False,
    region: opt.RegionOption = None,
    resolutions: opt.ResolutionsOption = None,
    paste_back: opt.PasteBackOption = False,
    feather: opt.FeatherOption = opt.DEFAULT_FEATHER,
    align: opt.AlignOption = "auto",
    landmarks: opt.LandmarksOption = None,
    face: opt.FaceOption = 1,
    fit: opt.FitOption = "crop",
    save_inversions: opt.SaveInversionsOption = False,
    sheet: opt.SheetOption = True,
    report: opt.ReportOption = True,
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
    overwrite: opt.OverwriteOption = False,
    limit: opt.LimitOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Blend faces: the latents of A with the padding of B (section 4.3 of the paper).

    One of A and B may be many: each of them is blended with the other. The result is called A--B.png; with --paste-back
    A--B.photo.png is it in the photograph of B. With --region or --resolutions the padding of B is used only there, and
    that of A elsewhere.
    """
    from padinv.cli.console import say
    from padinv.cli.edit_common import Setup, check_out, lay_out, model_facts, run_jobs, sum_up
    from padinv.runtime.batch.edit_files import Task
    from padinv.runtime.batch.masks import read_region
    from padinv.runtime.batch.sources import find_sources
    from padinv.runtime.editing import blend, parse_layers
    from padinv.runtime.editing import style_mixing as mix
    from padinv.runtime.errors import InputError, UsageError

    check_out(out)
    left, problems = find_sources([a], out)
    right, more = find_sources(b, out)
    problems += more
    if not left or not right:
        raise InputError(
            f"{' and '.join(problems) or f'no pictures found in {a if not left else b[0]}'}; nothing was done"
        )
    if len(left) > 1 and len(right) > 1:
        raise UsageError(
            f"{len(left)} pictures for A and {len(right)} for B were given; one of them must be a single picture"
        )
    left, right = left[:limit], right[:limit]
    setup = Setup(model, backend, precision, threads, align, landmarks, face, fit, device=device)
    reader = setup.reader()
    if any(source.index is None for source in (*left, *right)):  # a picture, which the encoder has to invert
        reader.model.require_padding("blend")
    chosen = None if layers is None else parse_layers(layers, reader.model.spec.num_layers)
    started = time.perf_counter()
    many = left if len(left) > 1 else right
    fixed = reader.read(right[0] if many is left else left[0])
    one = reader.encode([fixed])
    if fixed.note:
        say(fixed.note)
    # A mask of a photograph's size belongs to B, whose frame a blend keeps.
    frame = fixed if many is left else reader.read(right[0]) if len(right) == 1 and region is not None else None
    limited = read_region(region, resolutions, reader.model.spec, frame)

    def algebra(batch_of_many: Inversion) -> Mapping[str, Inversion]:
        pair = (batch_of_many, one) if many is left else (one, batch_of_many)
        blended = blend(*pair, strength, chosen)
        made = {"": blended if limited is None else limited.limit(pair[0], blended)}
        return {**made, MIXED: mix(*pair)} if style_mixing else made

    task = Task(
        algebra,
        {
            "verb": "blend",
            "layers": chosen,
            "strength": strength,
            "side": "A" if many is left else "B",
            "with": fixed.source.identity(),
            **({} if limited is None else {"region": limited.fingerprint()}),
        },
        ("", MIXED) if style_mixing else ("",),
        save_inversions,
        paste_back,
        fixed if many is left else None,
        feather,
    )
    outcome = run_jobs(reader, _jobs(many, fixed, many is left), task, out, "blending", batch, overwrite, problems)
    views = _Views(reader, fixed, many is left, style_mixing)
    title = f"{len(outcome.results)} blend{'' if len(outcome.results) == 1 else 's'}"
    made = lay_out(
        out, outcome, title, views.rows, views.compare, model_facts(reader), sheet, report, overwrite,
        ["A gives the facial features, B the shape, hair and background."],
    )  # fmt: skip
    seconds = time.perf_counter() - started
    raise typer.Exit(sum_up(outcome, out, seconds, made, as_json, "blended"))


def _jobs(many: Sequence[Source], fixed: Loaded, many_first: bool) -> list[Job]:
    """Results are called A--B, in the folder of what varies."""
    from pathlib import PurePosixPath

    from padinv.runtime.batch.edit_files import Job
    from padinv.runtime.batch.result_names import joined_name

    other = PurePosixPath(fixed.source.name).name
    jobs = []
    for source in many:
        path = PurePosixPath(source.name)
        first, second = (path.name, other) if many_first else (other, path.name)
        names = (source.path.name, fixed.source.path.name)
        jobs.append(Job(source, joined_name(first, path, second), names if many_first else names[::-1]))
    return jobs


class _Views:
    """How blends are laid out."""

    def __init__(self, reader: Reader, fixed: Loaded, many_first: bool, mixed: bool) -> None:
        from padinv.cli.edit_common import inputs_of

        self.reader, self.many_first, self.mixed = reader, many_first, mixed
        self.fixed = inputs_of(reader, [fixed])[0]

    def _pairs(self, results: Sequence[Edited]) -> list[tuple[np.ndarray, np.ndarray]]:
        from padinv.cli.edit_common import results_inputs

        inputs = results_inputs(self.reader, results)
        return [(one, self.fixed) if self.many_first else (self.fixed, one) for one in inputs]

    def rows(self, results: Sequence[Edited]) -> tuple[Sequence[str], list[tuple[str, list[np.ndarray]]]]:
        columns = ["A", "B", "blend", *(["style mixing"] if self.mixed else [])]
        rows = []
        for edited, (a, b) in zip(results, self._pairs(results), strict=True):
            extra = [edited.pictures[MIXED]] if self.mixed else []
            rows.append((edited.job.name, [a, b, edited.pictures[""], *extra]))
        return columns, rows

    def compare(self, results: Sequence[Edited]) -> list[Comparison]:
        from padinv.runtime.reports.comparison_report import Comparison

        return [
            Comparison(
                edited.job.name,
                b,
                edited.pictures[""],
                ("B", "Blend"),
                {"A": a, **({"Style mixing": edited.pictures[MIXED]} if self.mixed else {})},
            )
            for edited, (a, b) in zip(results, self._pairs(results), strict=True)
        ]
