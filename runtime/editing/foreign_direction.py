"""Directions that other projects made, as arrays: InterFaceGAN, HiGAN, GANSpace, LowRankGAN, e4e; in Z, W or W+.

Files are read without running anything in them. NumPy files with pickled objects are refused; torch files go through
`padinv.checkpoints.direction_arrays`. A direction belongs to one generator, which such files do not name, so that the
person who imports one has to.
"""

from __future__ import annotations

import io
import math
import os
import tokenize
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from padinv.runtime.bundle import Bundle
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.sefa import SAMPLES, code_spread, latent_direction, sampled_codes
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.files import open_regular
from padinv.runtime.model import Model

ForeignSpace = Literal["z", "w", "w+"]
SPACES: tuple[str, ...] = get_args(ForeignSpace)
Unit = Literal["std", "raw"]
MAX_BYTES = 256 << 20  # of a file, and of what an archive unpacks to
MAX_MEMBERS = 64
MAX_HEADER = 10_000
MIN_HASH = 8  # digits of a generator's hash that name it

# What NumPy's parser of a header raises where the header is damaged. It evaluates literals only, and runs nothing.
_DAMAGE = (
    ValueError, KeyError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError, tokenize.TokenError
)  # fmt: skip

# Where the projects keep the array, in the order of preference.
KEYS = ("lat_comp", "comp", "components", "boundary", "direction", "directions", "latent", "w", "wp")


def read_numpy(path: Path | str) -> dict[str, np.ndarray]:
    """The numeric arrays of a `.npy` file (under the name '') or of a `.npz` archive, bounded in size.

    Raises:
        InputError: missing, too large, damaged, or with pickled objects; nothing of it is run.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB, so it was not read as a direction")
        if data[:2] == b"PK":
            return _archive(data, path)
        return {"": _array(data, path)}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; no direction was imported") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} is a damaged archive ({str(error)[:100]}); copy or download it again") from error


def _archive(data: bytes, path: Path) -> dict[str, np.ndarray]:
    arrays, left = {}, MAX_BYTES
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise InputError(f"{path} has {len(members)} members, which is not a file of directions")
        for member in members:
            if not member.filename.endswith(".npy"):
                raise InputError(f"{path} is a ZIP archive, but not one of NumPy arrays (.npz)")
            with archive.open(member) as file:
                inner = file.read(left + 1)
            left -= len(inner)
            if left < 0:
                raise InputError(f"{path} unpacks to more than {MAX_BYTES >> 20} MiB, so it was not read")
            # GANSpace's archives keep some Python objects beside the arrays that are needed; those stay unread.
            if not _is_object(inner):
                arrays[member.filename.removesuffix(".npy")] = _array(inner, path)
    if not arrays:
        raise InputError(f"{path} holds no array of numbers; nothing in it was run")
    return arrays


def _header(data: bytes) -> tuple[Any, np.dtype, int]:
    """(shape and order, dtype, where the values begin) of a `.npy` file."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran, dtype = read(file, max_header_size=MAX_HEADER)
    return (shape, fortran), dtype, file.tell()


def _is_object(data: bytes) -> bool:
    try:
        return bool(_header(data)[1].hasobject)
    except _DAMAGE:
        return False  # reading it will say what is wrong


def _array(data: bytes, path: Path) -> np.ndarray:
    try:
        (shape, fortran), dtype, start = _header(data)
    except _DAMAGE as error:
        raise InputError(f"{path} is not a NumPy file (.npy or .npz) of a direction, or it is damaged") from error
    if dtype.hasobject:
        raise InputError(
            f"{path} holds pickled Python objects, which could run code, so it was not read; save the array alone with "
            "numpy.save"
        )
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise InputError(f"{path} holds values of type {dtype}, not numbers; a direction is an array of numbers")
    count = math.prod(shape) if len(shape) <= 8 and min(shape, default=1) > 0 else -1
    if count < 1 or count * dtype.itemsize != len(data) - start:
        raise InputError(f"{path} is damaged: its header promises other contents than the file holds")
    values = np.frombuffer(data, dtype, count, start)
    return values.reshape(shape, order="F" if fortran else "C")


