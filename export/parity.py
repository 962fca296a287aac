"""A backend against a reference: the same seeded inputs, at several batch sizes, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from padinv.runtime.errors import ExportError
from padinv.runtime.images import average_pool
from padinv.runtime.passes import ERROR
from padinv.runtime.spec import ModelSpec

BATCHES = (1, 3, 8)
ROWS = max(BATCHES)

# (graph, named inputs) -> named outputs, float32
Run = Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Limits:
    """How far a backend may be from the reference.

    Values beyond [-1, 1] are judged relative to the largest of them: limits are multiplied by max(1, largest value).

    Attributes:
        backend: its name, for messages.
        largest: of the absolute differences.
        mean: of the absolute differences, over one output.
        advice: what to do where they are exceeded.
    """

    backend: str
    largest: float
    mean: float
    advice: str


_NO_HALF = "these weights do not suit float16, so take float32 (leave out --fp16)"
ONNX = Limits("onnxruntime", 1e-4, 1e-4, "please report it")
# float16 keeps 11 bits: single values may be off by several levels of 255, an output as a whole may not.
ONNX_HALF = Limits("onnxruntime (float16)", 0.15, 0.015, _NO_HALF)
# TensorRT chooses its own convolution algorithms (Winograd among them), which round differently.
ENGINE = Limits("TensorRT", 1e-3, 1e-4, "please report it")
ENGINE_HALF = Limits("TensorRT (float16)", 0.15, 0.015, _NO_HALF)


@dataclass
class Reference:
    """Inputs for every graph and what they come to, float32, `ROWS` rows each.

    Attributes:
        feeds, outputs: graph -> name -> array.
        reconstruction: the encoder's images through encoder and generator, [N, 3, R, R].
    """

    feeds: dict[str, dict[str, np.ndarray]] = field(repr=False)
    outputs: dict[str, dict[str, np.ndarray]] = field(repr=False)
    reconstruction: np.ndarray = field(repr=False)


def make_reference(
    spec: ModelSpec, constants: Mapping[str, np.ndarray], run: Run, seed: int = 0, *, passes: int = 1
) -> Reference:
    """Seeded inputs, and what `run` makes of them.

    The pictures are the generator's own samples. The generator's rows are by turns what the encoder predicts, and
    random codes, constants and rings far from what it predicts, so that a ring that is ignored or misplaced shows.

    Args:
        constants: `w_avg` [w_dim] and `const` [C_4, 4, 4].
        passes: of the encoder, which takes an error beside the image if there are several.
    """
    noise = np.random.RandomState(seed)

    def normal(*shape: int) -> np.ndarray:
        return noise.standard_normal(shape).astype(np.float32)

    def codes(z: np.ndarray) -> np.ndarray:  # truncated by 0.7, [N, w_dim]
        result: np.ndarray = constants["w_avg"] + np.float32(0.7) * (run("mapping", {"z": z})["w"] - constants["w_avg"])
        return result

    def zeros(rows: int) -> dict[str, np.ndarray]:
        return {f"pad_{r}": np.zeros((rows, *spec.ring_shape(r)), np.float32) for r in spec.pad_resolutions}

    z = normal(ROWS, spec.z_dim)
    plain = {
        "wp": np.repeat(codes(z)[:, None], spec.num_layers, axis=1),
        "const": np.repeat(constants["const"][None], ROWS, axis=0),
        **zeros(ROWS),
        **{name: np.zeros((ROWS, *shape), np.float32) for name, shape in spec.spatial_shapes.items()},
    }
    pictures = np.clip(run("generator", plain)["output"], -1, 1)
    image = average_pool(pictures, spec.image_size).astype(np.float32)
    seen = {"image": image}
    if passes > 1:  # what a reconstruction may lack, as large as such errors are
        seen[ERROR] = (0.2 * normal(*image.shape)).astype(np.float32)
    predicted = run("encoder", seen)
    wild = {
        "wp": np.stack([codes(normal(ROWS, spec.z_dim)) for _ in range(spec.num_layers)], axis=1),
        "const": constants["const"] + 0.3 * constants["const"].std() * normal(ROWS, *spec.const_shape),
        **{f"pad_{r}": 0.5 * normal(ROWS, *spec.ring_shape(r)) for r in spec.pad_resolutions},
        **{name: 0.2 * normal(ROWS, *shape) for name, shape in spec.spatial_shapes.items()},
    }
    predicted |= {name: np.zeros((ROWS, *shape), np.float32) for name, shape in spec.spatial_shapes.items()}
    pairs, spatial = {}, {}
    if spec.spatial_resolutions:
        shown = average_pool(run("generator", predicted)["output"], spec.image_size).astype(np.float32)
        pairs = {"image": image, "reconstruction": shown}
        spatial = run("spatial", pairs)
        predicted |= spatial
    latents = {}
    for name in spec.latent_shapes:
        latents[name] = predicted[name].copy()
        latents[name][1::2] = wild[name][1::2]
    feeds = {"encoder": seen, "generator": latents, "mapping": {"z": z}}
    encoded = {name: predicted[name] for name in spec.encoder_shapes}
    outputs = {"encoder": encoded, **{graph: run(graph, feeds[graph]) for graph in ("generator", "mapping")}}
    if spatial:
        feeds["spatial"], outputs["spatial"] = pairs, spatial
    return Reference(feeds, outputs, run("generator", predicted)["output"])


def compare(expected: Reference, run: Run, graphs: tuple[str, ...], limits: Limits) -> dict[str, Any]:
    """Largest absolute difference of every output at every batch size, and of whole reconstructions.

    Args:
        run: the backend under test.
        graphs: which graphs to compare; with encoder and generator among them, reconstructions are compared too.

    Returns:
        graph -> output -> batch -> largest difference, JSON-ready.

    Raises:
        ExportError: a difference is beyond the limits, or a result is not finite.
    """
    found: dict[str, Any] = {}
    for graph in graphs:
        for batch in BATCHES:
            # The last rows, so that the batch of one is random padding and not the encoder's prediction.
            feeds = {name: array[-batch:] for name, array in expected.feeds[graph].items()}
            outputs = run(graph, feeds)
            for name, wanted in expected.outputs[graph].items():
                entry = found.setdefault(graph, {}).setdefault(name, {})
                entry[str(batch)] = _difference(wanted[-batch:], outputs[name], f"{graph} ({name}, {batch})", limits)
    if {"encoder", "generator"} <= set(graphs):
        latents = run("encoder", expected.feeds["encoder"])
        if "spatial" in expected.feeds:
            latents |= run("spatial", expected.feeds["spatial"])
        pictures = run("generator", latents)["output"]
        found["reconstruction"] = _difference(expected.reconstruction, pictures, "reconstruction", limits)
    return found


def _difference(wanted: np.ndarray, got: np.ndarray, where: str, limits: Limits) -> float:
    if got.shape != wanted.shape:
        raise ExportError(f"{where}: {limits.backend} gives {list(got.shape)} in place of {list(wanted.shape)}")
    error = np.abs(wanted.astype(np.float64) - got)
    if not np.isfinite(error).all():
        raise ExportError(f"{where}: {limits.backend} gives numbers that are not finite; {limits.advice}")
    scale = max(1.0, float(np.abs(wanted).max()))
    largest, mean = float(error.max()), float(error.mean())
    if largest > limits.largest * scale or mean > limits.mean * scale:
        raise ExportError(
            f"{where}: {limits.backend} differs by {largest:.2e} (mean {mean:.2e}) where {limits.largest * scale:.2e} "
            f"(mean {limits.mean * scale:.2e}) is allowed; {limits.advice}"
        )
    return largest
