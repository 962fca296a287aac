"""An encoder training from start, or from where it stopped, to its end."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate import __version__ as accelerate_version
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor

from padinv import __version__
from padinv.checkpoints import generator_hash, load_discriminator, load_encoder, load_generator
from padinv.checkpoints.native import save_encoder, save_generator
from padinv.data import CACHE_BYTES, Pictures, StepBatches, batches
from padinv.losses.identity import IdentityLoss
from padinv.losses.lpips import LPIPS
from padinv.losses.objective import Objective
from padinv.models.discriminator import Discriminator
from padinv.models.face_recognition import load_face_network
from padinv.models.generator import Generator
from padinv.picture_sources import open_pictures
from padinv.runtime.errors import MismatchError, UsageError
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.trainer import DivergenceError, EncoderTrainer
from padinv.training.generator.discriminator_init import discriminator_for
from padinv.training.memory_estimate import MemoryEstimate, estimate_memory
from padinv.training.metric_log import MetricLog
from padinv.training.reporter import Reporter, Silent
from padinv.training.run_folder import RunFolder
from padinv.training.signals import StopRequest
from padinv.training.validation import evaluate, reconstruct, save_grid

GRID_IMAGES = 16


@dataclass(frozen=True)
class RunOptions:
    """Where a training reads and writes, and how often it looks up. Nothing here changes what is computed.

    Attributes:
        generator: checkpoint of the generator (and discriminator).
        data, val: training and validation pictures, each a folder or ZIP archive.
        out: the run folder.
        lpips_weights, face_weights: weight files of the losses' networks.
        init: an encoder file or run folder whose encoder this one starts from.
        log_images, eval_images: training images between two log records, and between two evaluations with their grid.
        val_count: validation pictures an evaluation looks at.
        save_minutes: between two checkpoints.
        time_limit: minutes after which the training saves and stops; None: none. The schedule does not depend on it.
        workers: processes that decode pictures which do not fit in memory.
        preset: its name, for the record.
    """

    generator: Path
    data: Path | str
    out: Path
    val: Path | str | None = None
    lpips_weights: Path | None = None
    face_weights: Path | None = None
    init: Path | None = None
    log_images: int = 800
    eval_images: int = 20_000
    val_count: int = 256
    save_minutes: float = 10.0
    time_limit: float | None = None
    workers: int = 4
    preset: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a training ended: 'finished', 'interrupted' or 'time limit', after how many images over all runs."""

    ending: str
    images: int


def make_accelerator(config: TrainConfig) -> Accelerator:
    """HF accelerate for this process.

    Raises:
        UsageError: the precision does not exist on this device.
    """
    AcceleratorState._reset_state()  # a second training in one process may use another precision
    precision = config.mixed_precision
    try:
        accelerator = Accelerator(cpu=on_cpu(), mixed_precision=precision)
    except ValueError as error:
        raise UsageError(f"mixed precision {precision!r} is not possible here: {error}") from error
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise UsageError("mixed precision 'fp16' is not possible here: it needs a GPU; processors have 'bf16'")
    return accelerator


def process_count() -> int:
    """How many processes a launcher started; 1 without one."""
    return PartialState(cpu=on_cpu()).num_processes


def on_cpu() -> bool:
    """Whether to train on the CPU: there is no accelerator, or `accelerate launch --cpu` asked for it.

    Without being told, accelerate takes several processes on a machine without GPU for strangers to each other.
    """
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true") or not torch.accelerator.is_available()


def build_objective(config: TrainConfig, options: RunOptions, template: str | None) -> Objective:
    """The losses with their networks.

    Raises:
        InputError: a weight file is missing or foreign.
        UsageError: a term lacks what it needs.
    """
    lpips = LPIPS(config.lpips, options.lpips_weights) if config.per > 0 else None
    identity = None
    if config.id > 0:
        if options.face_weights is None:
            raise UsageError(
                "the identity term needs a face-recognition network: give model_ir_se50.pth (of pSp's or "
                "InsightFace_Pytorch's pages) with --face-weights, or leave the term out with --id 0"
            )
        identity = IdentityLoss(load_face_network(options.face_weights), template)
    return Objective(config.weights, lpips, identity)


