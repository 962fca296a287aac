"""Named directions: those that a bundle ships in its folder `directions/`, and what a person types to apply some."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from padinv.runtime.bundle import Bundle
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.operations import moves
from padinv.runtime.errors import InputError, MismatchError, UsageError
from padinv.runtime.hub.address import DIRECTION_NAME
from padinv.runtime.hub.directions import find_direction
from padinv.runtime.manifest import DIRECTION_SUFFIX, DIRECTIONS_FOLDER, direction_names

FOLDER = DIRECTIONS_FOLDER
SUFFIX = DIRECTION_SUFFIX
MAX_STRENGTHS = 101
MAX_TERMS = 32

_TERM = re.compile(r"(?P<what>.+?)(?:=(?P<strength>[^=,/\\]*))?\Z", re.DOTALL)


@dataclass(frozen=True)
class Term:
    """One direction of an edit, and how far it goes at an overall strength of 1."""

    label: str
    direction: Direction
    strength: float = 1.0


def check_name(name: str) -> str:
    """A direction's name: small letters, digits and hyphens, so that it can be typed and be a file's name.

    Raises:
        UsageError: another name.
    """
    if not DIRECTION_NAME.match(name):
        raise UsageError(
            f"{name[:60]!r} is not a valid name for a direction; use small letters, digits and hyphens, like open-mouth"
        )
    return name


def gallery_names(bundle: Bundle) -> list[str]:
    """Names of the directions that a bundle ships, in alphabetical order."""
    return direction_names(bundle.files)


def gallery_direction(bundle: Bundle, name: str) -> Direction:
    """A direction that a bundle ships.

    Raises:
        InputError: no such direction; the sentence lists those there are. BundleError: changed since it was written.
    """
    relative = f"{FOLDER}/{name}{SUFFIX}"
    if not bundle.has(relative):
        names = gallery_names(bundle)
        there = f"it has {', '.join(names)}" if names else "it has none; make some with: padinv directions"
        raise InputError(f"the model {bundle.name} has no direction called {name[:60]!r}; {there}")
    return Direction.load(bundle.path(relative))


def gallery_directions(bundle: Bundle) -> dict[str, Direction]:
    """All directions that a bundle ships, by name, in alphabetical order.

    Raises:
        BundleError, InputError: a file that is damaged, or changed since it was written.
    """
    return {name: gallery_direction(bundle, name) for name in gallery_names(bundle)}


def load_direction(bundle: Bundle, what: str) -> Direction:
    """A direction by its name in the bundle, by the path of its file, or by an address such as hf:USER/NAME/smile.

    Raises:
        InputError: none of these. MismatchError: a file made for another generator. HubError: it cannot be fetched.
    """
    is_name = DIRECTION_NAME.match(what) is not None
    if not is_name or (os.path.isfile(what) and not bundle.has(f"{FOLDER}/{what}{SUFFIX}")):
        direction = Direction.load(find_direction(what))
    else:
        direction = gallery_direction(bundle, what)
    direction.require_generator(bundle.generator_hash, what)
    if not bundle.spec.accepts({name: array.shape for name, array in direction.arrays().items()}):
        raise MismatchError(f"{what} has other shapes than this model's latents and padding, so it was not applied")
    return direction


def parse_edit(text: str, bundle: Bundle) -> list[Term]:
    """'smile', 'smile=0.8,age=-0.3', 'my/file.safetensors=2' or 'hf:USER/NAME/smile' -> directions with strengths.

    Raises:
        UsageError: not of this form. InputError, MismatchError: a direction that cannot be used.
    """
    parts = [text] if os.path.isfile(text) else [part.strip() for part in text.split(",")]
    if len(parts) > MAX_TERMS:
        raise UsageError(f"{len(parts)} directions were given; at most {MAX_TERMS} can be combined")
    terms = []
    for part in parts:
        match = _TERM.match(part)
        if not match:
            raise UsageError(f"{text!r} does not name directions; write them like smile, or smile=0.8,age=-0.3")
        what, strength = (part, None) if os.path.isfile(part) else (match["what"], match["strength"])
        direction = load_direction(bundle, what)
        label = direction.name or Path(what).stem
        terms.append(Term(label, direction, 1.0 if strength is None else _number(strength, part)))
    labels = [term.label for term in terms]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UsageError(f"{', '.join(twice)} is given more than once; add the strengths up instead")
    return terms


def parse_strengths(text: str) -> list[float]:
    """'0.8', '-1,0,1' or '-1:1:5' (first, last and count) -> strengths.

    Raises:
        UsageError: not of these forms, or more than `MAX_STRENGTHS`.
    """
    if ":" not in text:
        return [_number(part, text) for part in text.split(",")]
    parts = text.split(":")
    if len(parts) != 3 or not parts[2].strip().isdigit() or not 2 <= int(parts[2]) <= MAX_STRENGTHS:
        raise UsageError(
            f"{text!r} is not a range of strengths; write FIRST:LAST:COUNT like -1:1:5, with a count of 2 to "
            f"{MAX_STRENGTHS}"
        )
    return [float(value) for value in np.linspace(_number(parts[0], text), _number(parts[1], text), int(parts[2]))]


def combined(terms: Sequence[Term]) -> Direction:
    """The sum of several directions, each times its strength and in its own space, as one direction for `apply`.

    Raises:
        UsageError: none were given. MismatchError: directions of different generators or shapes.
    """
    if not terms:
        raise UsageError("give at least one direction")
    first = terms[0].direction
    total = {name: np.zeros_like(array) for name, array in first.arrays().items()}
    for term in terms:
        total.update({f"spatial_{r}": np.zeros_like(code) for r, code in term.direction.spatial.items()})
    for term in terms:
        term.direction.require_generator(first.generator_hash, term.label)
        space = term.direction.space or "both"
        for name, array in term.direction.arrays().items():
            if name not in total or total[name].shape != array.shape:
                raise MismatchError(f"{term.label} and {terms[0].label} differ in the shape of {name}")
            if moves(name, space):
                total[name] += np.float32(term.strength) * array
    info = {"name": "+".join(term.label for term in terms), "space": "both"}
    return Direction.from_arrays(total, first.generator_hash, info)


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UsageError(f"{text[:40]!r} in {whole[:80]!r} is not a strength; strengths are numbers like 0.8 or -1")
    return value
