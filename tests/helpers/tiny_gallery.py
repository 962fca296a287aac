"""Directions for the tiny bundle, of random values, in its folder `directions/`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_bundle import GENERATOR_HASH, SPEC

from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.operations import moves


def random_direction(seed: int, space: str, name: str = "") -> Direction:
    """Values of about 0.3 in the arrays of `space`, zeros elsewhere."""
    rng = np.random.default_rng(seed)
    arrays = {key: 0.3 * rng.normal(size=shape) * moves(key, space) for key, shape in SPEC.latent_shapes.items()}
    rings = {r: arrays[f"pad_{r}"] for r in SPEC.pad_resolutions}
    return Direction(arrays["wp"], arrays["const"], rings, GENERATOR_HASH, {"space": space, "name": name})


def add_directions(bundle: Path, directions: dict[str, Direction]) -> Path:
    """Write directions into a bundle and its manifest; returns the bundle."""
    manifest = {k: v for k, v in read_bundle(bundle).manifest.items() if k not in ("files", "format")}
    for name, direction in directions.items():
        direction.save(bundle / "directions" / f"{name}.safetensors")
    write_manifest(bundle, manifest)
    return bundle
