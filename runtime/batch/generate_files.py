"""Pictures made from seeds or saved inversions, and how a second run knows its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from padinv.runtime.errors import UsageError
from padinv.runtime.images import to_uint8
from padinv.runtime.images.png_metadata import png_note, save_png
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import DEFAULT_BATCH, Model

MAX_SEEDS = 1_000_000
_RANGE = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?\Z")


def parse_seeds(text: str) -> list[int]:
    """'0-15', '3', '1,5,9-12' -> seeds in the order given, each once.

    Raises:
        UsageError: not of this form, a range that runs backwards, or too many.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if not match:
            raise UsageError(f"{text!r} names no seeds; write them like 0-15 or 1,5,9")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first or last >= 1 << 32:
            raise UsageError(f"{part.strip()!r} is no range of seeds; they run upwards, from 0 to 4294967295")
        if last - first + len(seeds) >= MAX_SEEDS:
            raise UsageError(f"{text!r} are more than {MAX_SEEDS} seeds; take fewer at once")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


@dataclass(frozen=True)
class Made:
    """One picture: where it is, whether this run wrote it, and why not when it did not."""

    path: Path
    written: bool
    problem: str | None = None


def sample_files(
    model: Model,
    seeds: Sequence[int],
    truncation: float,
    out: Path,
    save_inversions: bool = False,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
) -> Iterator[Made]:
    """Write `seed-0007.png` for every seed (and its inversion file, when asked), in batches.

    A picture that the same model made from the same seed and truncation is kept; another file of that name is left
    alone and named as a problem, unless `overwrite`.

    Raises:
        OutputError, BundleError, BackendError.
    """
    todo = []
    for seed in seeds:
        path = out / f"seed-{seed:04d}.png"
        note = {"model": model.bundle.fingerprint, "seed": seed, "truncation": float(truncation)}
        inversion = path.with_suffix(".safetensors")
        missing = save_inversions and not inversion.exists()
        if os.path.lexists(path) and not overwrite:
            if png_note(path) == note and not missing:
                yield Made(path, False)
                continue
            if png_note(path) != note:
                yield Made(path, False, f"{path} exists and is another picture, so it was left alone; try --overwrite")
                continue
        todo.append((seed, path, note))
    for i in range(0, len(todo), batch_size):
        batch = todo[i : i + batch_size]
        latents = model.sample([seed for seed, _, _ in batch], truncation)
        pictures = model.generate(latents, batch_size)
        for k, (_, path, note) in enumerate(batch):
            if save_inversions:
                latents[k].save(path.with_suffix(".safetensors"), "float32")
            save_png(path, pictures[k], note)
            yield Made(path, True)


def render_file(
    model: Model, path: Path, out: Path, batch_size: int = DEFAULT_BATCH, overwrite: bool = False
) -> Iterator[Made]:
    """Write the pictures of an inversion file: NAME.png, or NAME-0000.png ... where it holds several.

    Raises:
        InputError: not an inversion. MismatchError: of another generator. OutputError: not writable.
    """
    inversion = Inversion.load(path)
    pictures = to_uint8(model.generate_float(inversion, batch_size))
    stem = path.name.removesuffix(".safetensors")
    digest = {"model": model.bundle.fingerprint, "inversion": str(path.resolve()), "mtime_ns": path.stat().st_mtime_ns}
    for i, pixels in enumerate(pictures):
        target = out / (f"{stem}.png" if len(pictures) == 1 else f"{stem}-{i:04d}.png")
        note = {**digest, "index": i}
        if os.path.lexists(target) and not overwrite:
            same = png_note(target) == note
            problem = None if same else f"{target} exists and is another picture, so it was left alone; try --overwrite"
            yield Made(target, False, problem)
            continue
        save_png(target, pixels, note)
        yield Made(target, True)
