"""The encoders of a table: trained once each, and used again by the next call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from padinv.models.encoder import EncoderConfig
from padinv.reproduce.options import TableOptions
from padinv.runtime.spec import ModelSpec
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import RunOptions, Training
from padinv.training.reporter import Reporter


@dataclass(frozen=True)
class Variant:
    """An encoder of a table.

    Attributes:
        padding: name of an ablation, see `EncoderConfig.ablation`; 'default': as the settings have it.
        reg: weight of the latent regularisation.
        seed: of the training.
    """

    padding: str
    reg: float
    seed: int

    def config(self, base: TrainConfig) -> TrainConfig:
        """The settings of this encoder's training."""
        config = replace(base, reg=self.reg, seed=self.seed)
        if self.padding == "default":
            return config
        row = EncoderConfig.ablation(self.padding)
        return replace(config, padding=row.padding, const=row.const, pad_resolutions=row.pad_resolutions)

    def folder(self, out: Path, images: int) -> Path:
        """Its run folder; the budget is part of the name, so that a table never holds encoders of two budgets."""
        return out / "runs" / f"{self.padding}-reg{self.reg:g}-seed{self.seed}-{images}"


def ablation_names(spec: ModelSpec) -> tuple[str, ...]:
    """The rows of the paper's Table 2 for a generator: 'none', 'p0', 'p0-1', ... to one level beyond its default."""
    deepest = max(spec.pad_resolutions, default=2)
    padded = [r for r in spec.resolutions if r <= 2 * deepest]
    names = ["none", "p0"]
    for resolution in padded:
        names.append(f"{names[-1]}-{2 * (resolution.bit_length() - 3) + 1}")
    return tuple(names)


def train_or_reuse(variant: Variant, options: TableOptions, reporter: Reporter) -> Path:
    """The run folder of an encoder, trained to its end: from start, from where it stopped, or already finished.

    Training photographs that cannot be read are named by the reporter and do not count against the table.

    Raises:
        KeyboardInterrupt: a stop signal ended the training; its state is saved.
        PadInvError: see `Training`.
    """
    config = variant.config(options.config)
    folder = variant.folder(options.out, config.images)
    run = RunOptions(
        generator=options.generator,
        data=options.data,
        out=folder,
        val=options.val,
        lpips_weights=options.lpips_weights,
        face_weights=options.face_weights,
        eval_images=max(1, config.images // 4),
        device=options.device,
    )
    training = Training(config, run, reporter)
    reporter.message(f"training {folder.name}, {config.images:,} images")
    if training.run().ending != "finished":
        raise KeyboardInterrupt
    return folder
