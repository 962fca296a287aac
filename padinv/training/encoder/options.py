"""What a run is told besides its settings: where to read and write, and how often to look up."""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from padinv.losses.identity import IdentityLoss
from padinv.losses.lpips import LPIPS
from padinv.losses.objective import Objective
from padinv.losses.weight_files import Wanted, find_cached
from padinv.models.face_recognition import load_face_network
from padinv.picture_sources.remote import is_url
from padinv.runtime.errors import InputError, PadInvError, UsageError
from padinv.runtime.model_names import is_model_name
from padinv.training.encoder.backbone_weights import find_backbone_weights
from padinv.training.encoder.config import TrainConfig
from padinv.training.loop import Cadence


@dataclass(frozen=True)
class RunOptions:
    """Where a training reads and writes, and how often it looks up. Nothing here changes what is computed.

    Attributes:
        generator: checkpoint of the generator (and discriminator).
        data, val: training and validation pictures, each anything that `open_pictures` takes.
        out: the run folder.
        lpips_weights, face_weights: weight files of the losses' networks; None: what was fetched or cached earlier.
        init: an encoder file, run folder or compact bundle whose encoder this one starts from.
        backbone_weights: pretrained weights of the backbone: a file, or 'cache' for those that timm fetched earlier.
        template: how the pictures are aligned (`Template.code`), where the generator's file is wrong or silent.
        log_images, eval_images: training images between two log records, and between two evaluations with their grid.
        val_count: validation pictures of an evaluation.
        best: figure of the validation by which the best encoder is kept, 'mse' or 'lpips'.
        save_minutes: between two checkpoints.
        time_limit: minutes after which the training saves and stops; None: none. The schedule does not depend on it.
        background_save: write checkpoints while the training goes on; None: where the weights are not on the CPU.
        workers: processes that decode pictures which do not fit in memory.
        device: where to train, such as 'cuda:1'; None: what the launcher chose, else the first accelerator.
        trackers: experiment trackers besides TensorBoard, see `padinv.training.trackers`.
        preset: its name, for the record.
    """

    generator: Path
    data: Path | str
    out: Path
    val: Path | str | None = None
    lpips_weights: Path | None = None
    face_weights: Path | None = None
    init: Path | None = None
    backbone_weights: str | None = None
    template: str | None = None
    log_images: int = 800
    eval_images: int = 20_000
    val_count: int = 256
    best: str = "mse"
    save_minutes: float = 10.0
    time_limit: float | None = None
    background_save: bool | None = None
    workers: int = 4
    device: str | None = None
    trackers: tuple[str, ...] = ()
    preset: str | None = None

    @property
    def cadence(self) -> Cadence:
        """When to log, evaluate, save and stop."""
        return Cadence(self.log_images, self.eval_images, self.save_minutes, self.time_limit)


def check_inputs(config: TrainConfig, options: RunOptions) -> None:
    """Look for every file that a training needs, and name all that are missing at once.

    Raises:
        InputError: files are missing.
        UsageError: nothing is missing but an option.
    """

    def exists(path: Path | None, option: str) -> None:
        if path is not None and not is_model_name(path) and not path.exists():
            raise InputError(f"{path} does not exist ({option})")

    def backbone_weights() -> None:
        if options.backbone_weights is None:
            return
        if options.init is not None:
            raise UsageError("--init and --backbone-weights exclude each other: the encoder of --init has a backbone")
        find_backbone_weights(config.arch, options.backbone_weights)

    def spatial() -> None:
        if config.spatial and options.init is None:
            raise UsageError("--spatial trains a spatial code on top of a finished encoder; give it with --init")

    checks: list[Callable[[], object]] = [
        spatial,
        lambda: exists(options.generator, "--generator"),
        lambda: exists(options.init, "--init"),
        backbone_weights,
    ]
    problems: list[PadInvError] = []
    for check in checks:
        try:
            check()
        except PadInvError as error:
            problems.append(error)
    problems += [InputError(text) for entry in wanted_weights(config, options) if (text := entry.problem())]
    for place, option in ((options.data, "--data"), (options.val, "--val")):
        if place is not None and not _is_pattern(str(place)) and not Path(place).exists():
            problems.append(InputError(f"{place} does not exist ({option})"))
    if problems:
        kind = UsageError if all(isinstance(problem, UsageError) for problem in problems) else InputError
        raise kind("; ".join(str(problem) for problem in problems))


def wanted_weights(config: TrainConfig, options: RunOptions) -> list[Wanted]:
    """The weight files that the losses of a configuration need."""
    wanted = []
    if config.per > 0:
        purpose = f"the perceptual loss (LPIPS '{config.lpips}')"
        wanted.append(Wanted(f"lpips-{config.lpips}", purpose, "--lpips-weights", options.lpips_weights))
    if config.id > 0:
        purpose = "the identity loss (--id 0 leaves it out)"
        wanted.append(Wanted("arcface", purpose, "--face-weights", options.face_weights))
    return wanted


def _is_pattern(place: str) -> bool:
    """Whether images are named by a URL, a glob pattern or a range of shards, of which there is no single file."""
    return is_url(place) or glob.has_magic(place) or "{" in place


def build_objective(config: TrainConfig, options: RunOptions, template: str | None) -> Objective:
    """The losses with their networks.

    Raises:
        InputError: a weight file is missing or foreign.
        UsageError: a term lacks what it needs.
    """
    lpips = LPIPS(config.lpips, options.lpips_weights) if config.per > 0 else None
    identity = None
    if config.id > 0:
        weights = options.face_weights or find_cached("arcface")
        assert weights is not None, "check_inputs comes first"
        identity = IdentityLoss(load_face_network(weights), template)
    return Objective(config.weights, lpips, identity)
