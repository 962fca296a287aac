"""What a table is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from padinv.runtime.errors import UsageError
from padinv.training.encoder.config import TrainConfig


@dataclass(frozen=True)
class TableOptions:
    """Inputs of a table, and how much work goes into it.

    Attributes:
        generator: checkpoint of the generator to invert.
        data, val: photographs to train on and to measure on, each anything that `open_pictures` takes.
        out: folder of the table, of the trainings (`runs/`) and of the measurements (`measured/`).
        config: settings of every training; `images` is the budget, `seed`, `reg` and the padding are each row's.
        seeds: table 2 trains every row once for each; tables 1 and 3 use the first.
        limit: measure on the first photographs only; None: on all.
        batch: photographs that are reconstructed at once.
        steps, refine_steps, tune_steps: of latent optimisation, refinement and pivotal tuning, in table 1.
        passes: of the encoders that encode in passes, in table 1.
        equal_time: latent optimisation and pivotal tuning also in the time of the refinement, in table 1.
        optimise_limit: measure the rows of table 1 that optimise on the first photographs only; None: as `limit`.
        encoders: name -> run folder, bundle or encoder file of a finished encoder, in table 1.
        outputs: name -> folder of another project's reconstructions, in table 1.
        pairs: painted faces in table 3, or the folder of the user's own pairs.
        targets: faces that receive the edit, in table 3.
        init: what the encoders start from in table 1, table 3 and edges: a run folder, a bundle or an encoder file, of
            which each takes what fits; None: new weights.
        train: whether encoders may be trained; False: the encoder with all padding is `init` as it is.
        rows: of table 1, such as ('ours', 'wplus'), or of table 2, such as ('none', 'p0', 'p0-1'); None: all, in
            table 2 up to one level beyond the generator's default.
        lpips_weights: torchvision's file of `config.lpips`; None: looked for in the caches.
        face_weights: network of the identity term, where `config.id` has a weight.
        identity_weights: network that measures identity; None: identity is not measured.
        device: where to train and measure; None: CUDA if available, otherwise the processor.
        resamples: of the bootstrap.
    """

    generator: Path
    data: Path | str
    val: Path | str
    out: Path
    config: TrainConfig
    seeds: tuple[int, ...] = (0, 1, 2)
    limit: int | None = None
    batch: int = 16
    steps: int = 1000
    refine_steps: int = 100
    tune_steps: int = 350
    passes: int = 3
    equal_time: bool = False
    optimise_limit: int | None = None
    encoders: dict[str, Path] = field(default_factory=dict)
    outputs: dict[str, Path] = field(default_factory=dict)
    pairs: int | Path = 10
    targets: int = 50
    init: Path | None = None
    train: bool = True
    rows: tuple[str, ...] | None = None
    lpips_weights: Path | None = None
    face_weights: Path | None = None
    identity_weights: Path | None = None
    device: str | None = None
    resamples: int = 10_000

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UsageError("a table needs at least one seed")
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"a seed is given twice ({', '.join(map(str, self.seeds))}); each must differ")
