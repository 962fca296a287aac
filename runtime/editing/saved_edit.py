"""An edit that was put together, as a file: what is borrowed from another picture, and directions with their strengths.

The file holds everything the edit needs (the other picture's codes, the painted mask, the sum of the directions), so
`padinv edit EDIT.safetensors PHOTO...` gives the same result anywhere, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.gallery import Term, combined
from padinv.runtime.editing.layers import layer_mask
from padinv.runtime.editing.operations import apply
from padinv.runtime.editing.region import Region, region_of_mask
from padinv.runtime.errors import InputError, MismatchError, OutputError, UsageError
from padinv.runtime.files import parse_json, sha256_bytes, write_bytes
from padinv.runtime.inversion import Inversion, read_arrays, require_same_generator
from padinv.runtime.safetensors_file import DamagedFileError, SafetensorsFile, safetensors_bytes
from padinv.runtime.spec import ModelSpec

FORMAT = "padinv-edit-1"
MAX_NOTES = 1 << 16  # characters of the JSON beside the arrays
MAX_MASK = 4096  # side of a mask


@dataclass(frozen=True, eq=False, kw_only=True)
class Borrowed:
    """What a picture takes from another one: latent codes (style), padding (shape, hair, background), or both.

    Attributes:
        inversion: of the other picture, one image.
        name: what the other picture is called.
        layers: latent codes that are taken, numbered from 0.
        latents: how far those codes go to the other picture's: 0 not at all, 1 all the way.
        padding: the same for the padding.
        resolutions: padded resolutions that take part; 4 includes the constant input.
        mask: [S, S] in [0, 1]: where in the aligned square padding may change; None: everywhere.
    """

    inversion: Inversion
    name: str = ""
    layers: tuple[int, ...] = ()
    latents: float = 1.0
    padding: float = 1.0
    resolutions: tuple[int, ...] = ()
    mask: np.ndarray | None = None

    def apply(self, inversion: Inversion, spec: ModelSpec) -> Inversion:
        """`inversion`, a batch, with what is borrowed.

        Raises:
            MismatchError: another generator. UsageError: a layer or a resolution that does not exist, or a mask that
                leaves nothing to move.
        """
        require_same_generator(inversion.generator_hash, self.inversion.generator_hash, "the borrowed picture")
        borrowed = self.inversion.with_spatial_of(inversion)
        inversion, other = inversion.with_spatial_of(borrowed), borrowed.arrays()
        moved = {name: array.copy() for name, array in inversion.arrays().items()}
        chosen = layer_mask(self.layers, spec.num_layers)
        moved["wp"][:, chosen] += np.float32(self.latents) * (other["wp"] - moved["wp"])[:, chosen]
        if self.padding and self.resolutions:
            for name, weight in self._region(spec).of(moved).items():
                moved[name] += np.float32(self.padding) * weight * (other[name] - moved[name])
        # What is borrowed may come from a photograph, so that the result is not wholly generated any more.
        items = [{key: value for key, value in item.items() if key != "seed"} for item in inversion.items]
        return Inversion.from_arrays(moved, inversion.generator_hash, items)

    def _region(self, spec: ModelSpec) -> Region:
        side = max(*spec.pad_resolutions, *spec.spatial_resolutions)
        mask = np.ones((side, side), np.float32) if self.mask is None else self.mask
        return region_of_mask(mask, spec, self.resolutions)


@dataclass(frozen=True, eq=False, kw_only=True)
class SavedEdit:
    """First what is borrowed, then the directions on top.

    Attributes:
        generator_hash: of the generator it belongs to.
        borrowed: None where nothing is.
        direction: the sum of all directions with their strengths; None where there are none.
        strengths: what the sum is made of, for people.
    """

    generator_hash: str
    borrowed: Borrowed | None = None
    direction: Direction | None = None
    strengths: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, generator_hash: str, borrowed: Borrowed | None, terms: Sequence[Term]) -> SavedEdit:
        """An edit of directions that are not summed up yet.

        Raises:
            MismatchError: directions of different generators.
        """
        direction = combined(terms) if terms else None
        strengths = {term.label: float(term.strength) for term in terms}
        return cls(generator_hash=generator_hash, borrowed=borrowed, direction=direction, strengths=strengths)

    @property
    def changes_nothing(self) -> bool:
        """Whether the result is the plain reconstruction."""
        return self.borrowed is None and self.direction is None

    def apply(self, inversion: Inversion, spec: ModelSpec) -> Inversion:
        """The edit on every image of a batch.

        Raises:
            MismatchError: another generator. UsageError: see `Borrowed.apply`.
        """
        require_same_generator(self.generator_hash, inversion.generator_hash, "the picture")
        if self.borrowed is not None:
            inversion = self.borrowed.apply(inversion, spec)
        return inversion if self.direction is None else apply(inversion, self.direction, "both", 1.0)

    def parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The arrays and the JSON-ready notes that the file holds."""
        arrays: dict[str, np.ndarray] = {}
        notes: dict[str, Any] = {"strengths": dict(self.strengths)}
        if self.direction is not None:
            arrays.update({f"direction.{name}": array for name, array in self.direction.arrays().items()})
        if self.borrowed is not None:
            one = self.borrowed
            arrays.update({f"borrowed.{name}": array for name, array in one.inversion.arrays().items()})
            if one.mask is not None:
                arrays["mask"] = one.mask
            notes["borrowed"] = {
                "name": one.name, "layers": list(one.layers), "latents": one.latents, "padding": one.padding,
                "resolutions": list(one.resolutions),
            }  # fmt: skip
        return arrays, notes

    def save(self, path: Path | str) -> None:
        """Write one `.safetensors` file atomically, float32.

        Raises:
            OutputError: not writable, or values that are not finite.
        """
        arrays, notes = self.parts()
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise OutputError(f"cannot write {path}: the edit holds values that are not finite")
        arrays = arrays or {"empty": np.zeros(1, np.float32)}  # a safetensors file of nothing cannot be read back
        ready = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        metadata = {"format": FORMAT, "generator_hash": self.generator_hash, "notes": json.dumps(notes)}
        write_bytes(path, safetensors_bytes(ready, metadata))

    @classmethod
    def load(cls, path: Path | str) -> SavedEdit:
        """Read a file written by `save`, checking every field.

        Raises:
            InputError: missing, not a saved edit, or damaged.
        """
        path = Path(path)
        arrays, metadata = read_arrays(path, "saved edit")
        if metadata.get("format") != FORMAT:
            raise InputError(f"{path} is a safetensors file, but not a saved edit; save one in: padinv studio")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise InputError(f"{path} is not a usable edit: it holds values that are not finite")
        text = metadata.get("notes", "{}")
        try:
            notes = parse_json(text) if len(text) <= MAX_NOTES else None
            return cls._of_parts(arrays, notes, metadata.get("generator_hash", "")[:128])
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError, MismatchError) as error:
            raise InputError(f"{path} is not a usable edit: its parts do not belong together") from error

    @classmethod
    def _of_parts(cls, arrays: dict[str, np.ndarray], notes: Any, generator_hash: str) -> SavedEdit:
        moved, taken = _under(arrays, "direction."), _under(arrays, "borrowed.")
        direction = borrowed = None
        if moved:
            direction = Direction.from_arrays(moved, generator_hash, {"space": "both"})
        if taken:
            about = notes["borrowed"]
            borrowed = Borrowed(
                inversion=Inversion.from_arrays(taken, generator_hash),
                name=str(about["name"])[:200],
                layers=tuple(_whole(layer) for layer in about["layers"]),
                latents=_number(about["latents"]),
                padding=_number(about["padding"]),
                resolutions=tuple(_whole(r) for r in about["resolutions"]),
                mask=_checked_mask(arrays.get("mask")),
            )
            if len(borrowed.inversion) != 1:
                raise ValueError("a borrowed picture is one picture")
        strengths = {str(name)[:200]: _number(value) for name, value in notes["strengths"].items()}
        return cls(generator_hash=generator_hash, borrowed=borrowed, direction=direction, strengths=strengths)

    def check(self, generator_hash: str, spec: ModelSpec, name: str) -> None:
        """Refuse an edit that was made with another model, before any picture is read.

        Raises:
            MismatchError: the sentence names both generators.
        """
        require_same_generator(generator_hash, self.generator_hash, name)
        for part in (self.direction, None if self.borrowed is None else self.borrowed.inversion[0]):
            if part is None:
                continue
            lead = int(isinstance(part, Inversion))
            if not spec.accepts({key: array.shape[lead:] for key, array in part.arrays().items()}):
                raise MismatchError(f"{name} has other shapes than this model's codes, so it was not applied")
        if self.borrowed is not None:
            try:
                layer_mask(self.borrowed.layers, spec.num_layers)
                if self.borrowed.padding and self.borrowed.resolutions:
                    self.borrowed._region(spec)
            except UsageError as error:
                raise MismatchError(f"{name} does not fit this model: {error}") from error


