"""Table 1: how faithfully, and how fast, different ways to invert reconstruct photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

from padinv.checkpoints import load_generator
from padinv.checkpoints.generator_encoder import Pair
from padinv.evaluation.models import NetworkSubject
from padinv.evaluation.protocol import protocol_named
from padinv.reproduce.encoders import default_encoder, open_encoder
from padinv.reproduce.measuring import Measuring
from padinv.reproduce.options import TableOptions
from padinv.reproduce.outputs import score_outputs
from padinv.reproduce.subjects import Effort, Loss, ProjectionSubject, RefinementSubject, TuningSubject
from padinv.reproduce.table import Row, Table
from padinv.runtime.errors import UsageError
from padinv.training.reporter import Reporter, Silent

OURS, LATENTS_ONLY = "ours", "W+ only"
ROWS = ("ours", "wplus", "ours-passes", "wplus-passes", "projector", "refined", "pti", "pti-ours")
_PTI_PROJECTOR_STEPS = 450  # of the pivot, as in Roich et al. 2021


def table1(options: TableOptions, reporter: Reporter | None = None) -> Table:
    """Make Table 1; trainings and measurements that are there already are used again.

    The rows: an encoder with padding, one without (pSp's setting), both in several passes (after ReStyle), StyleGAN2's
    projector, the first refined, pivotal tuning of a projector's code and of the first encoder's, finished encoders,
    and the outputs of other projects.

    Raises:
        UsageError: a row that does not exist.
        KeyboardInterrupt: a stop signal; everything finished so far is kept.
        PadInvError: see `open_encoder`, `Training`, `measure` and `score_outputs`.
    """
    chosen = options.rows or ROWS
    if unknown := [name for name in chosen if name not in ROWS]:
        raise UsageError(f"the rows of table1 are {', '.join(ROWS)}, not {unknown[0]!r}")
    return _Rows(options, reporter or Silent()).table(chosen)


class _Rows:
    """The rows of one table, each made when it is asked for."""

    def __init__(self, options: TableOptions, reporter: Reporter) -> None:
        self._options, self._reporter = options, reporter
        self._measuring = Measuring(options, reporter, kid=True)
        self._seed = options.seeds[0]
        self._rows: list[Row] = []
        self._skipped: set[str] = set()

    def table(self, chosen: tuple[str, ...]) -> Table:
        """All rows, measured in the order of the table."""
        options = self._options
        # First what was finished elsewhere: a wrong file or folder is found before hours of training.
        given = {label: open_encoder(path, options.generator) for label, path in options.encoders.items()}
        others = self._outputs()
        make: dict[str, Callable[[], None]] = {
            "ours": partial(self._trained, OURS, padding=True),
            "wplus": partial(self._trained, LATENTS_ONLY, padding=False),
            "ours-passes": partial(self._trained, OURS, padding=True, passes=options.passes),
            "wplus-passes": partial(self._trained, LATENTS_ONLY, padding=False, passes=options.passes),
            "projector": self._projector,
            "refined": self._refined,
            "pti": self._pivotal_tuning,
            "pti-ours": self._pivotal_tuning_of_ours,
        }
        for label, pair in given.items():
            self._encoder(label, pair)
        for name in chosen:
            make[name]()
        if options.equal_time:
            self._equal_time()
        return Table(
            "table1",
            "Table 1: ways to invert",
            [*self._rows, *others],
            LATENTS_ONLY,
            self._measuring.metrics.found,
            {
                **self._measuring.conditions(),
                "seed": self._seed,
                "steps": options.steps,
                "refine_steps": options.refine_steps,
                "tune_steps": options.tune_steps,
                "passes": options.passes,
                "rows": list(chosen),
            },
            self._measuring.metrics.missing,
            sorted(self._skipped),
            self._notes(),
        )

    def _run(self, *, padding: bool, passes: int) -> Pair:
        more = {} if passes == 1 else {"passes": passes}
        tag = "" if passes == 1 else f"{passes}passes"
        which = "default" if padding else "none"
        return default_encoder(self._options, self._reporter, more, tag=tag, padding=which)

    @cached_property
    def _ours(self) -> Pair:
        return self._run(padding=True, passes=1)

    @cached_property
    def _loss(self) -> Loss:
        return self._measuring.loss()

    def _add(self, row: Row, skipped: list[str]) -> None:
        self._rows.append(row)
        self._skipped.update(skipped)

    def _encoder(self, label: str, pair: Pair) -> None:
        subject = NetworkSubject(pair, str(pair.name), self._measuring.device, protocol_named("paper"))
        self._add(*self._measuring.row(label, subject, encoder=pair.name))

    def _trained(self, label: str, *, padding: bool, passes: int = 1) -> None:
        label = label if passes == 1 else f"{label}, {passes} passes"
        self._encoder(label, self._ours if padding and passes == 1 else self._run(padding=padding, passes=passes))

    def _projection(self, effort: Effort) -> ProjectionSubject:
        return ProjectionSubject(load_generator(self._options.generator), self._loss, effort, seed=self._seed)

    def _projector(self, seconds: float | None = None) -> None:
        effort = Effort(self._options.steps, seconds)
        label = f"latent optimisation, {self._options.steps:,} steps" if seconds is None else "latent optimisation"
        self._optimised(label, self._projection(effort), seconds)

    def _refined(self) -> None:
        steps = self._options.refine_steps
        self._optimised(f"{OURS}, refined in {steps:,} steps", RefinementSubject(self._ours, self._loss, steps=steps))

    def _pivotal_tuning(self, seconds: float | None = None) -> None:
        half = None if seconds is None else seconds / 2
        pivot = self._projection(Effort(min(_PTI_PROJECTOR_STEPS, self._options.steps), half))
        steps = "" if seconds is not None else f", {self._options.tune_steps:,} steps"
        self._tuned(f"pivotal tuning{steps}", pivot, seconds)

    def _pivotal_tuning_of_ours(self) -> None:
        self._tuned(f"{OURS}, pivotal tuning, {self._options.tune_steps:,} steps", None, None)

    def _tuned(self, label: str, pivot: ProjectionSubject | None, seconds: float | None) -> None:
        effort = Effort(self._options.tune_steps, seconds)
        found = self._ours if pivot is None else pivot
        subject = TuningSubject(found, self._loss, effort, seed=self._seed)
        self._optimised(label, subject, seconds)

    def _optimised(
        self, label: str, subject: ProjectionSubject | RefinementSubject | TuningSubject, seconds: float | None = None
    ) -> None:
        label = label if seconds is None else f"{label}, {seconds:.3g} s"
        self._add(*self._measuring.row(label, subject, optimised=True))

    def _equal_time(self) -> None:
        """Latent optimisation and pivotal tuning in the time that the refinement took."""
        label = f"{OURS}, refined in {self._options.refine_steps:,} steps"
        row = next((row for row in self._rows if row.label == label), None)
        if row is None or row.seconds is None:
            raise UsageError("equal time is that of the row 'refined', which is not in the table; add it to --rows")
        self._projector(row.seconds)
        self._pivotal_tuning(row.seconds)

    def _outputs(self) -> list[Row]:
        rows = []
        for label, folder in self._options.outputs.items():
            row, skipped = score_outputs(
                label,
                folder,
                self._measuring.source,
                self._measuring.metrics,
                size=self._measuring.spec.image_size,
                count=self._measuring.count,
                batch=self._options.batch,
            )
            rows.append(row)
            self._skipped.update(skipped)
        return rows

    def _notes(self) -> list[str]:
        options = self._options
        terms = "squared errors" if options.config.per == 0 else f"LPIPS {options.config.lpips}"
        notes = [
            f"Encoders: {options.config.images:,} training images each, seed {self._seed}."
            if options.train
            else "No encoder was trained for this table.",
            f"The optimisations minimise what the trainings do, on the measured photographs themselves: {terms}; the "
            "refinement and pivotal tuning pixels, too.",
            "Intervals: 95 % bootstrap over photographs. The ratio compares on the same photographs.",
        ]
        if any(row.kid for row in self._rows):
            notes.append(
                "KID: reconstructions against their photographs, in EfficientNet-Lite0 features; not comparable with "
                "Inception's. Mean and middle 95 % of 100 random halves."
            )
        if options.init is not None:
            name = options.init.name
            notes.append(f"All trainings start from {name}." if options.train else f"'{OURS}' is {name} as it is.")
        if options.equal_time:
            notes.append("Rows with seconds in their name stop when they have taken as long as the refinement did.")
        return notes
