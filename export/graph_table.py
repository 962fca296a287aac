"""The one table of a bundle's graphs: names, shapes, axes and test feeds. Importing it does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from padinv.runtime.passes import encoder_inputs
from padinv.runtime.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

BATCH_AXIS = "batch"
TRACE_BATCH = 2  # exporters specialise a batch of one


@dataclass(frozen=True)
class Graph:
    """A graph's names and shapes.

    Attributes:
        name: 'encoder', 'generator', 'mapping' or 'spatial'.
        inputs, outputs: graph name -> shape without the batch axis, in graph order. The batch axis is always first,
            dynamic, and called 'batch'.
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]

    def example(self, batch: int = TRACE_BATCH) -> dict[str, Tensor]:
        """Random float32 inputs of the right shapes."""
        import torch

        generator = torch.Generator().manual_seed(0)
        return {name: torch.randn(batch, *shape, generator=generator) for name, shape in self.inputs.items()}

    def arguments(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """One value an input -> the positional arguments of the wrapper's forward: rings go as one tuple."""
        return (*values[:2], values[2:]) if self.name == "generator" else values

    @property
    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Name -> {0: 'batch'} for every input and output."""
        return {name: {0: BATCH_AXIS} for name in (*self.inputs, *self.outputs)}


def graphs(spec: ModelSpec, passes: int = 1) -> dict[str, Graph]:
    """The graphs of a model by name, as docs/how-it-works.md names them; `passes` of the encoder."""
    size, resolution = spec.image_size, spec.resolution
    table = {
        "encoder": Graph("encoder", dict(encoder_inputs(size, passes)), spec.encoder_shapes),
        "generator": Graph("generator", spec.latent_shapes, {"output": (3, resolution, resolution)}),
        "mapping": Graph("mapping", {"z": (spec.z_dim,)}, {"w": (spec.w_dim,)}),
    }
    if spec.spatial_resolutions:
        pictures: dict[str, tuple[int, ...]] = {"image": (3, size, size), "reconstruction": (3, size, size)}
        codes: dict[str, tuple[int, ...]] = {name: tuple(shape) for name, shape in spec.spatial_shapes.items()}
        table["spatial"] = Graph("spatial", pictures, codes)
    return table
