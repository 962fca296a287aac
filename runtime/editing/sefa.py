"""SeFa (Shen and Zhou 2021): directions in closed form, from the weights that turn a latent code into styles.

A code w enters layer l through the affine map A_l w + b_l. The unit vector n that moves the styles of the chosen layers
most is the leading eigenvector of sum_l A_l^T A_l; the next ones follow in order. As in the authors' code, the rows of
A_l are normalised first. No torch is needed: a bundle carries the matrices in `modulation.safetensors`, and a compact
one in its generator's graph, under the names of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from padinv.runtime.bundle import Bundle
from padinv.runtime.editing.direction import Direction
from padinv.runtime.errors import BundleError, UsageError
from padinv.runtime.onnx_safety import require_safe_graph
from padinv.runtime.onnx_weights import read_weights
from padinv.runtime.spec import ModelSpec

if TYPE_CHECKING:
    from padinv.runtime.model import Model

MODULATION = "modulation.safetensors"
SAMPLES = 2000  # codes whose spread is the unit


def modulation_weights(bundle: Bundle) -> list[np.ndarray]:
    """For each latent code, the rows of all affine maps that read it: L arrays [rows, w_dim], float64.

    Raises:
        BundleError: the bundle has none (it was exported by an older padinv), or the file is damaged.
    """
    where = MODULATION if bundle.has(MODULATION) else "generator.onnx"
    arrays = bundle.arrays(MODULATION) if bundle.has(MODULATION) else _in_graph(bundle)
    if not arrays:
        raise BundleError(
            f"the bundle {bundle.folder} holds no modulation weights ({MODULATION}), which SeFa needs; export it again "
            "with this version of padinv"
        )
    weights = []
    for code in range(bundle.spec.num_layers):
        array = arrays.get(f"code_{code}")
        if array is None or array.ndim != 2 or array.shape[1] != bundle.spec.w_dim or not np.isfinite(array).all():
            raise BundleError(f"{bundle.folder / where} holds no usable weights of code {code}; export it again")
        weights.append(np.asarray(array, np.float64))
    return weights


def affine_names(spec: ModelSpec) -> list[list[str]]:
    """For each latent code, the names of the affine maps that read it: a convolution's and, for odd ones, ToRGB's."""
    names = [[f"layers.{code}.affine.weight"] for code in range(spec.num_layers - 1)] + [[]]
    for k in range(len(spec.resolutions)):
        names[2 * k + 1].append(f"to_rgb.{k}.affine.weight")
    return names


def _in_graph(bundle: Bundle) -> dict[str, np.ndarray]:
    """The weights of a compact bundle's generator, as `modulation.safetensors` has them; nothing of another graph."""
    by_code = [[f"generator.{name}" for name in names] for names in affine_names(bundle.spec)]
    data = bundle.read_bytes("generator.onnx")
    require_safe_graph(data, str(bundle.folder / "generator.onnx"))
    try:
        found = read_weights(data, [name for names in by_code for name in names])
        return {
            f"code_{code}": np.concatenate([found[name] for name in names])
            for code, names in enumerate(by_code)
            if all(name in found for name in names)
        }
    except ValueError as error:
        raise BundleError(f"{bundle.folder / 'generator.onnx'} holds no readable weights ({error})") from error


def closed_form(
    weights: Sequence[np.ndarray], layers: Sequence[int] | None = None, count: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` leading directions of the chosen layers.

    Args:
        weights: as `modulation_weights` gives them.
        layers: latent codes that move; None: all.

    Returns:
        directions [count, w_dim] of length 1, the largest entry of each positive, and each one's share of the sum of
        all eigenvalues [count].

    Raises:
        UsageError: more directions than w_dim, or a layer that does not exist.
    """
    chosen = list(range(len(weights))) if layers is None else list(layers)
    if not chosen or not all(0 <= layer < len(weights) for layer in chosen):
        raise UsageError(f"this generator has the layers 0-{len(weights) - 1}")
    rows = np.concatenate([np.asarray(weights[layer], np.float64) for layer in chosen])
    if not 1 <= count <= rows.shape[1]:
        raise UsageError(f"a generator with {rows.shape[1]} dimensions has 1 to {rows.shape[1]} directions")
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    found = vectors[:, ::-1][:, :count].T
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1)
    return found * np.sign(largest), values[::-1][:count] / values.sum()


def latent_direction(
    spec: ModelSpec, vector: np.ndarray, generator_hash: str, layers: Sequence[int] | None = None
) -> Direction:
    """A direction that adds `vector`, [w_dim] or [L, w_dim], to the latent codes `layers` (None: all), and no padding.

    Raises:
        UsageError: another shape.
    """
    vector = np.asarray(vector, np.float32)
    if vector.shape not in ((spec.w_dim,), spec.wp_shape):
        raise UsageError(f"a latent direction has shape [{spec.w_dim}] or {list(spec.wp_shape)}, not {vector.shape}")
    wp = np.zeros(spec.wp_shape, np.float32)
    rows = list(range(spec.num_layers)) if layers is None else list(layers)
    wp[rows] = vector if vector.ndim == 1 else vector[rows]
    rings = {r: np.zeros(spec.ring_shape(r), np.float32) for r in spec.pad_resolutions}
    return Direction(wp, np.zeros(spec.const_shape, np.float32), rings, generator_hash, {"space": "latent"})


def sampled_codes(model: Model, count: int = SAMPLES) -> np.ndarray:
    """Latent codes of random z, float64 [count, w_dim]; the same ones every time."""
    z = np.random.RandomState(0).randn(count, model.spec.z_dim).astype(np.float32)
    return np.asarray(model.session("mapping").run({"z": z})["w"], np.float64)


def sefa_directions(model: Model, layers: Sequence[int] | None = None, count: int = 5) -> list[Direction]:
    """The `count` leading directions of a model, called sefa-1, sefa-2, ...; see `closed_form`.

    Their unit is one standard deviation of sampled codes.

    Raises:
        BundleError: the bundle holds no modulation weights. UsageError: see `closed_form`.
    """
    found, shares = closed_form(modulation_weights(model.bundle), layers, count)
    codes = sampled_codes(model)
    directions = []
    for number, (vector, share) in enumerate(zip(found, shares, strict=True), start=1):
        scaled = vector * code_spread(codes, vector)
        direction = latent_direction(model.spec, scaled, model.generator_hash, layers)
        direction.info |= {
            "name": f"sefa-{number}",
            "unit": f"one standard deviation of {len(codes)} sampled codes",
            "origin": {"method": "SeFa", "layers": layers and list(layers), "eigenvalue_share": round(float(share), 5)},
        }
        directions.append(direction)
    return directions


def code_spread(codes: np.ndarray, vector: np.ndarray) -> float:
    """Standard deviation of codes [N, w_dim] along `vector` [w_dim] of any length."""
    return float((np.asarray(codes, np.float64) @ (vector / np.linalg.norm(vector))).std())
