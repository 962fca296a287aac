"""Table 2: what each further level of padding brings, with and without the latent regularisation."""

from __future__ import annotations

from padinv.evaluation.models import RunSubject
from padinv.evaluation.protocol import protocol_named
from padinv.evaluation.results import Measured
from padinv.models.encoder import EncoderConfig
from padinv.reproduce.encoders import Variant, ablation_names, train_or_reuse
from padinv.reproduce.measuring import Measuring
from padinv.reproduce.options import TableOptions
from padinv.reproduce.table import Row, Table
from padinv.runtime.errors import InputError
from padinv.training.encoder.trainer import DivergenceError
from padinv.training.reporter import Reporter, Silent


def table2(options: TableOptions, reporter: Reporter | None = None) -> Table:
    """Make Table 2; trainings and measurements that are there already are used again.

    The rows: no padding, the constant input (p0), and one padded resolution more each, to one level beyond the
    generator's default; each with the latent regularisation of the settings and without, and with every seed.

    Raises:
        KeyboardInterrupt: a stop signal; everything finished so far is kept.
        PadInvError: see `Training` and `measure`; InputError also where every training diverged.
    """
    reporter = reporter or Silent()
    measuring = Measuring(options, reporter)
    names = options.rows or ablation_names(measuring.spec)
    for name in names:  # a wrong name is found before hours of training
        EncoderConfig.ablation(name).rings_for(measuring.spec)
    regs = tuple(dict.fromkeys((options.config.reg, 0.0)))
    rows, skipped = [], set()
    for reg in regs:
        for name in names:
            measured: dict[int, Measured] = {}
            for seed in options.seeds:
                try:
                    run = train_or_reuse(Variant(name, reg, seed), options, reporter)
                except DivergenceError as error:
                    skipped.add(f"{name}, reg {reg:g}, seed {seed}: {error}")
                    continue
                measured[seed] = measuring(RunSubject(run, measuring.device, None, protocol_named("paper")))
                skipped.update(measured[seed].skipped)
            if measured:
                rows.append(Row.of_seeds(label_of(name, reg), measured, padding=name, reg=reg))
    if not rows:
        raise InputError(f"no training of the table reached its end: {'; '.join(sorted(skipped)[:3])}")
    return Table(
        "table2",
        "Table 2: levels of padding",
        rows,
        label_of(names[0], regs[0]),
        measuring.metrics.found,
        {**measuring.conditions(), "seeds": list(options.seeds), "rows": list(names), "regs": list(regs)},
        measuring.metrics.missing,
        sorted(skipped),
        _notes(rows, regs, options),
        plotted=[metric.name for metric in measuring.metrics.found if metric.name == "mse" or "lpips" in metric.name],
    )


def label_of(name: str, reg: float) -> str:
    """A row's label."""
    return f"{name}, reg {reg:g}"


def _notes(rows: list[Row], regs: tuple[float, ...], options: TableOptions) -> list[str]:
    seeds = ", ".join(map(str, options.seeds))
    notes = [
        f"{options.config.images:,} training images for each encoder; seeds {seeds}.",
        "Intervals: 95 % bootstrap over photographs, of the mean over seeds; they do not hold the seeds' own spread.",
    ]
    for reg in regs:
        errors = {row.details["padding"]: float(row.columns["mse"].mean()) for row in rows if row.details["reg"] == reg}
        if errors:
            best = min(errors, key=errors.__getitem__)
            notes.append(f"Lowest MSE with reg {reg:g}: {best} ({errors[best]:.4g}).")
    return notes
