"""A model bundle small enough to build in milliseconds, with the names and shapes of a real one.

Its encoder keeps a coarse copy of the picture in `const`, and its generator enlarges that copy and adds a little of
everything else: reconstructions look like their sources, and every input matters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from padinv.runtime.bundle import write_manifest
from padinv.runtime.spec import ModelSpec, ring_length

SPEC = ModelSpec(resolution=16, channels=(6, 5, 4), z_dim=7, w_dim=8, mapping_layers=2)
GENERATOR_HASH = "1f" * 32


def _constant(name: str, value: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def _value(name: str, shape: list[object]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _save(path: Path, nodes: list, inputs: list, outputs: list, constants: list) -> None:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (0.2 * rng.standard_normal(shape)).astype(np.float32)


def _latents(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    return [_value(name, ["N", *shape]) for name, shape in spec.latent_shapes.items()]


def write_encoder(path: Path, spec: ModelSpec, rng: np.random.Generator) -> None:
    size, block = spec.image_size, spec.image_size // 4
    colour = np.zeros((spec.channels[0], 3, 1, 1), np.float32)
    colour[:3, :, 0, 0] = np.eye(3)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["coarse"], kernel_shape=[block, block], strides=[block, block]),
        helper.make_node("Conv", ["coarse", "colour"], ["const"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
    ]
    constants = [_constant("colour", colour)]
    for name, shape in spec.latent_shapes.items():
        if name == "const":
            continue
        nodes += [
            helper.make_node("MatMul", ["mean", f"{name}_w"], [f"{name}_flat"]),
            helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [name]),
        ]
        constants += [
            _constant(f"{name}_w", _random(rng, 3, int(np.prod(shape)))),
            _constant(f"{name}_shape", np.array([-1, *shape], np.int64)),
        ]
    _save(path, nodes, [_value("image", ["N", 3, size, size])], _latents(spec), constants)


def write_generator(path: Path, spec: ModelSpec) -> None:
    colour = np.zeros((3, spec.channels[0], 1, 1), np.float32)
    colour[:, :3, 0, 0] = np.eye(3)
    scale = spec.resolution / 4
    nodes = [
        helper.make_node("Conv", ["const", "colour"], ["coarse"]),
        helper.make_node("Resize", ["coarse", "", "scales"], ["base"], mode="linear"),
    ]
    constants = [
        _constant("colour", colour),
        _constant("scales", np.array([1, 1, scale, scale], np.float32)),
        _constant("little", np.array(0.1, np.float32)),
        _constant("image_axes", np.array([-1, 1, 1, 1], np.int64)),
    ]
    total = "base"
    for name in spec.latent_shapes:
        if name == "const":
            continue
        nodes += [
            helper.make_node("ReduceMean", [name], [f"{name}_mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", [f"{name}_mean", "little"], [f"{name}_little"]),
            helper.make_node("Reshape", [f"{name}_little", "image_axes"], [f"{name}_add"]),
            helper.make_node("Add", [total, f"{name}_add"], [f"{name}_sum"]),
        ]
        total = f"{name}_sum"
    nodes.append(helper.make_node("Identity", [total], ["output"]))
    r = spec.resolution
    _save(path, nodes, _latents(spec), [_value("output", ["N", 3, r, r])], constants)


def write_mapping(path: Path, spec: ModelSpec, rng: np.random.Generator) -> None:
    nodes = [helper.make_node("MatMul", ["z", "weight"], ["w"])]
    constants = [_constant("weight", _random(rng, spec.z_dim, spec.w_dim))]
    _save(path, nodes, [_value("z", ["N", spec.z_dim])], [_value("w", ["N", spec.w_dim])], constants)


def write_tiny_bundle(
    folder: Path, spec: ModelSpec = SPEC, generator_hash: str = GENERATOR_HASH, seed: int = 0
) -> Path:
    """Write a bundle of `spec` into `folder`; returns it."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_encoder(folder / "encoder.onnx", spec, rng)
    write_generator(folder / "generator.onnx", spec)
    write_mapping(folder / "mapping.onnx", spec, rng)
    constants = {"w_avg": _random(rng, spec.w_dim), "const": _random(rng, *spec.const_shape)}
    save_file(constants, folder / "constants.safetensors")
    manifest = {
        "name": "tiny",
        "spec": spec.to_dict(),
        "encoder": {"architecture": "tiny"},
        "generator_hash": generator_hash,
        "precision": ["fp32"],
        "opset": 17,
        "parity": {},
        "provenance": {"made_by": "tests"},
    }
    write_manifest(folder, manifest)
    return folder


def ring_shapes(spec: ModelSpec = SPEC) -> dict[int, tuple[int, int]]:
    """Resolution -> [C, 4r+4]."""
    return {r: (spec.channels_at(r), ring_length(r)) for r in spec.pad_resolutions}
