"""Measuring the rows of a table, all on the same photographs and with the same metrics."""

from __future__ import annotations

from typing import Any

import torch

from padinv.checkpoints import generator_hash, load_generator
from padinv.evaluation.evaluate import measure
from padinv.evaluation.metrics import open_metrics
from padinv.evaluation.models import Subject
from padinv.evaluation.results import Measured
from padinv.losses.backbones import find_backbone_file
from padinv.losses.lpips import LPIPS
from padinv.picture_sources import open_pictures
from padinv.reproduce.options import TableOptions
from padinv.runtime.files import sha256_file
from padinv.training.reporter import Reporter


class Measuring:
    """The validation photographs and the metrics, opened once for all rows.

    Attributes:
        spec: geometry of the generator.
        device: where networks run.
        source: the photographs.
        metrics: see `open_metrics`.

    Raises:
        InputError: the generator or the photographs cannot be read, or a weight file is missing.
    """

    def __init__(self, options: TableOptions, reporter: Reporter) -> None:
        self._options, self._reporter = options, reporter
        generator = load_generator(options.generator)
        self.spec, self._hash = generator.spec, generator_hash(generator)
        self.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.source = open_pictures(options.val)
        lpips = {} if options.lpips_weights is None else {options.config.lpips: options.lpips_weights}
        backend = "cpu" if self.device == "cpu" else "auto"
        self.metrics = open_metrics(self.spec, lpips, options.identity_weights, backend)
        self.count = len(self.source) if options.limit is None else min(options.limit, len(self.source))

    def conditions(self) -> dict[str, Any]:
        """What every row depends on, JSON-ready."""
        config = self._options.config
        return {
            "generator": {"file": self._options.generator.name, "hash": self._hash, "size": self.spec.image_size},
            "data": str(self._options.data),
            "val": {"path": str(self._options.val), "pictures": self.source.fingerprint() + self.source.contents()},
            "budget": config.images,
            "settings": config.to_dict(),
            "limit": self._options.limit,
            "device": self.device,
            "bootstrap": {"resamples": self._options.resamples, "seed": 0, "confidence": 0.95},
        }

    def perceptual(self) -> tuple[LPIPS | None, str]:
        """The network of the optimisations' loss, that of the trainings; and what names it in the conditions."""
        config = self._options.config
        if config.per == 0:
            return None, "pixels"
        file = find_backbone_file(config.lpips, self._options.lpips_weights)
        return LPIPS(config.lpips, file), f"LPIPS {config.lpips} {sha256_file(file)[:16]}"

    def __call__(self, subject: Subject, *, warm_up: bool = True) -> Measured:
        """Measure one row; what was measured before is read back, and an interrupted measurement resumes."""
        self._reporter.message(f"measuring {subject.name} on {self.count:,} images")
        done = 0
        self._reporter.start(0, self.count)

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
                self._options.batch,
                self._options.limit,
                advance=advance,
                warm_up=warm_up,
            )
        finally:
            self._reporter.finish()
