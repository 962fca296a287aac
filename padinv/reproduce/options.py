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
        steps, refine_steps: of the latent optimisation and of the refinement, in table 1.
        pairs, targets: painted faces, and faces that receive the edit, in table 3.
        outputs: name -> folder of another project's reconstructions, in table 1.
        rows: of table 2, such as ('none', 'p0', 'p0-1'); None: up to one level beyond the generator's default.
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
    pairs: int = 10
    targets: int = 50
    outputs: dict[str, Path] = field(default_factory=dict)
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
