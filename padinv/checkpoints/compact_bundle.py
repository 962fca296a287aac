"""Networks out of a compact bundle: its graphs hold the raw weights under the names of the state dict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.generator import Generator
from padinv.runtime.bundle import Bundle, read_bundle
from padinv.runtime.errors import BundleError, MissingPackageError
from padinv.runtime.model_names import is_model_name


def is_bundle(path: Path | str) -> bool:
    """Whether `path` is a model bundle's folder, or names a model (see `padinv.runtime.model_names`)."""
    return is_model_name(path) or (Path(path) / "model.json").is_file()


def is_compact(bundle: Bundle) -> bool:
    """Whether a bundle's graphs hold the raw weights."""
    return bundle.manifest.get("compact") is True


def _stored(bundle: Bundle, graph: str) -> dict[str, torch.Tensor]:
    """Tensors of a graph by name, as float32."""
    try:
        import onnx
        from onnx import numpy_helper
    except ModuleNotFoundError as error:
        raise MissingPackageError("onnx", "export", f"reading weights out of the bundle {bundle.folder}") from error
    model = onnx.load_from_string(bundle.graph(f"{graph}.onnx"))
    return {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()).float()
        for tensor in model.graph.initializer
    }


def _fill(module: torch.nn.Module, found: dict[str, torch.Tensor], bundle: Bundle) -> None:
    state: dict[str, Any] = module.state_dict()
    missing = []
    for name, old in state.items():
        if name in found and found[name].shape == old.shape:
            state[name] = found[name].to(old.dtype)
        elif not name.endswith("num_batches_tracked"):
            missing.append(name)
    if missing:
        raise BundleError(
            f"{bundle.folder} does not hold the raw weights (no {missing[0]}), so it cannot be trained further or "
            "exported again; use the run or checkpoint that it was exported from, or export with --compact or --weights"
        )
    module.load_state_dict(state)


def bundle_generator(path: Path | str) -> Generator:
    """The generator of a compact bundle, in eval mode.

    Raises:
        BundleError: damaged, or a bundle without raw weights. MissingPackageError: onnx is not installed.
    """
    bundle = read_bundle(path)
    generator = Generator(bundle.spec)
    constants = {name: torch.from_numpy(array.copy()).float() for name, array in bundle.constants().items()}
    graphs = {**_stored(bundle, "generator"), **_stored(bundle, "mapping")}
    found = {name.removeprefix("generator."): tensor for name, tensor in graphs.items()}
    _fill(generator, {**found, **constants}, bundle)
    return generator.eval()


def bundle_encoder(path: Path | str) -> Encoder:
    """The encoder of a compact bundle, in eval mode.

    Raises:
        BundleError: damaged, or a bundle without raw weights. MissingPackageError: onnx is not installed.
    """
    bundle = read_bundle(path)
    encoder = Encoder(bundle.spec, EncoderConfig.from_dict(json.loads(json.dumps(bundle.encoder))))
    constants = {name: torch.from_numpy(array.copy()).float() for name, array in bundle.constants().items()}
    stored = _stored(bundle, "encoder")
    if bundle.spec.spatial_resolutions:
        stored |= _stored(bundle, "spatial")
    found = {name.removeprefix("encoder."): tensor for name, tensor in stored.items()}
    if encoder.generator is not None:  # of an iterative encoder; its graph holds one pass, without the generator
        encoder.generator.load_state_dict(bundle_generator(path).state_dict())
    own = {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith("generator.")}
    _fill(encoder, {**constants, **own, **found}, bundle)
    return encoder.eval()
