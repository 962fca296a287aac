"""Refinement in the studio: what an optimisation adds to a photograph's codes, as a slider like any other.

As a direction it can be undone, weakened and saved, and the printed command makes the same picture from the saved edit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from padinv.runtime.editing import difference
from padinv.runtime.errors import UsageError
from padinv.runtime.images import to_float
from padinv.runtime.model import Model
from padinv.runtime.refining import Budget, Refiner
from padinv.runtime.server.service import reconstruction_metrics
from padinv.runtime.studio.photo import Photo
from padinv.runtime.studio.session import NamedDirection

MakeRefiner = Callable[[Budget], Refiner]
MISSING = "refining needs torch and the weights of the model; install it with: pip install 'padinv[train]'"


class Refinements:
    """Refines photographs, one at a time.

    Args:
        make: a refiner for a budget; None: there is no torch.
    """

    def __init__(self, model: Model, make: MakeRefiner | None) -> None:
        self._model, self._make = model, make
        self._turn = threading.Lock()
        self._done: dict[str, float] = {}

    @property
    def available(self) -> bool:
        """Whether photographs can be refined."""
        return self._make is not None

    def progress(self, photo: Photo) -> float | None:
        """The share that is done, 0 to 1; None where nothing is under way."""
        return self._done.get(photo.id)

    def refine(self, photo: Photo, steps: int) -> NamedDirection:
        """From the encoder's codes to the refined ones, with what it gained.

        Raises:
            UsageError: there is no torch, or something is being refined. Further errors as `Refiner.check`.
        """
        if self._make is None:
            raise UsageError(f"{MISSING}, and start the studio again")
        if not self._turn.acquire(blocking=False):
            raise UsageError("a photograph is being refined; wait until it is done")
        try:
            self._done[photo.id] = 0.0
            return self._refined(photo, self._make(Budget(steps=steps)))
        finally:
            self._done.clear()
            self._turn.release()

    def _refined(self, photo: Photo, refiner: Refiner) -> NamedDirection:
        refiner.check(self._model)

        def heard(done: float) -> None:
            self._done[photo.id] = done

        found = refiner.refine(self._model, photo.inversion, to_float(photo.pixels[None]), heard)
        side = self._model.spec.image_size
        after = reconstruction_metrics(photo.pixels, self._model.generate_float(found.inversion)[0], side)
        direction = difference(photo.inversion, found.inversion)
        name = f"refined {photo.name}"
        direction.info.update({"name": name, "space": "both", "sources": [photo.name]})
        note = f"{found.facts[0]['steps']} steps: MSE {photo.metrics['mse']:.4f} to {after['mse']:.4f}"
        return NamedDirection(name, direction, "refinement", note)
