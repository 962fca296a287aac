"""The three graphs of a bundle: one wrapper module each, and the one table that names inputs, axes and test feeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from padinv.export.inference_modules import LeanEncoder, LeanGenerator, LeanMapping
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator
from padinv.runtime.errors import MismatchError
from padinv.runtime.passes import encoder_inputs
from padinv.runtime.spec import ModelSpec

BATCH_AXIS = "batch"
TRACE_BATCH = 2  # exporters specialise a batch of one


@dataclass(frozen=True)
class Graph:
    """A graph's names and shapes.

    Attributes:
        name: 'encoder', 'generator' or 'mapping'.
        inputs, outputs: graph name -> shape without the batch axis, in graph order. The batch axis is always first,
            dynamic, and called 'batch'.
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]

    def example(self, batch: int = TRACE_BATCH) -> dict[str, Tensor]:
        """Random float32 inputs of the right shapes."""
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
    resolution = spec.resolution
    latents = spec.latent_shapes
    return {
        "encoder": Graph("encoder", dict(encoder_inputs(spec.image_size, passes)), latents),
        "generator": Graph("generator", latents, {"output": (3, resolution, resolution)}),
        "mapping": Graph("mapping", {"z": (spec.z_dim,)}, {"w": (spec.w_dim,)}),
    }


class EncoderGraph(nn.Module):
    """image -> wp, const, pad_4, pad_8, ...: always all of them. An iterative encoder's takes image and error.

    What the encoder does not predict comes out as the generator has it: the learned constant, zero rings.
    """

    def __init__(self, encoder: Encoder, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = encoder.spec
        self.lean = LeanEncoder(encoder, dtype)

    def forward(self, image: Tensor, error: Tensor | None = None) -> tuple[Tensor, ...]:
        wp, const, rings = self.lean(image, error)
        return (wp, *complete(self.spec, self.lean.encoder.const, wp, const, rings))


def complete(
    spec: ModelSpec, learned: Tensor, wp: Tensor, const: Tensor | None, rings: dict[int, Tensor] | None
) -> tuple[Tensor, ...]:
    """What an encoder gave -> const and one ring for each of the spec's padded resolutions, batched like `wp`."""
    if const is None:
        const = learned.expand(wp.shape[0], -1, -1, -1)
    found = rings or {}
    zeros = (
        wp.new_zeros(wp.shape[0], *spec.ring_shape(r)) if r not in found else found[r] for r in spec.pad_resolutions
    )
    return (const, *zeros)


class GeneratorGraph(nn.Module):
    """wp, const, pad_4, pad_8, ... -> output."""

    def __init__(self, generator: Generator, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = generator.spec
        self.lean = LeanGenerator(generator, dtype)

    def forward(self, wp: Tensor, const: Tensor, pads: tuple[Tensor, ...]) -> Tensor:
        result: Tensor = self.lean(wp, const, dict(zip(self.spec.pad_resolutions, pads, strict=True)))
        return result


class MappingGraph(nn.Module):
    """z -> w."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.lean = LeanMapping(generator.mapping_network).eval().requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        result: Tensor = self.lean(z)
        return result


def check_pair(generator: Generator, encoder: Encoder) -> None:
    """Refuse an encoder that was not made for a generator of this geometry.

    Raises:
        MismatchError: specs differ.
    """
    if generator.spec != encoder.spec:
        a, b = generator.spec.to_dict(), encoder.spec.to_dict()
        field = next(name for name in a if a[name] != b[name] and name != "extra")
        raise MismatchError(
            f"the encoder was made for another generator ({field} is {b[field]}, the generator's is {a[field]}), "
            "so nothing was exported"
        )
