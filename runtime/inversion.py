"""The inversion of a batch of images: latent codes, constant input and padding rings, and the file that keeps them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from padinv.runtime.errors import InputError, MismatchError, OutputError, UsageError
from padinv.runtime.files import open_regular, parse_json, write_bytes
from padinv.runtime.foreign_files import HEAD_BYTES, foreign_file
from padinv.runtime.safetensors_file import DamagedFileError, SafetensorsFile, all_finite, safetensors_bytes
from padinv.runtime.spec import MAX_RESOLUTION, ring_length

if TYPE_CHECKING:
    from PIL.Image import Image

    from padinv.runtime.origin import Generates, Origin

FORMAT = "padinv-inversion-1"
MAX_FILE_BYTES = 8 << 30
MAX_AXIS = 1 << 20  # images in one file; far above what fits MAX_FILE_BYTES for any real model
MAX_WIDTH = 1 << 14  # channels or w_dim
MAX_LAYERS = 64
MAX_SOURCE_NAME = 4096

# What to do with a file of another program that holds latent codes or a direction.
_HINTS = {
    "inversion": "latent codes alone are not an inversion, so invert the picture itself with: padinv invert PICTURE",
    "direction": "make a direction of padinv's own with: padinv custom-edit --save",
}

_PAD = re.compile(r"pad_([1-9][0-9]{0,3})\Z")
_SPATIAL = re.compile(r"spatial_([1-9][0-9]{0,3})\Z")
_HASH = re.compile(r"[0-9a-zA-Z:_.-]{0,128}\Z")
Dtype = Literal["float16", "float32"]
_DTYPES = {"float16": np.float16, "float32": np.float32}


@dataclass(eq=False)
class Inversion:
    """Inversions of N images by one generator: plain float32 arrays, edited with plain numpy.

    Attributes:
        wp: latent codes [N, L, w_dim].
        const: what replaces the generator's learned constant [N, C_4, 4, 4].
        rings: resolution r -> padding coefficients [N, C, 4r+4]: top row (r+2, left to right), bottom row (r+2), left
            column (r, top to bottom), right column (r). Paper section 3.2.
        generator_hash: hash of the canonical weights of the generator these belong to.
        items: one dictionary an image. Known keys: `source` (name), `size` [w, h] of the upright source in pixels,
            `transform` (2 x 3, source pixels -> fractions of the aligned square; or None), `fit` ('crop' or 'pad') and
            `box` [left, top, right, bottom], the square of the source that was resized to the model's input.
        origin: the model and the photographs, for `images` and `paste_back`; None after loading: files do not keep it.
        spatial: resolution r -> spatial code [N, C+3, r, r]: what is added to the padded convolution's input inside the
            ring, and the colours of the reconstruction it belongs to (beyond the paper; `padinv.runtime.spatial`). A
            missing resolution means zero, its neutral value.

    Raises:
        MismatchError: shapes that do not belong together.
    """

    wp: np.ndarray
    const: np.ndarray
    rings: dict[int, np.ndarray]
    generator_hash: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    origin: Origin | None = field(default=None, repr=False)
    spatial: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wp = np.asarray(self.wp, dtype=np.float32)
        self.const = np.asarray(self.const, dtype=np.float32)
        self.rings = {int(r): np.asarray(ring, dtype=np.float32) for r, ring in sorted(self.rings.items())}
        self.spatial = {int(r): np.asarray(code, dtype=np.float32) for r, code in sorted(self.spatial.items())}
        problem = _shape_problem({name: array.shape for name, array in self.arrays().items()})
        if problem:
            raise MismatchError(f"these arrays are not one inversion: {problem}")
        if not self.items:
            self.items = [{} for _ in range(len(self))]
        if len(self.items) != len(self):
            raise MismatchError(f"an inversion of {len(self)} images cannot have {len(self.items)} items")
        if self.origin is not None and len(self.origin.photographs) != len(self):
            raise MismatchError(
                f"an inversion of {len(self)} images cannot have {len(self.origin.photographs)} photographs"
            )

    def __len__(self) -> int:
        return int(self.wp.shape[0])

    @property
    def is_generated(self) -> bool:
        """Whether all images were drawn from seeds, so that no photograph is in them."""
        return all("seed" in item for item in self.items)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Inversion:
        """A batch of one for an integer, a batch for a slice or a list of integers. Slices share memory."""
        n = len(self)
        if isinstance(index, (int, np.integer)):
            if not -n <= index < n:
                raise IndexError(f"image {index} of an inversion of {n}")
            start = int(index) % n
            index = slice(start, start + 1)
        if isinstance(index, slice):
            items = self.items[index]
        else:
            rows = np.asarray(index)
            if rows.dtype == bool:
                rows = np.flatnonzero(rows)
            index = rows.astype(np.int64)
            items = [self.items[int(i)] for i in index]
        return Inversion(
            self.wp[index],
            self.const[index],
            {r: ring[index] for r, ring in self.rings.items()},
            self.generator_hash,
            [dict(item) for item in items],
            None if self.origin is None else self.origin.take(np.arange(n)[index].tolist()),
            {r: code[index] for r, code in self.spatial.items()},
        )

    def __iter__(self) -> Iterator[Inversion]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        rings = ", ".join(map(str, self.rings)) or "none"
        count = "1 image" if len(self) == 1 else f"{len(self)} images"
        spatial = f", spatial code at {', '.join(map(str, self.spatial))}" if self.spatial else ""
        return f"Inversion({count}, wp {list(self.wp.shape[1:])}, rings at {rings}{spatial})"

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: the first images side by side."""
        from padinv.runtime.origin import preview

        return preview(self)

    def images(self, *, model: Generates | None = None) -> list[Image]:
        """The images that the generator makes of these inversions, as Pillow images of mode RGB, R x R pixels each.

        Args:
            model: for an inversion that was loaded from a file; otherwise the model that made it is used.

        Raises:
            UsageError: no model is known. MismatchError: a model of another generator.
        """
        from padinv.runtime.origin import render

        return render(self, model)

    def paste_back(self, photo: Any = None, *, model: Generates | None = None, feather: float | None = None) -> Image:
        """The generated image in the photograph it was cut out of; for an inversion of one image.

        Example:
            padinv.load().invert("portrait.jpg").paste_back().save("result.png")

        Args:
            photo: the photograph: path, Pillow image, uint8 array or tensor. None: the one that was inverted, read
                again if it was a file.
            model: see `images`.
            feather: width of the seam in fractions of the square's side, above 0 and up to 0.5; None: 0.12.

        Returns:
            a Pillow image of mode RGB with the photograph's size.

        Raises:
            UsageError: several images, or no known photograph or model.
            InputError: the photograph cannot be read or has another size, or the inversion does not say where it was
                cut out.
        """
        from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER
        from padinv.runtime.origin import pasted

        return pasted(self, photo, model=model, feather=DEFAULT_FEATHER if feather is None else feather)

    def copy(self) -> Inversion:
        """A deep copy: nothing is shared with this one."""
        rings = {r: ring.copy() for r, ring in self.rings.items()}
        return Inversion(
            self.wp.copy(),
            self.const.copy(),
            rings,
            self.generator_hash,
            json.loads(json.dumps(self.items)),
            self.origin,
            {r: code.copy() for r, code in self.spatial.items()},
        )

    def without_spatial(self) -> Inversion:
        """The same latents and padding with the neutral spatial code. Arrays are shared."""
        return replace(self, items=[dict(item) for item in self.items], spatial={})

    def with_spatial_of(self, other: Inversion) -> Inversion:
        """This inversion with zeros for each spatial code that only `other` has, so that both hold the same arrays."""
        missing = {r: code.shape[1:] for r, code in other.spatial.items() if r not in self.spatial}
        if not missing:
            return self
        zeros = {r: np.zeros((len(self), *shape), np.float32) for r, shape in missing.items()}
        return replace(self, spatial={**self.spatial, **zeros})

    @classmethod
    def concat(cls, parts: Sequence[Inversion]) -> Inversion:
        """One batch out of several of the same generator.

        Raises:
            UsageError: no parts. MismatchError: parts of different generators or shapes.
        """
        if not parts:
            raise UsageError("nothing to concatenate: give at least one inversion")
        fullest = parts[0]
        for part in parts[1:]:
            fullest = fullest.with_spatial_of(part)
        first, *others = parts = [part.with_spatial_of(fullest) for part in parts]
        for part in others:
            require_same_generator(first.generator_hash, part.generator_hash)
            for name, array in first.arrays().items():
                other = part.arrays().get(name)
                if other is None or other.shape[1:] != array.shape[1:] or set(part.rings) != set(first.rings):
                    raise MismatchError(f"inversions of different models cannot be joined: they differ in {name}")
        return cls(
            np.concatenate([part.wp for part in parts]),
            np.concatenate([part.const for part in parts]),
            {r: np.concatenate([part.rings[r] for part in parts]) for r in first.rings},
            first.generator_hash,
            [dict(item) for part in parts for item in part.items],
            _joined_origins(parts),
            {r: np.concatenate([part.spatial[r] for part in parts]) for r in first.spatial},
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Graph name -> array: `wp`, `const`, `pad_4`, `pad_8`, ..., `spatial_r` where there is one; not copies."""
        named = {"wp": self.wp, "const": self.const}
        named.update({f"pad_{r}": ring for r, ring in self.rings.items()})
        named.update({f"spatial_{r}": code for r, code in self.spatial.items()})
        return named

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        generator_hash: str = "",
        items: list[dict[str, Any]] | None = None,
        origin: Origin | None = None,
    ) -> Inversion:
        """The inverse of `arrays`.

        Raises:
            MismatchError: a name that is none of `wp`, `const`, `pad_r`, `spatial_r`; a missing one; shapes that do not
                fit.
        """
        rings, spatial = {}, {}
        for name, array in arrays.items():
            if match := _PAD.match(name):
                rings[int(match[1])] = array
            elif match := _SPATIAL.match(name):
                spatial[int(match[1])] = array
            elif name not in ("wp", "const"):
                raise MismatchError(f"{name!r} is not part of an inversion")
        if missing := [name for name in ("wp", "const") if name not in arrays]:
            raise MismatchError(f"an inversion needs {' and '.join(missing)}")
        return cls(arrays["wp"], arrays["const"], rings, generator_hash, items or [], origin, spatial)

    def save(self, path: Path | str, dtype: str = "float16") -> None:
        """Write one `.safetensors` file atomically.

        Args:
            dtype: 'float16' (half the size; relative error up to 2^-11) or 'float32' (exact).

        Raises:
            UsageError: another `dtype`. OutputError: not writable, or values that are not finite in `dtype`.
        """
        try:
            data = self.to_bytes(dtype)
        except OutputError as error:
            raise OutputError(f"cannot write {path}: {error}") from error
        write_bytes(path, data)

    def to_bytes(self, dtype: str = "float16", metadata: Mapping[str, str] | None = None) -> bytes:
        """What `save` writes, always the same for the same inversion; with more metadata if given.

        Raises:
            UsageError: another `dtype`. OutputError: values that are not finite in `dtype`.
        """
        if dtype not in _DTYPES:
            raise UsageError(f"dtype must be float16 or float32, not {dtype!r}")
        arrays = {}
        for name, array in self.arrays().items():
            with np.errstate(over="ignore"):
                stored = np.ascontiguousarray(array, dtype=_DTYPES[dtype])
            if not np.isfinite(stored).all():
                hint = "; save with dtype='float32'" if np.isfinite(array).all() else ""
                raise OutputError(f"{name} holds values that are not finite in {dtype}{hint}")
            arrays[name] = stored
        try:
            items = json.dumps(self.items, ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise OutputError(f"its items hold a value that JSON does not know: {error}") from error
        own = {"format": FORMAT, "generator_hash": self.generator_hash, "items": items}
        return safetensors_bytes(arrays, {**(metadata or {}), **own})

    @classmethod
    def load(cls, path: Path | str) -> Inversion:
        """Read a file written by `save`, checking every field.

        Raises:
            InputError: the file is missing, not an inversion, damaged, or holds anything unexpected.
        """
        path = Path(path)
        arrays, metadata = read_arrays(path, "inversion")
        if metadata.get("format") != FORMAT:
            raise InputError(f"{path} is a safetensors file, but not an inversion; make one with: padinv invert")
        if problem := _shape_problem({name: array.shape for name, array in arrays.items()}):
            raise InputError(f"{path} is not a usable inversion: {problem}")
        for name, array in arrays.items():
            if not all_finite(array):
                raise InputError(f"{path} is not a usable inversion: {name} holds values that are not finite")
        generator_hash = metadata.get("generator_hash", "")
        if not _HASH.match(generator_hash):
            raise InputError(f"{path} is not a usable inversion: its generator hash is malformed")
        items = _checked_items(metadata.get("items", "[]"), len(arrays["wp"]), path)
        return cls.from_arrays(arrays, generator_hash, items)


def _joined_origins(parts: Sequence[Inversion]) -> Origin | None:
    if any(part.origin is None for part in parts):
        return None
    from padinv.runtime.origin import joined

    return joined([part.origin for part in parts])


def require_same_generator(expected: str, found: str, what: str = "the inversion") -> None:
    """Refuse to mix two generators.

    Raises:
        MismatchError: the hashes differ; the sentence names both.
    """
    if expected != found:
        raise MismatchError(
            f"{what} belongs to generator {found[:12] or '(none)'}, not to generator {expected[:12] or '(none)'}; "
            "invert the picture again with this model"
        )


def _shape_problem(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Why arrays of these shapes are not one inversion, or None."""
    for name in ("wp", "const"):
        if name not in shapes:
            return f"{name} is missing"
    wp, const = shapes["wp"], shapes["const"]
    if len(wp) != 3 or not (1 <= wp[1] <= MAX_LAYERS and 1 <= wp[2] <= MAX_WIDTH and wp[0] <= MAX_AXIS):
        return f"wp has shape {list(wp)}, not [N, layers, w_dim]"
    if len(const) != 4 or const[2:] != (4, 4) or not 1 <= const[1] <= MAX_WIDTH or const[0] != wp[0]:
        return f"const has shape {list(const)}, not [{wp[0]}, channels, 4, 4]"
    for name, shape in shapes.items():
        if name in ("wp", "const"):
            continue
        match, code = _PAD.match(name), _SPATIAL.match(name)
        found = match or code
        if not found:
            return f"{name!r} is not part of an inversion"
        r = int(found[1])
        if not 4 <= r <= MAX_RESOLUTION or r & (r - 1):
            return f"{name} is for no resolution of a generator"
        if code:
            if len(shape) != 4 or shape[0] != wp[0] or shape[2:] != (r, r) or not 1 <= shape[1] <= MAX_WIDTH:
                return f"{name} has shape {list(shape)}, not [{wp[0]}, channels, {r}, {r}]"
            continue
        if len(shape) != 3 or shape[0] != wp[0] or shape[2] != ring_length(r) or not 1 <= shape[1] <= MAX_WIDTH:
            return f"{name} has shape {list(shape)}, not [{wp[0]}, channels, {ring_length(r)}]"
    return None


def read_arrays(path: Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays, as float32, and the metadata of a safetensors file from outside; `kind` stands in messages.

    Raises:
        InputError: missing, not a regular file, too large, damaged, or with arrays that are neither F16 nor F32.
    """
    try:
        with SafetensorsFile.open(path) as file:
            if file.size > MAX_FILE_BYTES:
                raise InputError(f"{path} is larger than {MAX_FILE_BYTES >> 30} GiB, so it was not read")
            if len(file.entries) > MAX_LAYERS:
                raise InputError(f"{path} is not {_article(kind)}: it holds {len(file.entries)} arrays")
            for name, entry in file.entries.items():
                if entry.dtype not in ("F16", "F32"):
                    raise InputError(
                        f"{path} is not {_article(kind)}: {name[:60]!r} has type {entry.dtype}, not F16 or F32"
                    )
            return {name: file.read_float32(name) for name in file.entries}, dict(file.metadata)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist, so no {kind} was read") from error
    except DamagedFileError as error:
        hint = f"; {_HINTS[kind]}" if kind in _HINTS and _is_foreign(path) else ""
        raise InputError(f"{path} cannot be read as {_article(kind)}: it {error}{hint}") from error
    except (OSError, MemoryError) as error:
        raise InputError(f"{path} cannot be read as {_article(kind)}: {_brief(error)}") from error


def _is_foreign(path: Path) -> bool:
    """Whether a file is of another program's kind that holds latent codes or directions."""
    with open_regular(path) as file:
        return (foreign_file(file.read(HEAD_BYTES)) or "").startswith(
            ("is a NumPy", "is an archive of NumPy", "is a torch", "is a pickle")
        )


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _brief(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _checked_items(text: str, count: int, path: Path) -> list[dict[str, Any]]:
    """The `items` metadata, with the keys this version knows checked; unknown keys are kept as they are."""
    try:
        items = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} is not a usable inversion: its list of images is not JSON") from error
    if not isinstance(items, list) or len(items) != count or not all(isinstance(item, dict) for item in items):
        raise InputError(f"{path} is not a usable inversion: its list of images does not match its {count} images")
    for item in items:
        if problem := _item_problem(item):
            raise InputError(f"{path} is not a usable inversion: {problem}")
    return items


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in value)
    )


def _item_problem(item: dict[str, Any]) -> str | None:
    source = item.get("source", "")
    if not isinstance(source, str) or len(source) > MAX_SOURCE_NAME:
        return "an image's source is not a name"
    size = item.get("size")
    if size is not None and not (_numbers(size, 2) and all(isinstance(v, int) and 1 <= v <= 1 << 24 for v in size)):
        return f"an image's size is {str(size)[:40]}, not [width, height]"
    box = item.get("box")
    if box is not None and not _numbers(box, 4):
        return "an image's box is not [left, top, right, bottom]"
    transform = item.get("transform")
    if transform is not None and not (
        isinstance(transform, list) and len(transform) == 2 and all(_numbers(row, 3) for row in transform)
    ):
        return "an image's transform is not a 2 x 3 matrix"
    if item.get("fit", "crop") not in ("crop", "pad"):
        return "an image's fit is neither crop nor pad"
    return None
