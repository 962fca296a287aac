"""Measuring the rows of a table, all on the same photographs and with the same metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from padinv.checkpoints import generator_hash, load_generator
from padinv.evaluation.evaluate import measure
from padinv.evaluation.metrics import open_metrics
from padinv.evaluation.models import Subject
from padinv.evaluation.results import Measured
from padinv.losses.backbones import find_backbone_file
from padinv.losses.lpips import LPIPS
from padinv.picture_sources import open_pictures
from padinv.reproduce.kid import MIN_IMAGES, FeatureTap, KeptFeatures, kid_of, open_features
from padinv.reproduce.options import TableOptions
from padinv.reproduce.subjects import Loss
from padinv.reproduce.table import Row
from padinv.runtime.files import sha256_file
from padinv.runtime.images import to_float
from padinv.training.reporter import Reporter


class Measuring:
    """The validation photographs and the metrics, opened once for all rows.

    Args:
        kid: measure KID, too, where its network is installed.

    Attributes:
        spec: geometry of the generator.
        device: where networks run.
        source: the photographs.
        metrics: see `open_metrics`.

    Raises:
        InputError: the generator or the photographs cannot be read, or a weight file is missing.
    """

    def __init__(self, options: TableOptions, reporter: Reporter, *, kid: bool = False) -> None:
        self._options, self._reporter = options, reporter
        generator = load_generator(options.generator)
        self.spec, self._hash = generator.spec, generator_hash(generator)
        self.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.source = open_pictures(options.val)
        lpips = {} if options.lpips_weights is None else {options.config.lpips: options.lpips_weights}
        backend = "cpu" if self.device == "cpu" else "auto"
        self.metrics = open_metrics(self.spec, lpips, options.identity_weights, backend)
        self._features: Callable[[np.ndarray], np.ndarray] | None = None
        if kid:
            self._features, reason = open_features(self.device)
            self.metrics.missing |= {"kid": reason} if self._features is None else {}
        self.count = len(self.source) if options.limit is None else min(options.limit, len(self.source))

    def conditions(self) -> dict[str, Any]:
        """What every row depends on, JSON-ready."""
        config = self._options.config
        return {
            "generator": {"file": self._options.generator.name, "hash": self._hash, "size": self.spec.image_size},
            "data": str(self._options.data),
            "val": {"path": str(self._options.val), "pictures": self.source.fingerprint() + self.source.contents()},
            "budget": config.images if self._options.train else 0,
            "init": None if self._options.init is None else self._options.init.name,
            "settings": config.to_dict(),
            "limit": self._options.limit,
            "device": self.device,
            "bootstrap": {"resamples": self._options.resamples, "seed": 0, "confidence": 0.95},
        }

    def loss(self) -> Loss:
        """What the optimisations minimise: the perceptual network is that of the trainings."""
        config = self._options.config
        if config.per == 0:
            return Loss(None, "pixels", self.device)
        file = find_backbone_file(config.lpips, self._options.lpips_weights)
        name = f"LPIPS {config.lpips} {sha256_file(file)[:16]}"
        return Loss(LPIPS(config.lpips, file), name, self.device)

    def row(self, label: str, subject: Subject, *, optimised: bool = False, **details: Any) -> tuple[Row, list[str]]:
        """Measure one row of Table 1: see `__call__`; with KID, and sentences on what could not be read.

        Args:
            optimised: the subject optimises for each image: it needs no warm-up, and counts on fewer photographs.
        """
        limit, batch = (self.optimise_limit, self._optimise_batch) if optimised else (self._options.limit, None)
        if self._features is None:
            measured = self(subject, warm_up=not optimised, limit=limit, batch=batch)
            return Row.of(label, measured, **details), measured.skipped
        tap = FeatureTap(subject, self._kept, self._features)
        measured = self(tap, warm_up=not optimised, limit=limit, batch=batch)
        row = Row.of(label, measured, **details)
        row.kid = self.kid(measured.names, tap.kept)
        return row, measured.skipped

    def kid(self, names: Sequence[str], kept: KeptFeatures) -> dict[str, float] | None:
        """KID of reconstructions whose features were kept, against their photographs; None for too few images."""
        if self._features is None or len(names) < MIN_IMAGES:
            return None
        real, found = KeptFeatures(self._kept / "photographs", self._features), []
        wanted, places = set(names), []
        for index in range(len(self.source)):
            if self.source.name(index) in wanted:
                places.append(index)
        for start in range(0, len(places), self._options.batch):
            part = places[start : start + self._options.batch]
            x = to_float(np.stack([self.source.read(index, self.spec.image_size) for index in part]))
            photographs = real.of(x)
            if photographs is None:
                real.keep(x, x)
                photographs = real.of(x)
            reconstructions = kept.of(x)
            if reconstructions is None or photographs is None:
                return None
            found.append((reconstructions, photographs))
        a, b = (np.concatenate(side) for side in zip(*found, strict=True))
        return kid_of(a, b)

    @property
    def optimise_limit(self) -> int | None:
        """How many photographs the rows that optimise are measured on; None: all."""
        limits = [n for n in (self._options.limit, self._options.optimise_limit) if n is not None]
        return min(limits, default=None)

    @property
    def _optimise_batch(self) -> int:
        """One image after the other on a processor, so that a stop loses little; together on an accelerator."""
        return 1 if self.device == "cpu" else self._options.batch

    @property
    def _kept(self) -> Path:
        return self._options.out / "measured" / "features"

    def __call__(
        self, subject: Subject, *, warm_up: bool = True, limit: int | None = None, batch: int | None = None
    ) -> Measured:
        """Measure one row; what was measured before is read back, and an interrupted measurement resumes.

        Args:
            limit, batch: other than the table's.
        """
        limit = self._options.limit if limit is None else limit
        count = len(self.source) if limit is None else min(limit, len(self.source))
        self._reporter.message(f"measuring {subject.name} on {count:,} images")
        done = 0
        self._reporter.start(0, count, "measuring")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._reporter.advance(done, {})

        try:
            return measure(
                subject,
                self.source,
                self.metrics,
                self._options.out / "measured",
                batch or self._options.batch,
                limit,
                advance=advance,
                warm_up=warm_up,
            )
        finally:
            self._reporter.finish()