def is_saved_edit(path: Path | str) -> bool:
    """Whether a file says that it is a saved edit; its content is checked when it is loaded."""
    try:
        with SafetensorsFile.open(path) as file:
            return file.metadata.get("format") == FORMAT
    except (DamagedFileError, OSError):
        return False


def _under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a whole number")
    return value


def _checked_mask(mask: np.ndarray | None) -> np.ndarray | None:
    if mask is None:
        return None
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1] or not 1 <= mask.shape[0] <= MAX_MASK:
        raise ValueError("a mask is square")
    if mask.min() < 0 or mask.max() > 1:
        raise ValueError("a mask lies between 0 and 1")
    return mask


@dataclass(frozen=True)
class _Result:
    """The one picture that a saved edit makes, as sheets name it."""

    name: str
    label: str


@dataclass(frozen=True)
class SavedEditChange:
    """A saved edit as `padinv edit` runs it on batches of images.

    Raises:
        MismatchError: the edit belongs to another generator.
    """

    edit: SavedEdit
    model_spec: ModelSpec
    label: str
    plan: tuple[_Result, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", (_Result("", self.label),))

    @classmethod
    def load(cls, path: Path | str, generator_hash: str, spec: ModelSpec) -> SavedEditChange:
        """Read a saved edit for a model.

        Raises:
            InputError: not a saved edit. MismatchError: of another generator.
        """
        edit = SavedEdit.load(path)
        edit.check(generator_hash, spec, str(path))
        return cls(edit, spec, Path(path).name)

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of what `__call__` gives."""
        return ("",)

    def __call__(self, inversion: Inversion) -> dict[str, Inversion]:
        """A batch -> the edited batch."""
        return {"": self.edit.apply(inversion, self.model_spec)}

    def recipe(self) -> dict[str, Any]:
        """What decides the results besides the images, JSON-ready."""
        arrays, notes = self.edit.parts()
        values = b"".join(name.encode() + np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))
        return {"saved_edit": sha256_bytes(values + json.dumps(notes, sort_keys=True).encode())}
