"""The encoders of a table: trained once each, and used again by the next call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from padinv.checkpoints import generator_hash, load_generator
from padinv.checkpoints.generator_encoder import Pair, read_pair, read_run
from padinv.models.encoder import EncoderConfig
from padinv.reproduce.options import TableOptions
from padinv.runtime.bundle import MANIFEST
from padinv.runtime.errors import InputError, MismatchError, UsageError
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
        more: further settings that differ from the table's, as (name, value).
        tag: names these in the run folder.
    """

    padding: str
    reg: float
    seed: int
    more: tuple[tuple[str, Any], ...] = ()
    tag: str = ""

    def config(self, base: TrainConfig) -> TrainConfig:
        """The settings of this encoder's training."""
        config = replace(base, reg=self.reg, seed=self.seed, **dict(self.more))
        if self.padding == "default":
            return config
        row = EncoderConfig.ablation(self.padding)
        return replace(config, padding=row.padding, const=row.const, pad_resolutions=row.pad_resolutions)

    def folder(self, out: Path, images: int) -> Path:
        """Its run folder; the budget is part of the name, so that a table never holds encoders of two budgets."""
        return out / "runs" / f"{self.padding}-reg{self.reg:g}-seed{self.seed}-{images}{self.tag and '-'}{self.tag}"


def ablation_names(spec: ModelSpec) -> tuple[str, ...]:
    """The rows of the paper's Table 2 for a generator: 'none', 'p0', 'p0-1', ... to one level beyond its default."""
    deepest = max(spec.pad_resolutions, default=2)
    padded = [r for r in spec.resolutions if r <= 2 * deepest]
    names = ["none", "p0"]
    for resolution in padded:
        names.append(f"{names[-1]}-{2 * (resolution.bit_length() - 3) + 1}")
    return tuple(names)


def open_encoder(path: Path, generator: Path) -> Pair:
    """A finished encoder with the generator of a table.

    Args:
        path: a run folder, a bundle that holds its weights, or an encoder file of padinv, pSp, e4e or ReStyle.
        generator: the table's generator. That of a run or bundle must have the same weights.

    Raises:
        InputError: it cannot be read. MismatchError: it was trained for another generator.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give a run folder, a bundle or an encoder file")
    if not path.is_dir():
        pair = read_pair(generator, path)
    elif (path / MANIFEST).is_file():
        pair = read_pair(path, path)
    else:
        pair = read_run(path)
    found = generator_hash(pair.generator)
    wanted = found if not path.is_dir() else generator_hash(load_generator(generator))
    if found != wanted:
        raise MismatchError(
            f"{path} inverts the generator {found[:12]}, and {generator} is {wanted[:12]}, so it has no place in this "
            "table; give an encoder of the same generator"
        )
    pair.name = path.stem if path.is_file() else path.resolve().name
    return pair


def train_or_reuse(variant: Variant, options: TableOptions, reporter: Reporter, *, init: Path | None = None) -> Path:
    """The run folder of an encoder, trained to its end: from start, from where it stopped, or already finished.

    Args:
        init: an encoder whose weights the training starts from.

    Training photographs that cannot be read are named by the reporter and do not count against the table.

    Raises:
        UsageError: the table may not train.
        KeyboardInterrupt: a stop signal ended the training; its state is saved.
        PadInvError: see `Training`.
    """
    if not options.train:
        raise UsageError(
            f"this needs the encoder {variant.padding!r} trained, and a budget of 0 images trains nothing; give a "
            "--budget, or choose --rows that need no training"
        )
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
        init=init,
    )
    training = Training(config, run, reporter)
    reporter.message(f"training {folder.name}, {config.images:,} images")
    if training.run().ending != "finished":
        raise KeyboardInterrupt
    return folder


def default_encoder(
    options: TableOptions,
    reporter: Reporter,
    more: Mapping[str, Any] | None = None,
    *,
    tag: str = "",
    padding: str = "default",
) -> Pair:
    """The encoder that the table's settings describe, with its seed and regularisation.

    It is trained from new weights or from `options.init`. With a budget of 0, `options.init` is taken as it is.

    Args:
        more: settings that differ from the table's.
        tag: names these in the run folder.
        padding: see `Variant`.

    Raises:
        PadInvError: see `open_encoder` and `train_or_reuse`.
    """
    given = options.init
    if given is not None and not options.train and not more and padding == "default":
        return open_encoder(given, options.generator)
    start = "" if given is None else f"from-{given.stem}"
    name = "-".join(part for part in (start, tag) if part)
    variant = Variant(padding, options.config.reg, options.seeds[0], tuple((more or {}).items()), name)
    return read_run(train_or_reuse(variant, options, reporter, init=given))
