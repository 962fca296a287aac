"""A direction: a change of latents and padding that can be saved and added to any picture."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.errors import InputError, MismatchError, OutputError
from padinv.runtime.files import parse_json, write_bytes
from padinv.runtime.inversion import Inversion, read_arrays
from padinv.runtime.safetensors_file import all_finite, safetensors_bytes

FORMAT = "padinv-direction-1"
MAX_INFO = 1 << 16  # characters of the JSON beside the arrays

# A file stores only the shape of an array that is zero everywhere (the padding of a latent direction), so that a small
# file may ask for memory. Real models stay far below this bound.
MAX_ZEROS = 8 << 20  # numbers, 32 MiB as float32


@dataclass(eq=False)
class Direction:
    """A change in both spaces; which of them is applied is chosen when it is applied.

    Attributes:
        wp: n_s, added to latent codes [L, w_dim] (paper section 4.4).
        const, rings: n_p, added to the constant input [C_4, 4, 4] and to the padding coefficients r -> [C, 4r+4].
        generator_hash: of the generator it belongs to.
        info: JSON-ready notes. Known keys: `name`; `space`, where it is applied unless told otherwise; `unit`, what a
            strength of 1 means; `origin`, how it was made; `licence`; `accuracy` and `cost`, what was measured;
            `sources` and `evidence` of an image pair.
        spatial: part of n_p, added to the spatial code r -> [C, r, r]; a missing resolution is left alone.
    """

    wp: np.ndarray
    const: np.ndarray
    rings: dict[int, np.ndarray]
    generator_hash: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    spatial: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = self._as_inversion()  # checks that the shapes belong together
        self.wp, self.const = whole.wp[0], whole.const[0]
        self.rings = {r: ring[0] for r, ring in whole.rings.items()}
        self.spatial = {r: code[0] for r, code in whole.spatial.items()}

    def _as_inversion(self) -> Inversion:
        rings = {r: np.asarray(ring)[None] for r, ring in self.rings.items()}
        spatial = {r: np.asarray(code)[None] for r, code in self.spatial.items()}
        wp, const = np.asarray(self.wp)[None], np.asarray(self.const)[None]
        return Inversion(wp, const, rings, self.generator_hash, spatial=spatial)

    def arrays(self) -> dict[str, np.ndarray]:
        """Graph name -> array without a batch axis: `wp`, `const`, `pad_4`, ..."""
        return {name: array[0] for name, array in self._as_inversion().arrays().items()}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], generator_hash: str = "", info: dict[str, Any] | None = None
    ) -> Direction:
        """The inverse of `arrays`.

        Raises:
            MismatchError: a name that is not part of a direction, a missing one, or shapes that do not fit.
        """
        one = Inversion.from_arrays({name: array[None] for name, array in arrays.items()})
        rings, spatial = ({r: array[0] for r, array in group.items()} for group in (one.rings, one.spatial))
        return cls(one.wp[0], one.const[0], rings, generator_hash, info or {}, spatial)

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
                f"{generator_hash[:12] or '(none)'}, so it was not applied; make it again with this model"
            )

    @property
    def name(self) -> str:
        """What the direction is called; '' where nothing was recorded."""
        value = self.info.get("name")
        return value if isinstance(value, str) else ""

    def save(self, path: Path | str, dtype: str = "float32") -> None:
        """Write one `.safetensors` file atomically. Of an array that is zero everywhere only the shape is stored.

        Args:
            dtype: 'float32', or 'float16' for half the size.

        Raises:
            OutputError: not writable, or values that are not finite in `dtype`.
        """
        try:
            data = self.to_bytes(dtype)
        except OutputError as error:
            raise OutputError(f"cannot write {path}: {error}") from error
        write_bytes(path, data)

    def to_bytes(self, dtype: str = "float32") -> bytes:
        """What `save` writes, always the same for the same direction.

        Raises:
            OutputError: values that are not finite in `dtype`.
        """
        stored, zeros = {}, {}
        for name, array in self.arrays().items():
            if not array.any():
                zeros[name] = list(array.shape)
                continue
            with np.errstate(over="ignore"):
                stored[name] = np.ascontiguousarray(array, dtype)
            if not np.isfinite(stored[name]).all():
                raise OutputError("the direction holds values that are not finite")
        info = json.dumps(self.info, ensure_ascii=True, allow_nan=False)
        metadata = {"format": FORMAT, "generator_hash": self.generator_hash, "info": info}
        if zeros:
            metadata["zeros"] = json.dumps(zeros)
        return safetensors_bytes(stored, metadata)

    @classmethod
    def load(cls, path: Path | str) -> Direction:
        """Read a file written by `save`, checking every field.

        Raises:
            InputError: missing, not a direction, or damaged.
        """
        arrays, metadata = read_arrays(Path(path), "direction")
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{path} is a safetensors file, but not a direction; make one with: padinv directions, or padinv "
                "custom-edit --save"
            )
        for name, array in arrays.items():
            if not all_finite(array):
                raise InputError(f"{path} is not a usable direction: {name} holds values that are not finite")
        info = _json_object(metadata.get("info", "{}"))
        zeros = _json_object(metadata.get("zeros", "{}"))
        if info is None or zeros is None:
            raise InputError(f"{path} is not a usable direction: its notes are not a JSON object")
        try:
            return cls.from_arrays({**_zero_arrays(zeros), **arrays}, metadata.get("generator_hash", "")[:128], info)
        except MismatchError as error:
            raise InputError(f"{path} is not a usable direction: {error}") from error


def _json_object(text: str) -> dict[str, Any] | None:
    """A JSON object out of a file; None where it is not one, or is longer than notes can be."""
    try:
        value = parse_json(text) if len(text) <= MAX_INFO else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _zero_arrays(shapes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Zeros of the shapes that a file names.

    Raises:
        MismatchError: shapes that are not shapes, or far larger than a model's.
    """
    for name, shape in shapes.items():
        if not isinstance(shape, list) or not 2 <= len(shape) <= 3 or not all(type(n) is int and n > 0 for n in shape):
            raise MismatchError(f"the shape of {name[:20]!r} is not a shape")
    if sum(math.prod(shape) for shape in shapes.values()) > MAX_ZEROS:
        raise MismatchError("its arrays are larger than those of any model")
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
