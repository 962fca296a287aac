"""A generator training from start, or from where it stopped, to its end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from padinv import __version__
from padinv.checkpoints import load_generator, save_generator
from padinv.checkpoints.compact_bundle import is_bundle
from padinv.checkpoints.native import read_header
from padinv.models.discriminator import Discriminator
from padinv.picture_sources import PictureSource, open_pictures
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.files import atomic_path
from padinv.training.generator.config import GanConfig
from padinv.training.generator.trainer import GanTrainer
from padinv.training.loop import Cadence, Outcome, run_loop
from padinv.training.metric_log import MetricLog
from padinv.training.pictures import Pictures, to_image
from padinv.training.reporter import Reporter, Silent
from padinv.training.run_folder import RunFolder
from padinv.training.signals import StopRequest

GRID_COLUMNS, GRID_ROWS = 10, 6


@dataclass(frozen=True)
class GeneratorRunOptions:
    """Where a generator training reads and writes. Nothing here changes what is computed.

    Attributes:
        data: photographs, a folder or ZIP archive.
        out: the run folder; the result is its `generator.safetensors`.
        init: a run folder whose networks and optimisers a new run starts from, with its count of images.
        features: weights of the projected discriminator's backbone; None: torch hub's cache, or the installed package.
        lpips: SqueezeNet 1.1 weights for the reconstruction term, where `features` are EfficientNet-Lite0's.
        log_images, sample_images: images between two log records, and between two sample grids.
        save_minutes: between two checkpoints.
        time_limit: minutes after which the training saves and stops; None: none.
        device: where to train.
    """

    data: Path | str
    out: Path
    init: Path | None = None
    features: Path | None = None
    lpips: Path | None = None
    log_images: int = 800
    sample_images: int = 10_000
    save_minutes: float = 10.0
    time_limit: float | None = None
    device: str = "cpu"

    @property
    def cadence(self) -> Cadence:
        """When to log, draw samples, save and stop."""
        return Cadence(self.log_images, self.sample_images, self.save_minutes, self.time_limit)


def read_pictures(source: PictureSource, size: int) -> tuple[Tensor, list[str]]:
    """All readable pictures of a source as uint8 [N, 3, size, size], and a sentence on each that was left out.

    Raises:
        InputError: they do not fit in memory, or none is readable.
    """
    pictures = Pictures(source, size)
    if pictures.cache is None:
        raise InputError(
            f"the {len(source):,} pictures of {source.path} do not fit in memory at {size} px; train-generator is for "
            "small models: bring a larger generator with padinv import"
        )
    return pictures.cache, [*getattr(source, "notes", ()), *pictures.bad]


class GeneratorTraining:
    """One run of `padinv train-generator`, built and checked before the first step.

    Raises:
        PadInvError: anything that would stop the run; nothing has been written then.
    """

    def __init__(self, config: GanConfig, options: GeneratorRunOptions, reporter: Reporter | None = None) -> None:
        self.config, self.options = config, options
        self.reporter: Reporter = reporter or Silent()
        self.source = open_pictures(options.data)
        self.folder = RunFolder(options.out)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must not change between two parts of one run; the length may."""
        return {
            **self.config.to_dict(),
            "pictures": self.source.fingerprint(),
            "contents": self.source.contents(),
            "init": None if self.options.init is None else str(self.options.init),
        }

    def _assumed(self) -> dict[str, Any]:
        """What runs had that are older than a name of the identity."""
        defaults = {f.name: f.default for f in fields(GanConfig) if f.default is not MISSING}
        return {**defaults, "contents": self.identity["contents"]}

    def run(self, reasons: dict[str, str] | None = None) -> Outcome:
        """Train to the end of the configuration, a stop signal, or the time limit; the state is saved in each case.

        Raises:
            DivergenceError: a loss is not finite.
            InputError: no picture can be read; a run that has not saved anything yet may then begin again.
            OutputError, UsageError: the run folder cannot be used.
        """
        folder, options = self.folder, self.options
        with ExitStack() as stack:
            folder.create()
            stack.enter_context(folder.locked())
            state = folder.resume(self.identity, frozenset({"images"}), self._assumed())
            stop = stack.enter_context(StopRequest())
            self.reporter.message(f"reading {len(self.source):,} pictures from {options.data}")
            pictures, skipped = read_pictures(self.source, self.config.spec.resolution)
            self._name_skipped(skipped)
            self.trainer = GanTrainer(self.config, pictures, options.features, options.device, lpips=options.lpips)
            if state is not None:
                self._resume(state)
            elif options.init is not None:
                self._start_from(self.trainer, options.init)
            if self.images_seen >= self.config.images:
                return Outcome("finished", self.images_seen, len(skipped))
            folder.trim_metrics(self.images_seen)
            details = {"reasons": reasons or {}, "versions": {"padinv": __version__, "torch": torch.__version__}}
            folder.write_config(self.identity, {**details, "inputs": {"data": str(options.data)}})
            self.log = stack.enter_context(MetricLog(folder, self.images_seen, (state or {}).get("log")))
            ending = run_loop(
                self,
                self.config.images,
                cadence=options.cadence,
                reporter=self.reporter,
                stop=stop,
                log=self.log,
            )
            return Outcome(ending, self.images_seen, len(skipped))

    def _name_skipped(self, skipped: list[str], most: int = 20) -> None:
        for text in skipped[:most]:
            self.reporter.message(f"skipped: {text}")
        if len(skipped) > most:
            self.reporter.message(f"skipped: {len(skipped) - most} more pictures")

    def _resume(self, state: dict[str, Any]) -> None:
        """Load what an earlier part of the run saved, and write again what a kill kept it from writing."""
        self.trainer.load_state_dict(state["trainer"])
        self.reporter.message(f"resuming from {self.images_seen:,} images in {self.folder.path}")
        try:
            header = read_header(self.folder.generator_file)
        except InputError:
            header = None
        if header is None or header.get("record", {}).get("images") != self.images_seen:
            self._write_generator()

    def _start_from(self, trainer: GanTrainer, path: Path) -> None:
        if is_bundle(path) or path.is_file():
            self._start_from_generator(trainer, path)
            return
        state = RunFolder(path).load_checkpoint()
        if state is None:
            raise InputError(
                f"{path} holds no checkpoint.pt to start from (--init); give the run folder of a training, "
                "or the file or bundle of a finished generator"
            )
        try:
            trainer.load_state_dict(state["trainer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise MismatchError(
                f"{path} was trained with other networks, so --init cannot start from it; "
                "give the same --resolution, --channels, --w-dim, --z-dim, --mapping-layers and --discriminator"
            ) from error
        self.reporter.message(f"starting from {path} after {trainer.images_seen:,} images")

    def _start_from_generator(self, trainer: GanTrainer, path: Path) -> None:
        generator = load_generator(path)
        if generator.spec != self.config.spec:
            raise MismatchError(
                f"{path} holds a generator of another geometry, so --init cannot start from it; "
                "give the same --resolution, --channels, --w-dim, --z-dim, --mapping-layers and --template"
            )
        trainer.start_from(generator)
        self.reporter.message(f"starting from the generator of {path}, with a new discriminator")

    # -- what the loop calls ----------------------------------------------------------------------------------------

    @property
    def images_seen(self) -> int:
        """Training images so far."""
        return self.trainer.images_seen

    @property
    def images_per_step(self) -> int:
        """Images of one step."""
        return self.config.batch

    def step(self) -> dict[str, float]:
        """One step of both players."""
        return {**self.trainer.step(), "lr": self.config.lr_g}

    def evaluate(self) -> dict[str, float]:
        """Draw the sample grid; there are no figures."""
        save_samples(self.folder.samples / f"{self.images_seen:09d}.png", self.trainer)
        return {}

    def save(self, *, last: bool) -> None:
        """Write the generator and the checkpoint: a checkpoint never has an older generator beside it."""
        self._write_generator()
        self.folder.save_checkpoint({"trainer": self.trainer.state_dict(), "log": self.log.state_dict()})

    def _write_generator(self) -> None:
        trainer = self.trainer
        discriminator = trainer.judge if isinstance(trainer.judge, Discriminator) else None
        record = {
            "source": "padinv train-generator",
            "images": trainer.images_seen,
            "config": self.config.to_dict(),
            "pictures": self.source.fingerprint(),
        }
        save_generator(self.folder.generator_file, trainer.finished_generator(), discriminator, record)


def save_samples(path: Path, trainer: GanTrainer) -> None:
    """Write a grid of samples of the averaged generator, always at the same seeds; small pictures are enlarged."""
    from PIL import Image

    images = trainer.samples(GRID_COLUMNS * GRID_ROWS)
    size = images.shape[-1]
    sheet = Image.new("RGB", (GRID_COLUMNS * size, GRID_ROWS * size))
    for k, image in enumerate(images):
        sheet.paste(to_image(image), (k % GRID_COLUMNS * size, k // GRID_COLUMNS * size))
    factor = -(-128 // size)
    if factor > 1:
        sheet = sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.BICUBIC)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
