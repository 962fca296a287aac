"""An encoder training from start, or from where it stopped, to its end."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import __version__ as accelerate_version
from torch import Tensor

from padinv import __version__
from padinv.checkpoints import generator_hash, load_discriminator, load_encoder, load_generator
from padinv.checkpoints.compact_bundle import is_bundle
from padinv.checkpoints.native import read_header, save_encoder_state, save_generator
from padinv.losses.border import patch_side
from padinv.models.discriminator import Discriminator
from padinv.models.encoder import shared_weights
from padinv.models.generator import Generator
from padinv.picture_sources import open_pictures
from padinv.runtime.errors import InputError, MismatchError
from padinv.runtime.files import sha256_file
from padinv.training.background_writer import BackgroundWriter, snapshot
from padinv.training.encoder.backbone_weights import find_backbone_weights, load_backbone_weights
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.options import RunOptions, build_objective, check_inputs
from padinv.training.encoder.trainer import EncoderTrainer
from padinv.training.generator.discriminator_init import discriminator_for, new_discriminator
from padinv.training.launch import check_compile, check_launcher_settings, make_accelerator, set_arithmetic
from padinv.training.loop import Outcome, run_loop
from padinv.training.memory_estimate import MemoryEstimate, estimate_memory
from padinv.training.metric_log import MetricLog
from padinv.training.pictures import CACHE_BYTES, Pictures, StepBatches, batches, size_hint
from padinv.training.reporter import Reporter, Silent
from padinv.training.run_folder import RunFolder
from padinv.training.signals import StopRequest
from padinv.training.trackers import Trackers, check_trackers
from padinv.training.validation import errors, grid_of, read_validation, reconstruct, save_png

GRID_IMAGES = 16


class Training:
    """Everything of one run, built and checked before the first step.

    Raises:
        PadInvError: anything that would stop the run; nothing has been written then.
    """

    def __init__(self, config: TrainConfig, options: RunOptions, reporter: Reporter | None = None) -> None:
        self.config, self.options = config, options
        check_launcher_settings(config)
        check_trackers(options.trackers)
        check_inputs(config, options)
        set_arithmetic(tf32=config.tf32, deterministic=config.deterministic)
        self.accelerator = make_accelerator(config.mixed_precision, options.device)
        check_compile(config.compile, self.accelerator.device)
        self.main = self.accelerator.is_main_process
        self.reporter: Reporter = (reporter if self.main else None) or Silent()
        self.generator: Generator = load_generator(options.generator)
        self.hash = generator_hash(self.generator)
        if options.template is not None:  # the run's own copy of the generator, the encoder and the bundle record it
            self.generator.spec = replace(self.generator.spec, template=options.template)
        spec = self.generator.spec
        objective = build_objective(config, options, spec.template)
        self.discriminator: Discriminator | None = None
        if config.adv > 0 and config.adv_view == "border":
            torch.manual_seed(config.seed)
            self.discriminator = new_discriminator(spec, patch_side(spec.image_size))
        elif config.adv > 0:
            own = load_discriminator(options.generator)
            if own is None:
                self.reporter.message(f"{options.generator} holds no discriminator; a fresh one is trained along")
            torch.manual_seed(config.seed)
            self.discriminator = discriminator_for(spec, own)
        self.source = open_pictures(options.data)
        self.val_source = open_pictures(options.val) if options.val else None
        self.trainer = EncoderTrainer(config, self.generator, objective, self.accelerator, self.discriminator)
        self.folder = RunFolder(options.out)
        background = options.background_save
        self.writer = BackgroundWriter(self.accelerator.device.type != "cpu" if background is None else background)
        self.figures: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.skipped: set[str] = set(getattr(self.source, "notes", ()))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must not change between two parts of one run."""
        return {
            **self.config.to_dict(),
            "generator": self.hash,
            "pictures": self.source.fingerprint(),
            "contents": self.source.contents(),
            "processes": self.accelerator.num_processes,
            "init": None if self.options.init is None else str(self.options.init),
            "backbone_weights": None if self.backbone_weights is None else self.backbone_weights[1],
            **({} if self.options.template is None else {"template": self.options.template}),
        }

    @cached_property
    def backbone_weights(self) -> tuple[Path, str] | None:
        """File of the pretrained backbone and its SHA-256; None where there is none."""
        if self.options.backbone_weights is None:
            return None
        path = find_backbone_weights(self.config.arch, self.options.backbone_weights)
        return path, sha256_file(path)

    @property
    def free(self) -> frozenset[str]:
        """Names of the identity that may change: at a constant rate a run may be made longer."""
        return frozenset({"images"} if self.config.schedule == "constant" else set())

    # -- pictures ---------------------------------------------------------------------------------------------------

    def _load_pictures(self) -> Pictures:
        self.reporter.message(f"reading {len(self.source):,} pictures from {self.options.data}")
        if hint := size_hint(self.source, self.generator.spec.image_size):
            self.reporter.message(hint)
        pictures = Pictures(self.source, self.generator.spec.image_size)
        self._skip([*self.skipped, *pictures.bad])
        return pictures

    def _skip(self, sentences: list[str], most: int = 20) -> None:
        """Say which pictures were left out, once each."""
        for text in sentences[:most]:
            self.reporter.message(f"skipped: {text}")
        if len(sentences) > most:
            self.reporter.message(f"skipped: {len(sentences) - most} more pictures")
        self.skipped.update(sentences)

    def _load_validation(self, pictures: Pictures) -> None:
        """Pictures to look at: this process's part of the validation set, and the grid's."""
        size, accelerator = self.generator.spec.image_size, self.accelerator
        if self.val_source is None:
            self.grid = torch.stack([pictures[k] for k in range(min(GRID_IMAGES, len(pictures)))])
            self.val = self.grid[:0]
            return
        rank, world = accelerator.process_index, accelerator.num_processes
        self.val, skipped = read_validation(self.val_source, size, self.options.val_count, rank=rank, world=world)
        count = min(GRID_IMAGES, self.options.val_count)
        self.grid = self.val[:count] if world == 1 else read_validation(self.val_source, size, count)[0]
        self._skip(skipped)

    def _batches(self, pictures: Pictures) -> Iterator[Tensor]:
        order = StepBatches(
            len(pictures),
            self.config.batch * self.config.accumulate,
            self.config.seed,
            self.trainer.step_count,
            self.config.flips,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        for images, bad in batches(pictures, order, self.options.workers):
            self._skip([text for text in bad if text not in self.skipped])  # each worker finds it for itself
            yield images

    # -- beginning --------------------------------------------------------------------------------------------------

    def _start_weights(self) -> None:
        """What a new run begins with, besides its seed."""
        if self.options.init is not None:
            self._start_from(self.options.init)
        if self.backbone_weights is not None:
            path, _ = self.backbone_weights
            for encoder in {self.trainer.raw_encoder, self.trainer.evaluated_encoder}:
                load_backbone_weights(encoder, path)
            self.reporter.message(f"the backbone starts from the weights of {path}")

    def _start_from(self, path: Path) -> None:
        file = path / "encoder.safetensors" if path.is_dir() and not is_bundle(path) else path
        other = load_encoder(file)
        encoder = self.trainer.raw_encoder
        shared = shared_weights(other, encoder)
        if not shared:
            raise MismatchError(f"{file} is an encoder of another kind, so --init cannot start from it")
        frozen = {name for name in encoder.state_dict() if self.config.spatial and not name.startswith("spatial.")}
        if missing := sorted(frozen - shared.keys()):
            raise MismatchError(
                f"{file} lacks {missing[0]}, so a spatial code cannot be trained on top of it; give --arch, --size and "
                "the padding options (or --preset) of the encoder that --init names"
            )
        for module in (encoder, *([] if self.trainer.average is None else [self.trainer.average.module])):
            module.load_state_dict({**module.state_dict(), **shared})
        parts = "" if len(shared) == len(encoder.state_dict()) else f" ({len(shared)} tensors; the others are new)"
        self.reporter.message(f"starting from the weights of {file}{parts}")

    def _resume(self) -> dict[str, Any] | None:
        """Load what an earlier part of the run saved, and write again what a kill kept it from writing."""
        folder, trainer = self.folder, self.trainer
        assumed = {**TrainConfig().to_dict(), "contents": self.identity["contents"], "backbone_weights": None}
        state = folder.resume(self.identity, self.free, assumed)
        if state is None:
            return None
        trainer.load_state_dict(state["trainer"])
        self.figures, self.best = dict(state.get("figures", {})), dict(state.get("best", {}))
        self.reporter.message(f"resuming from {trainer.images_seen:,} images in {folder.path}")
        if self.main and not self._result_is_current():
            self._write_encoder(folder.encoder_file, trainer.evaluated_encoder.state_dict(), self.figures)
        return state

    def _result_is_current(self) -> bool:
        """Whether the encoder beside the checkpoint is the checkpoint's: a kill may come between the two writes."""
        try:
            header = read_header(self.folder.encoder_file)
        except InputError:
            return False
        return header is not None and header.get("record", {}).get("images") == self.trainer.images_seen

    def _write_beginning(self, reasons: dict[str, str], fresh: bool) -> None:
        folder = self.folder
        details = {"preset": self.options.preset, "reasons": reasons, **self._circumstances()}
        folder.write_config(self.identity, details)
        if fresh or not folder.generator_file.exists():
            whole = self.config.adv_view == "whole"  # a discriminator of patches is of no use with the generator
            critic = self.discriminator if whole else None
            save_generator(folder.generator_file, self.generator, critic, {"source": self.hash})
        folder.trim_metrics(self.trainer.images_seen)

    def _circumstances(self) -> dict[str, Any]:
        options = self.options
        return {
            "spec": self.generator.spec.to_dict(),
            "inputs": {
                "generator": str(options.generator),
                "data": str(options.data),
                "pictures": len(self.source),
                "val": None if options.val is None else str(options.val),
                "backbone_weights": None if self.backbone_weights is None else str(self.backbone_weights[0]),
            },
            "versions": {
                "padinv": __version__,
                "torch": torch.__version__,
                "accelerate": accelerate_version,
                "python": platform.python_version(),
            },
            "device": str(self.accelerator.device),
        }

    # -- what the loop calls ----------------------------------------------------------------------------------------

    @property
    def images_seen(self) -> int:
        """Training images so far, over all processes and all parts of the run."""
        return self.trainer.images_seen

    @property
    def images_per_step(self) -> int:
        """Images of one step over all processes."""
        return self.trainer.images_per_step

    def step(self) -> dict[str, float]:
        """One step on the next batch."""
        began = time.monotonic()
        images = next(self._images)
        if self.log is not None:
            self.log.add_wait(time.monotonic() - began)
        self._seed_step()
        return self.trainer.step(images)

    def evaluate(self) -> dict[str, float]:
        """Draw the sample grid, measure on the validation pictures, keep the encoder if it is the best so far."""
        seen, encoder = self.images_seen, self.trainer.evaluated_encoder
        if self.main:
            path = self.folder.samples / f"{seen:09d}.png"
            sheet = grid_of(self.grid, reconstruct(encoder, self.generator, self.grid))
            save_png(path, sheet)
            if self.log is not None:
                self.log.write_image("reconstructions", sheet, seen)
        if self.val_source is None:
            return {}
        self._share_buffers()
        figures = self._means(errors(encoder, self.generator, self.val, self.trainer.objective.lpips))
        if self.trainer.average is not None:
            last = errors(self.trainer.raw_encoder, self.generator, self.val, self.trainer.objective.lpips)
            figures |= {f"{name}_without_average": value for name, value in self._means(last).items()}
        self.figures = figures
        self._keep_best()
        text = ", ".join(_through_passes(figures, name) for name in figures if "_" not in name)
        self.reporter.message(f"validation after {seen:,} images: {text}")
        return figures

    def save(self, *, last: bool) -> None:
        """Write the encoder and the checkpoint, in this order: a checkpoint never has an older encoder beside it."""
        if self.main:
            state = {
                "trainer": self.trainer.state_dict(),
                "log": self.log.state_dict() if self.log is not None else {},
                "figures": self.figures,
                "best": self.best,
            }
            weights = self.trainer.evaluated_encoder.state_dict()
            if self.writer.enabled:
                state, weights = snapshot(state), snapshot(weights)
            record, folder = self._record(self.figures), self.folder

            def write() -> None:
                self._write_encoder(folder.encoder_file, weights, self.figures, record)
                folder.save_checkpoint(state)

            self.writer.submit(write)
            if last:
                self.writer.wait()
        if last:
            self.accelerator.wait_for_everyone()

    # -- parts of these ---------------------------------------------------------------------------------------------

    def _record(self, figures: dict[str, float]) -> dict[str, Any]:
        return {
            "images": self.trainer.images_seen,
            "preset": self.options.preset,
            "config": self.config.to_dict(),
            **({} if self.backbone_weights is None else {"backbone_sha256": self.backbone_weights[1]}),
            "figures": figures,
        }

    def _write_encoder(
        self, path: Path, weights: dict[str, Tensor], figures: dict[str, float], record: dict[str, Any] | None = None
    ) -> None:
        encoder = self.trainer.evaluated_encoder
        save_encoder_state(path, encoder.spec, encoder.config, weights, self.hash, record or self._record(figures))

    def _keep_best(self) -> None:
        value = self.figures.get(self.options.best)
        if value is None or not value < self.best.get(self.options.best, float("inf")):
            return
        self.best = {self.options.best: value, "images": float(self.images_seen)}
        if self.main:
            self._write_encoder(self.folder.best_file, self.trainer.evaluated_encoder.state_dict(), self.figures)

    def _share_buffers(self) -> None:
        """Batch statistics of the main process for all: on the CPU each process keeps its own between two steps."""
        if self.accelerator.num_processes == 1:
            return
        for encoder in {self.trainer.evaluated_encoder, self.trainer.raw_encoder}:
            for buffer in encoder.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def _means(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Means over the pictures of all processes."""
        sums = torch.stack([torch.stack([v.sum(), v.new_tensor(float(len(v)))]) for v in values.values()])
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums.double(), "sum")
        return {name: float(total / count) for name, (total, count) in zip(values, sums.tolist(), strict=True)}

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
            InputError: no picture can be read; a run that has not saved anything yet may then begin again.
            OutputError, UsageError: the run folder cannot be used.
        """
        with ExitStack() as stack:
            if self.main:
                self.folder.create()
                stack.enter_context(self.folder.locked())
            stack.callback(self.writer.wait)  # before the lock goes
            self.accelerator.wait_for_everyone()
            stop = stack.enter_context(StopRequest())
            state = self._resume()
            if self.images_seen >= self.config.images:
                return Outcome("finished", self.images_seen)
            if state is None:
                self._start_weights()
            pictures = self._load_pictures()
            self._load_validation(pictures)
            self.accelerator.wait_for_everyone()  # nobody writes before everybody has read
            self.log: MetricLog | None = None
            if self.main:
                self._write_beginning(reasons or {}, fresh=state is None)
                trackers = Trackers(self.options.trackers, self.folder.path, self.config.to_dict())
                log = MetricLog(self.folder, self.images_seen, (state or {}).get("log"), trackers=trackers)
                self.log = stack.enter_context(log)
            self._images = self._batches(pictures)
            ending = run_loop(
                self,
                self.config.images,
                cadence=self.options.cadence,
                reporter=self.reporter,
                stop=stop,
                log=self.log,
                agree=self._any,
            )
            elsewhere = self._any(bool(self.skipped))[0]
            return Outcome(ending, self.images_seen, len(self.skipped) or int(elsewhere))


def _through_passes(figures: dict[str, float], name: str) -> str:
    """A figure with its values after the earlier passes, e.g. 'mse 0.0108 > 0.0101 > 0.0099'."""
    earlier = [value for key, value in figures.items() if re.fullmatch(rf"{name}_pass\d+", key)]
    return f"{name} {' > '.join(f'{value:.4f}' for value in (*earlier, figures[name]))}"


__all__ = ["RunOptions", "Training", "build_objective"]
