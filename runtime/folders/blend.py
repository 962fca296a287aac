"""`padinv blend` as a call: the facial features of one image in the shape, hair and background of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from padinv.runtime.batch.edit_files import Edited, Job, Task
from padinv.runtime.batch.masks import read_region
from padinv.runtime.batch.result_names import joined_name
from padinv.runtime.batch.results_log import check_out
from padinv.runtime.batch.sources import Loaded, Reader, Source, find_sources
from padinv.runtime.editing import blend, parse_layers
from padinv.runtime.editing import style_mixing as mix
from padinv.runtime.editing.region import Region
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.folders.clips import clip_edit, clips_of, one_result, run_clips
from padinv.runtime.folders.editing import inputs_of, lay_out, lost_inputs, new_run, results_inputs, run_jobs
from padinv.runtime.folders.options import EditingSettings, comma_separated
from padinv.runtime.folders.pages import plural
from padinv.runtime.folders.running import listed
from padinv.runtime.inversion import Inversion
from padinv.runtime.reports.comparison_report import Comparison
from padinv.runtime.video.clip import is_clip

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padinv.runtime.folders.editing import Rows
    from padinv.runtime.folders.options import EditingOptions
    from padinv.runtime.folders.result import FolderResult
    from padinv.runtime.folders.running import Paths

DEFAULT_OUT = Path("padinv-out/blend")
MIXED = "style-mixing"


def blend_folder(
    a: Paths,
    b: Paths,
    *,
    layers: str | Sequence[int] | None = None,
    strength: float = 1.0,
    style_mixing: bool = False,
    region: str | Path | None = None,
    resolutions: str | Sequence[int] | None = None,
    **options: Unpack[EditingOptions],
) -> FolderResult:
    """Blend faces, as `padinv blend` does: the latents of A with the padding of B (section 4.3 of the paper).

    One of A and B may be many: each of them is blended with the other. The result is called A--B.png.

    Example:
        padinv.blend_folder("me.jpg", "photos", out="blends", paste_back=True)

    Args:
        a: gives the facial features: image and inversion files, folders (recursive) or glob patterns.
        b: gives shape, hair and background; clips, too.
        layers: latent codes taken from A, like '0-6' or [0, 1, 2]; None: all.
        strength: how far to go: 0 changes nothing, 1 all the way.
        style_mixing: also write the paper's comparison: B with the later latents of A (pSp).
        region: where B's padding is used: 'left', 'right', 'top', 'bottom', 'border', 'centre', or a mask picture.
        resolutions: at which resolutions B's padding is used.
        options: see `EditingOptions`; `paste_back` puts the result into the photograph of B.

    Raises:
        InputError: no image was found. UsageError: several images for both A and B, or no such layers.
    """
    settings = EditingSettings(**{"out": DEFAULT_OUT, **options})  # type: ignore[arg-type]
    check_out(settings.folder)
    clips = _clips(a, b, settings, style_mixing=style_mixing)
    left, right, problems = _sides(a, None if clips else b, settings)
    reader = settings.reader()
    if any(source.index is None for source in (*left, *right)):  # a picture, which the encoder has to invert
        reader.model.require_padding("blend")
    chosen = _layers(layers, reader.model.spec.num_layers)
    run = new_run(settings, lost_inputs(problems))
    many_first = len(left) > 1
    if clips and many_first:
        raise UsageError(f"{len(left)} pictures for A were given, and a clip takes one")
    many = left if many_first else right
    fixed = reader.read(right[0] if many_first else left[0])
    one = reader.encode([fixed])
    run.note([fixed.note] if fixed.note else [])
    # A mask of a photograph's size belongs to B, whose frame a blend keeps.
    frame = fixed if many_first else reader.read(right[0]) if len(right) == 1 and region is not None else None
    name = None if region is None else str(region)
    limited = read_region(name, comma_separated(resolutions), reader.model.spec, frame)

    def algebra(batch_of_many: Inversion) -> Mapping[str, Inversion]:
        pair = (batch_of_many, one) if many_first else (one, batch_of_many)
        blended = blend(*pair, strength, chosen)
        made = {"": blended if limited is None else limited.limit(pair[0], blended)}
        return {**made, MIXED: mix(*pair)} if style_mixing else made

    if clips:
        made = clip_edit(algebra, _recipe(chosen, strength, fixed, limited, many_first=False), settings)
        beside = PurePosixPath(fixed.source.name).name
        return run.result(run_clips(run, reader, clips, made, settings, "blended", beside=beside))
    task = Task(
        algebra,
        _recipe(chosen, strength, fixed, limited, many_first=many_first),
        ("", MIXED) if style_mixing else ("",),
        save_inversions=settings.save_inversions,
        paste=settings.paste_back,
        paste_into=fixed if many_first else None,
        feather=settings.feather,
    )
    jobs = _jobs(many, fixed, many_first=many_first)
    results = run_jobs(run, reader, jobs, task, settings, what="blending")
    views = _Views(reader, fixed, many_first=many_first, mixed=style_mixing)
    lines = ["A gives the facial features, B the shape, hair and background."]
    return run.result(lay_out(run, reader, results, plural(len(results), "blend"), views, settings, "blend", lines))


def _clips(a: Paths, b: Paths, settings: EditingSettings, *, style_mixing: bool) -> list[Path]:
    """The clips that are B; A must be a picture.

    Raises:
        UsageError
    """
    clips = clips_of(b, settings)
    if any(is_clip(Path(one), settings.fps if clips else None) for one in listed(a)):
        raise UsageError(f"{listed(a)[0]} is a clip, and A must be a picture; a clip can be B")
    if clips:
        one_result(("", MIXED) if style_mixing else ("",), "--style-mixing")
    return clips


def _sides(a: Paths, b: Paths | None, settings: EditingSettings) -> tuple[list[Source], list[Source], list[str]]:
    """The images of A and of B (None: it has none), and sentences about inputs that give none."""
    left, problems = find_sources(listed(a), settings.folder)
    right, more = ([], []) if b is None else find_sources(listed(b), settings.folder)
    problems += more
    if not left or not (right or b is None):
        empty = next(iter(listed(a if b is None or not left else b)), "an empty list")
        raise InputError(f"{' and '.join(problems) or f'no pictures found in {empty}'}; nothing was done")
    if len(left) > 1 and len(right) > 1:
        raise UsageError(
            f"{len(left)} pictures for A and {len(right)} for B were given; one of them must be a single picture"
        )
    return left[: settings.limit], right[: settings.limit], problems


def _layers(layers: str | Sequence[int] | None, count: int) -> list[int] | None:
    text = comma_separated(layers)
    return None if text is None else parse_layers(text, count)


def _recipe(
    layers: list[int] | None, strength: float, fixed: Loaded, region: Region | None, *, many_first: bool
) -> dict[str, object]:
    """What decides the results besides the images that vary."""
    return {
        "verb": "blend",
        "layers": layers,
        "strength": strength,
        "side": "A" if many_first else "B",
        "with": fixed.source.identity(),
        **({} if region is None else {"region": region.fingerprint()}),
    }


def _jobs(many: Sequence[Source], fixed: Loaded, *, many_first: bool) -> list[Job]:
    """Results are called A--B, in the folder of what varies."""
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

    def __init__(self, reader: Reader, fixed: Loaded, *, many_first: bool, mixed: bool) -> None:
        self.reader, self.many_first, self.mixed = reader, many_first, mixed
        self.loaded = fixed

    def _pairs(self, results: Sequence[Edited]) -> list[tuple[np.ndarray, np.ndarray]]:
        fixed = inputs_of(self.reader, [self.loaded])[0]
        inputs = results_inputs(self.reader, results)
        return [(one, fixed) if self.many_first else (fixed, one) for one in inputs]

    def rows(self, results: Sequence[Edited]) -> Rows:
        columns = ["A", "B", "blend", *(["style mixing"] if self.mixed else [])]
        rows = []
        for edited, (a, b) in zip(results, self._pairs(results), strict=True):
            extra = [edited.pictures[MIXED]] if self.mixed else []
            rows.append((edited.job.name, [a, b, edited.pictures[""], *extra]))
        return columns, rows

    def compare(self, results: Sequence[Edited]) -> list[Comparison]:
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
