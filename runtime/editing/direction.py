"""A direction: the change from one picture to its edited version, which can be saved and added to any other picture."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.errors import InputError, MismatchError, OutputError
from padinv.runtime.files import atomic_path
from padinv.runtime.inversion import Inversion, read_arrays

FORMAT = "padinv-direction-1"
MAX_INFO = 1 << 16  # characters of the JSON beside the arrays


@dataclass(eq=False)
class Direction:
    """A change in both spaces; which of them is applied is chosen when it is applied.

    Attributes:
        wp: n_s, added to latent codes [L, w_dim] (paper section 4.4).
        const, rings: n_p, added to the constant input [C_4, 4, 4] and to the padding coefficients r -> [C, 4r+4].
        generator_hash: of the generator it belongs to.
        info: JSON-ready notes; known keys: `space` (what was chosen when it was made), `sources`, `evidence`.
    """

    wp: np.ndarray
    const: np.ndarray
    rings: dict[int, np.ndarray]
    generator_hash: str = ""
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = self._as_inversion()  # checks that the shapes belong together
        self.wp, self.const = whole.wp[0], whole.const[0]
        self.rings = {r: ring[0] for r, ring in whole.rings.items()}

    def _as_inversion(self) -> Inversion:
        rings = {r: np.asarray(ring)[None] for r, ring in self.rings.items()}
        return Inversion(np.asarray(self.wp)[None], np.asarray(self.const)[None], rings, self.generator_hash)

    def arrays(self) -> dict[str, np.ndarray]:
        """Graph name -> array without a batch axis: `wp`, `const`, `pad_4`, ..."""
        return {name: array[0] for name, array in self._as_inversion().arrays().items()}

    @property
    def space(self) -> str | None:
        """The space that was chosen when the direction was made; None where nothing was recorded."""
        value = self.info.get("space")
        return value if value in ("padding", "latent", "both") else None

    def require_generator(self, generator_hash: str, what: str = "the direction") -> None:
        """Refuse to add a direction to pictures of another generator.

        Raises:
            MismatchError: the sentence names both generators.
        """
        if self.generator_hash != generator_hash:
            raise MismatchError(
                f"{what} belongs to generator {self.generator_hash[:12] or '(none)'}, and the pictures to generator "
                f"{generator_hash[:12] or '(none)'}, so it was not applied; make it anew from its image pair with this "
                "model"
            )

    def save(self, path: Path | str) -> None:
        """Write one `.safetensors` file atomically, float32.

        Raises:
            OutputError: not writable, or values that are not finite.
        """
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise OutputError(f"cannot write {path}: the direction holds values that are not finite")
        info = json.dumps(self.info, ensure_ascii=True, allow_nan=False)
        metadata = {"format": FORMAT, "generator_hash": self.generator_hash, "info": info}
        with atomic_path(path) as temporary:
            save_file(arrays, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: Path | str) -> Direction:
        """Read a file written by `save`, checking every field.

        Raises:
            InputError: missing, not a direction, or damaged.
        """
        arrays, metadata = read_arrays(Path(path), "direction")
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{path} is a safetensors file, but not a direction; make one with: padinv custom-edit --save"
            )
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(f"{path} is not a usable direction: {name} holds values that are not finite")
        text = metadata.get("info", "{}")
        try:
            info = json.loads(text) if len(text) <= MAX_INFO else None
        except (ValueError, RecursionError):
            info = None
        if not isinstance(info, dict):
            raise InputError(f"{path} is not a usable direction: its notes are not a JSON object")
        try:
            batch = Inversion.from_arrays({name: array[None] for name, array in arrays.items()})
        except MismatchError as error:
            raise InputError(f"{path} is not a usable direction: {error}") from error
        rings = {r: ring[0] for r, ring in batch.rings.items()}
        return cls(batch.wp[0], batch.const[0], rings, metadata.get("generator_hash", "")[:128], info)
