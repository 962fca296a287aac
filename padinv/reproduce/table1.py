"""Table 1: how faithfully, and how fast, different ways to invert reconstruct photographs."""

from __future__ import annotations

from padinv.evaluation.models import RunSubject
from padinv.evaluation.protocol import protocol_named
from padinv.reproduce.encoders import Variant, train_or_reuse
from padinv.reproduce.measuring import Measuring
from padinv.reproduce.options import TableOptions
from padinv.reproduce.outputs import score_outputs
from padinv.reproduce.subjects import ProjectionSubject, RefinementSubject
from padinv.reproduce.table import Row, Table
from padinv.training.reporter import Reporter, Silent

OURS, LATENTS_ONLY = "ours", "W+ only"


def table1(options: TableOptions, reporter: Reporter | None = None) -> Table:
    """Make Table 1; trainings and measurements that are there already are used again.

    The rows: an encoder with padding, one without (pSp's setting), StyleGAN2's projector, the first refined, and
    the outputs of other projects.

    Raises:
        KeyboardInterrupt: a stop signal; everything finished so far is kept.
        PadInvError: see `Training`, `measure` and `score_outputs`.
    """
    reporter = reporter or Silent()
    measuring = Measuring(options, reporter)
    others, sentences = _outputs(options, measuring)  # first: a wrong folder is found before hours of training
    seed, reg = options.seeds[0], options.config.reg
    rows, skipped = [], set(sentences)
    runs = {}
    for label, padding in ((OURS, "default"), (LATENTS_ONLY, "none")):
        runs[label] = train_or_reuse(Variant(padding, reg, seed), options, reporter)
        measured = measuring(RunSubject(runs[label], measuring.device, None, protocol_named("paper")))
        rows.append(Row.of(label, measured, run=str(runs[label])))
        skipped.update(measured.skipped)
    perceptual, loss = measuring.perceptual()
    projection = ProjectionSubject(
        options.generator, steps=options.steps, perceptual=perceptual, loss=loss, device=measuring.device, seed=seed
    )
    rows.append(Row.of(f"latent optimisation, {options.steps:,} steps", measuring(projection, warm_up=False)))
    refinement = RefinementSubject(
        runs[OURS], steps=options.refine_steps, perceptual=perceptual, loss=loss, device=measuring.device
    )
    rows.append(Row.of(f"{OURS}, refined in {options.refine_steps:,} steps", measuring(refinement, warm_up=False)))
    notes = [
        f"Encoders: {options.config.images:,} training images each, seed {seed}.",
        "Both optimisations minimise what the trainings do, on the measured photographs themselves: "
        + (
            "squared errors." if perceptual is None else f"LPIPS {options.config.lpips}, and the refinement pixels too."
        ),
        "Intervals: 95 % bootstrap over photographs.",
    ]
    title = "Table 1: ways to invert"
    return Table(
        "table1",
        title,
        [*rows, *others],
        LATENTS_ONLY,
        measuring.metrics.found,
        {**measuring.conditions(), "seed": seed, "steps": options.steps, "refine_steps": options.refine_steps},
        measuring.metrics.missing,
        sorted(skipped),
        notes,
    )


def _outputs(options: TableOptions, measuring: Measuring) -> tuple[list[Row], list[str]]:
    rows, sentences = [], []
    for label, folder in options.outputs.items():
        row, skipped = score_outputs(
            label,
            folder,
            measuring.source,
            measuring.metrics,
            size=measuring.spec.image_size,
            count=measuring.count,
            batch=options.batch,
        )
        rows.append(row)
        sentences += skipped
    return rows, sentences