class Training:
    """Everything of one run, built and checked before the first step.

    Raises:
        PadInvError: anything that would stop the run; nothing has been written then.
    """

    def __init__(self, config: TrainConfig, options: RunOptions, reporter: Reporter | None = None) -> None:
        self.config, self.options = config, options
        self.accelerator = make_accelerator(config)
        self.main = self.accelerator.is_main_process
        self.reporter: Reporter = (reporter if self.main else None) or Silent()
        self.generator: Generator = load_generator(options.generator)
        self.hash = generator_hash(self.generator)
        spec = self.generator.spec
        objective = build_objective(config, options, spec.template)
        self.discriminator: Discriminator | None = None
        if config.adv > 0:
            own = load_discriminator(options.generator)
            if own is None:
                self.reporter.message(f"{options.generator} holds no discriminator; a fresh one is trained along")
            torch.manual_seed(config.seed)
            self.discriminator = discriminator_for(spec, own)
        self.source = open_pictures(options.data)
        self.val_source = open_pictures(options.val) if options.val else None
        self.trainer = EncoderTrainer(config, self.generator, objective, self.accelerator, self.discriminator)
        self.folder = RunFolder(options.out)

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change between two parts of one run."""
        return {
            **self.config.to_dict(),
            "generator": self.hash,
            "pictures": self.source.fingerprint(),
            "processes": self.accelerator.num_processes,
            "init": None if self.options.init is None else str(self.options.init),
        }

    @property
    def free(self) -> frozenset[str]:
        """Names of the identity that may change: at a constant rate a run may be made longer."""
        return frozenset({"images"} if self.config.schedule == "constant" else set())

    # -- parts of a run ---------------------------------------------------------------------------------------------

    def _load_pictures(self) -> Pictures:
        self.reporter.message(f"reading {len(self.source):,} pictures from {self.options.data}")
        pictures = Pictures(self.source, self.generator.spec.image_size)
        for text in pictures.bad[:20]:
            self.reporter.message(f"skipped: {text}")
        if len(pictures.bad) > 20:
            self.reporter.message(f"skipped: {len(pictures.bad) - 20} more pictures")
        return pictures

    def _val_images(self, pictures: Pictures) -> Tensor:
        """uint8 pictures to look at: the first of the validation set, or of the training set where there is none."""
        if self.val_source is None:
            return torch.stack([pictures[k] for k in range(min(GRID_IMAGES, len(pictures)))])
        size = self.generator.spec.image_size
        count = min(self.options.val_count, len(self.val_source))
        images = [torch.from_numpy(self.val_source.read(k, size)).permute(2, 0, 1) for k in range(count)]
        return torch.stack(images)

    def _begin(self, reasons: dict[str, str]) -> None:
        """Create the run folder, or pick up what is in it."""
        folder, trainer = self.folder, self.trainer
        exists = folder.check_same(self.identity, self.free)
        state = folder.load_checkpoint() if exists else None
        if state is not None:
            trainer.load_state_dict(state["trainer"])
            self.reporter.message(f"going on from {trainer.images_seen:,} images in {folder.path}")
        elif self.options.init is not None:
            self._start_from(self.options.init)
        if not self.main:
            return
        if state is None:
            save_generator(folder.generator_file, self.generator, self.discriminator, {"source": self.hash})
        folder.trim_metrics(trainer.images_seen)
        folder.write_config(self.identity, {"preset": self.options.preset, "reasons": reasons, **self._circumstances()})

    def _start_from(self, path: Path) -> None:
        file = path / "encoder.safetensors" if path.is_dir() else path
        other = load_encoder(file)
        if other.spec != self.generator.spec or other.config != self.config.encoder:
            raise MismatchError(f"{file} is an encoder of another kind, so --init cannot start from it")
        self.trainer.raw_encoder.load_state_dict(other.state_dict())
        if self.trainer.average is not None:
            self.trainer.average.module.load_state_dict(other.state_dict())
        self.reporter.message(f"starting from the weights of {file}")

    def _circumstances(self) -> dict[str, Any]:
        options = self.options
        return {
            "spec": self.generator.spec.to_dict(),
            "inputs": {
                "generator": str(options.generator),
                "data": str(options.data),
                "pictures": len(self.source),
                "val": None if options.val is None else str(options.val),
            },
            "versions": {
                "padinv": __version__,
                "torch": torch.__version__,
                "accelerate": accelerate_version,
                "python": platform.python_version(),
            },
            "device": str(self.accelerator.device),
        }

    def _record(self, figures: dict[str, float]) -> dict[str, Any]:
        return {
            "images": self.trainer.images_seen,
            "preset": self.options.preset,
            "config": self.config.to_dict(),
            "figures": figures,
        }

    def _save(self, figures: dict[str, float]) -> None:
        if self.main:
            self.folder.save_checkpoint({"trainer": self.trainer.state_dict()})
            encoder = self.trainer.evaluated_encoder
            save_encoder(self.folder.encoder_file, encoder, self.hash, self._record(figures))
        self.accelerator.wait_for_everyone()

    def _steps(self, pictures: Pictures) -> Iterator[Tensor]:
        order = StepBatches(
            len(pictures),
            self.config.batch,
            self.config.seed,
            self.trainer.step_count,
            self.config.flips,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        named: set[str] = set()
        for images, bad in batches(pictures, order, self.options.workers):
            for text in (text for text in bad if text not in named):  # each worker process finds it for itself
                named.add(text)
                self.reporter.message(f"skipped: {text}")
            yield images

    def _seed_step(self) -> None:
        """The random state is a function of seed, step and process, so that a resumed run equals an unbroken one."""
        a = (self.config.seed * 0x9E3779B97F4A7C15 + self.trainer.step_count) * 0xBF58476D1CE4E5B9
        torch.manual_seed((a + self.accelerator.process_index) % (1 << 63))

    def _any(self, *asked: bool) -> tuple[bool, ...]:
        """For each question whether any process says yes; all processes get the same answers."""
        if self.accelerator.num_processes == 1:
            return asked
        flags = torch.tensor([float(a) for a in asked], device=self.accelerator.device)
        return tuple(value > 0 for value in self.accelerator.reduce(flags, "sum").tolist())

    def memory(self) -> MemoryEstimate:
        """What one process will take; computed on shapes alone."""
        size = self.generator.spec.image_size
        pictures = len(self.source) * 3 * size * size
        return estimate_memory(self.trainer, pictures if pictures <= CACHE_BYTES else 0)

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self, reasons: dict[str, str] | None = None) -> Outcome:
        """Train to the end of the configuration, a stop signal, or the time limit; the state is saved in each case.

        Raises:
            DivergenceError: a loss is not finite.
            OutputError, UsageError: the run folder cannot be used.
        """
        with ExitStack() as stack:
            if self.main:
                self.folder.create()
                stack.enter_context(self.folder.locked())
            self.accelerator.wait_for_everyone()
            stop = stack.enter_context(StopRequest())
            self._begin(reasons or {})
            if self.trainer.images_seen >= self.config.images:
                return Outcome("finished", self.trainer.images_seen)
            pictures = self._load_pictures()
            val = self._val_images(pictures) if self.main else None
            log = stack.enter_context(MetricLog(self.folder, self.trainer.images_seen)) if self.main else None
            return self._loop(pictures, val, log, stop)

    def _loop(self, pictures: Pictures, val: Tensor | None, log: MetricLog | None, stop: StopRequest) -> Outcome:
        trainer, options, total = self.trainer, self.options, self.config.images
        began = saved = time.monotonic()
        figures: dict[str, float] = {}
        ending = "finished"
        self.reporter.start(trainer.images_seen, total)
        try:
            for images in self._steps(pictures):
                self._seed_step()
                values = trainer.step(images)
                seen, step_images = trainer.images_seen, trainer.images_per_step
                self.reporter.advance(seen, values)
                done = seen >= total
                if log is not None:
                    log.add(values)
                    if done or crossed(seen, step_images, options.log_images):
                        log.write_losses(seen)
                    if val is not None and (done or crossed(seen, step_images, options.eval_images)):
                        with log.paused():
                            figures = self._look(val, seen)
                        log.write_figures(seen, figures)
                now = time.monotonic()
                over = options.time_limit is not None and now - began > options.time_limit * 60
                asked, late, due = self._any(stop.asked, over, now - saved > options.save_minutes * 60)
                if done:
                    break
                if asked or late:
                    ending = "interrupted" if asked else "time limit"
                    break
                if due:
                    self._save(figures)
                    saved = time.monotonic()
        finally:
            self.reporter.finish()
        self._save(figures)
        return Outcome(ending, trainer.images_seen)

    def _look(self, val: Tensor, seen: int) -> dict[str, float]:
        """Evaluate on the validation pictures, draw the sample grid."""
        encoder = self.trainer.evaluated_encoder
        grid = val[:GRID_IMAGES]
        save_grid(self.folder.samples / f"{seen:09d}.png", grid, reconstruct(encoder, self.generator, grid))
        if self.val_source is None:
            return {}
        figures = evaluate(encoder, self.generator, val, self.trainer.objective.lpips)
        text = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self.reporter.message(f"validation after {seen:,} images: {text}")
        return figures


def crossed(seen: int, step: int, every: int) -> bool:
    """Whether the step that ended at `seen` passed a multiple of `every`."""
    return seen // every > (seen - step) // every


__all__ = ["DivergenceError", "Outcome", "RunOptions", "Training", "build_objective", "make_accelerator"]
