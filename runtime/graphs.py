"""The graphs of a bundle: what each takes and gives."""

from __future__ import annotations

from padinv.runtime.passes import encoder_inputs
from padinv.runtime.spec import ModelSpec


def graph_names(spec: ModelSpec, passes: int) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Graph -> names of its inputs and of its outputs; `passes` are those that the encoder was trained for."""
    latents = tuple(spec.latent_shapes)
    names: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "encoder": (tuple(encoder_inputs(spec.image_size, passes)), tuple(spec.encoder_shapes)),
        "generator": (latents, ("output",)),
        "mapping": (("z",), ("w",)),
    }
    if spec.spatial_resolutions:
        names["spatial"] = (("image", "reconstruction"), tuple(spec.spatial_shapes))
    return names
