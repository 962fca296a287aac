"""torch as a contestant of `padinv bench`, where it is installed and the bundle holds weights."""

from __future__ import annotations

import importlib.util

from padinv.runtime.benchmark.contestants import Contestant
from padinv.runtime.bundle import Bundle
from padinv.runtime.errors import BundleError, MissingPackageError

PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16", "fp16")}


def torch_contestants(
    bundle: Bundle, precisions: tuple[str, ...], threads: int, gpu: bool
) -> tuple[list[Contestant], str | None]:
    """Eager torch on the processor, or on the GPU where that is what the others run on.

    Returns:
        the contestants, and why there are none.
    """
    if importlib.util.find_spec("torch") is None:
        return [], "torch is not installed (pip install 'padinv[train]'), so ratios are against onnxruntime"
    import torch

    from padinv.export.bundle_networks import bundle_networks
    from padinv.export.torch_session import TorchNetworks

    try:
        pair = bundle_networks(bundle)
    except (BundleError, MissingPackageError) as error:
        return [], f"torch does not take part: {error}"
    device = "cuda" if gpu and torch.cuda.is_available() else "cpu"
    count = threads if device == "cpu" else None
    networks = TorchNetworks(pair.generator, pair.encoder, device, threads=count)
    wanted = [p for p in PRECISIONS[device] if p in precisions or p == "fp32"]  # float32 is what ratios refer to
    found = [
        Contestant(
            "torch",
            precision,
            count,
            device if device == "cuda" else None,
            networks.session("encoder", precision),
            networks.session("generator", precision),
            device,
            spatial=networks.session("spatial", precision) if networks.spec.spatial_resolutions else None,
        )
        for precision in wanted
    ]
    return found, None
