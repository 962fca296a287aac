"""The networks of a bundle in torch, where it holds their weights."""

from __future__ import annotations

from padinv.checkpoints.generator_encoder import Pair, read_pair
from padinv.runtime.bundle import Bundle

WEIGHTS = "weights.safetensors"


def bundle_networks(bundle: Bundle, *, exact: bool = False) -> Pair:
    """Generator and encoder of a compact bundle, or of one that was exported with `--weights`.

    Args:
        exact: only weights that agree with the graphs to float32. `weights.safetensors` is rounded to float16.

    Raises:
        BundleError: it holds no weights. MissingPackageError: reading a compact graph needs the package 'onnx'.
    """
    if bundle.has(WEIGHTS) and not exact:
        path = bundle.path(WEIGHTS)
        return read_pair(path, path)
    return read_pair(bundle.folder, bundle.folder)
