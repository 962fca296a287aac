"""A generator training from start, or from where it stopped, to its end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from padinv import __version__
from padinv.checkpoints import load_generator, save_generator
from padinv.checkpoints.compact_bundle import is_bundle
from padinv.data import Pictures, to_image
from padinv.models.discriminator import Discriminator
from padinv.picture_sources import PictureSource, open_pictures
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.files import atomic_path
from padinv.training.encoder.run import Outcome, crossed
from padinv.training.generator.config import GanConfig
from padinv.training.generator.trainer import GanTrainer
from padinv.training.metric_log import MetricLog
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
        features: SqueezeNet 1.1 weights for the projected discriminator; None: torch hub's cache.
        log_images, sample_images: images between two log records, and between two sample grids.
        save_minutes: between two checkpoints.
        time_limit: minutes after which the training saves and stops; None: none.
        device: where to train.
    """

    data: Path | str
    out: Path
    init: Path | None = None
    features: Path | None = None
    log_images: int = 800
    sample_images: int = 10_000
    save_minutes: float = 10.0
    time_limit: float | None = None
    device: str = "cpu"


def read_pictures(source: PictureSource, size: int, reporter: Reporter) -> Tensor:
    """All pictures of a source as uint8 [N, 3, size, size]; damaged ones are named and left out.

    Raises:
        InputError: they do not fit in memory, or none is readable.
    """
    pictures = Pictures(source, size)
    if pictures.cache is None:
        raise InputError(
            f"the {len(source):,} pictures of {source.path} do not fit in memory at {size} px; train-generator is for "
            "small models: bring a larger generator with padinv import"
        )
    for text in pictures.bad[:20]:
        reporter.message(f"skipped: {text}")
    return pictures.cache


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

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change between two parts of one run; the length may."""
        init = None if self.options.init is None else str(self.options.init)
        return {**self.config.to_dict(), "pictures": self.source.fingerprint(), "init": init}

    def run(self, reasons: dict[str, str] | None = None) -> Outcome:
        """Train to the end of the configuration, a stop signal, or the time limit; the state is saved in each case.

        Raises:
            DivergenceError: a loss is not finite.
            OutputError, UsageError: the run folder cannot be used.
        """
        folder, options = self.folder, self.options
        with ExitStack() as stack:
            folder.create()
            stack.enter_context(folder.locked())
            exists = folder.check_same(self.identity, frozenset({"images"}))
            state = folder.load_checkpoint() if exists else None
            stop = stack.enter_context(StopRequest())
            self.reporter.message(f"reading {len(self.source):,} pictures from {options.data}")
            pictures = read_pictures(self.source, self.config.spec.resolution, self.reporter)
            trainer = GanTrainer(self.config, pictures, options.features, options.device)
            if state is not None:
                trainer.load_state_dict(state["trainer"])
                self.reporter.message(f"going on from {trainer.images_seen:,} images in {folder.path}")
            elif options.init is not None:
                self._start_from(trainer, options.init)
            folder.trim_metrics(trainer.images_seen)
            details = {"reasons": reasons or {}, "versions": {"padinv": __version__, "torch": torch.__version__}}
            folder.write_config(self.identity, {**details, "inputs": {"data": str(options.data)}})
            if trainer.images_seen >= self.config.images:
                return Outcome("finished", trainer.images_seen)
            log = stack.enter_context(MetricLog(folder, trainer.images_seen))
            return self._loop(trainer, log, stop)

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

    def _loop(self, trainer: GanTrainer, log: MetricLog, stop: StopRequest) -> Outcome:
        config, options = self.config, self.options
        began = saved = time.monotonic()
        ending = "finished"
        self.reporter.start(trainer.images_seen, config.images)
        try:
            while True:
                losses = trainer.step()
                seen = trainer.images_seen
                log.add(losses)
                self.reporter.advance(seen, {**losses, "lr": config.lr_g})
                done = seen >= config.images
                if done or crossed(seen, config.batch, options.log_images):
                    log.write_losses(seen)
                if done or crossed(seen, config.batch, options.sample_images):
                    with log.paused():
                        save_samples(self.folder.samples / f"{seen:09d}.png", trainer)
                now = time.monotonic()
                over = options.time_limit is not None and now - began > options.time_limit * 60
                if done or stop.asked or over:
                    ending = "finished" if done else "interrupted" if stop.asked else "time limit"
                    break
                if now - saved > options.save_minutes * 60:
                    self._save(trainer)
                    saved = time.monotonic()
        finally:
            self.reporter.finish()
        self._save(trainer)
        return Outcome(ending, trainer.images_seen)

    def _save(self, trainer: GanTrainer) -> None:
        self.folder.save_checkpoint({"trainer": trainer.state_dict()})
        judge = trainer.judge if isinstance(trainer.judge, Discriminator) else None
        record = {
            "source": "padinv train-generator",
            "images": trainer.images_seen,
            "config": self.config.to_dict(),
            "pictures": self.source.fingerprint(),
        }
        save_generator(self.folder.generator_file, trainer.finished_generator(), judge, record)


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