def choose_vector(
    arrays: Mapping[str, np.ndarray],
    path: Path | str,
    *,
    key: str | None = None,
    component: int | None = None,
    space: ForeignSpace = "w",
) -> np.ndarray:
    """The one direction that is meant, out of what a file holds.

    Args:
        key: which array; None takes the only one, or the first of `KEYS`.
        component: which row of an array of several directions, from 0.
        space: 'w+' directions have two axes, the others one.

    Returns:
        float64 [d], or [layers, d] for 'w+'.

    Raises:
        UsageError: the file holds several arrays or directions, and which one is not said. InputError: wrong shape, or
            values that are not finite.
    """
    name = key if key is not None else next((k for k in KEYS if k in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name is None or name not in arrays:
        raise UsageError(f"{path} holds the arrays {', '.join(sorted(arrays))[:200]}; choose one with --key")
    array = np.asarray(arrays[name], np.float64)
    axes = 2 if space == "w+" else 1
    while array.ndim > axes and 1 in array.shape[:-1]:  # [1, d] and GANSpace's [k, 1, d]
        array = np.squeeze(array, axis=array.shape[:-1].index(1))
    if array.ndim == axes + 1:
        if component is None or not 0 <= component < len(array):
            raise UsageError(
                f"{path} holds {len(array)} directions; choose one with --component 0 to {len(array) - 1}, or "
                "--space w+ if they are the layers of one"
            )
        array = array[component]
    elif component is not None:
        raise UsageError(f"{path} holds a single direction, so there is no --component to choose")
    if array.ndim != axes or array.size == 0:
        raise InputError(f"{path} has shape {list(arrays[name].shape)}, which is not a direction in {space.upper()}")
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds values that are not finite, so it was not imported")
    if not array.any():
        raise InputError(f"{path} is zero everywhere, so it points nowhere and was not imported")
    return array


def names_generator(made_for: str, bundle: Bundle) -> bool:
    """Whether a person's words name a bundle's generator: its name, its hash (`MIN_HASH` digits or more), or 'this'."""
    text = made_for.strip().lower()
    by_hash = len(text) >= MIN_HASH and bundle.generator_hash.lower().startswith(text)
    return text in ("this", bundle.name.lower()) or by_hash


def import_direction(
    vector: np.ndarray,
    model: Model,
    *,
    made_for: str,
    space: ForeignSpace = "w",
    unit: Unit = "std",
    layers: Sequence[int] | None = None,
    convert: bool = False,
    what: str = "the direction",
) -> Direction:
    """A direction of another project as one of this model.

    Args:
        vector: [z_dim] in Z, [w_dim] in W, [layers, w_dim] in W+.
        made_for: the generator that it was made for; see `names_generator`.
        space: see `vector`. A direction in Z becomes the mean change of W, one standard deviation of Z to each side.
        unit: 'std': a strength of 1 is one standard deviation of the model's own codes; 'raw': the vector as it is.
        layers: latent codes that move; None: all.
        convert: also take a direction of another generator, whose latent space must have as many dimensions; its
            layers are assigned in proportion.
        what: the file, for messages.

    Raises:
        MismatchError: another generator without `convert`, or other dimensions.
    """
    bundle, spec = model.bundle, model.spec
    same = names_generator(made_for, bundle)
    if not same and not convert:
        raise MismatchError(
            f"{what} was made for {made_for[:60]}, and this model's generator is {bundle.name} "
            f"({bundle.generator_hash[:12]}); a direction means nothing in another generator, so it was not imported; "
            "if their latent spaces are the same (a fine-tuned generator), allow it with --convert"
        )
    width = spec.z_dim if space == "z" else spec.w_dim
    if vector.shape[-1] != width:
        raise MismatchError(
            f"{what} has {vector.shape[-1]} dimensions, and this model's {space[0].upper()} has {width}, so it was not "
            "imported"
        )
    if space == "w+" and len(vector) != spec.num_layers:
        if same or not convert:
            raise MismatchError(
                f"{what} has {len(vector)} layers, and this model has {spec.num_layers}, so it was not imported"
            )
        vector = vector[np.rint(np.linspace(0, len(vector) - 1, spec.num_layers)).astype(int)]
    if space == "z":
        vector = _through_mapping(model, vector, raw=unit == "raw")
    if unit == "std":
        vector = in_standard_deviations(model, vector)
    direction = latent_direction(spec, vector, bundle.generator_hash, layers)
    direction.info |= {
        "unit": f"one standard deviation of {SAMPLES} sampled codes" if unit == "std" else "the file's own length",
        "origin": {"method": "imported", "made_for": made_for[:200], "converted": not same, "from_space": space},
    }
    return direction


def in_standard_deviations(model: Model, vector: np.ndarray) -> np.ndarray:
    """A vector [w_dim] or [L, w_dim] as long as one standard deviation of sampled codes along it.

    Of several layers, each is measured along its own row, and one factor serves all: layers keep their proportions.
    """
    codes = sampled_codes(model)
    rows = np.atleast_2d(vector)
    rows = rows[np.linalg.norm(rows, axis=1) > 0]
    spread = np.sqrt(np.mean([code_spread(codes, row) ** 2 for row in rows]))
    result: np.ndarray = vector * (spread / np.sqrt(np.mean(np.square(rows).sum(axis=1))))
    return result


def _through_mapping(model: Model, vector: np.ndarray, *, raw: bool) -> np.ndarray:
    """The mean change of w when z moves along `vector`, by its own length (`raw`) or by one standard deviation."""
    step = vector if raw else vector / np.linalg.norm(vector)
    z = np.random.RandomState(0).randn(SAMPLES, len(vector))
    session = model.session("mapping")
    up, down = (session.run({"z": (z + sign * step).astype(np.float32)})["w"] for sign in (1, -1))
    result: np.ndarray = (up.astype(np.float64) - down).mean(axis=0) / 2
    return result


def is_torch_file(path: Path | str) -> bool:
    """Whether a file's name says that torch wrote it."""
    return os.path.splitext(path)[1].lower() in (".pt", ".pth", ".pkl", ".bin")
