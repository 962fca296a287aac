"""The graphs of a bundle in torch: one wrapper module each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from padinv.export.inference_modules import LeanEncoder, LeanGenerator, LeanMapping, LeanSpatial
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator
from padinv.runtime.errors import MismatchError
from padinv.runtime.spec import ModelSpec


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
    """wp, const, pad_4, pad_8, ..., spatial_r -> output; the encoder's `spec` names the spatial codes."""

    def __init__(self, generator: Generator, dtype: torch.dtype = torch.float32, spec: ModelSpec | None = None) -> None:
        super().__init__()
        self.spec = spec or generator.spec
        self.lean = LeanGenerator(generator, dtype)

    def forward(self, wp: Tensor, const: Tensor, form: tuple[Tensor, ...]) -> Tensor:
        result: Tensor = self.lean(wp, const, *rings_and_spatial(self.spec, form))
        return result


def rings_and_spatial(spec: ModelSpec, form: Sequence[Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """What follows `const` among the generator's inputs, in graph order -> rings and spatial codes by resolution."""
    count = len(spec.pad_resolutions)
    rings = dict(zip(spec.pad_resolutions, form[:count], strict=True))
    return rings, dict(zip(spec.spatial_resolutions, form[count:], strict=True))


class SpatialGraph(nn.Module):
    """image, reconstruction -> spatial_r, ..."""

    def __init__(self, encoder: Encoder, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.lean = LeanSpatial(encoder, dtype)

    def forward(self, image: Tensor, reconstruction: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.lean(image, reconstruction).values())


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
        field = next(name for name in a if a[name] != b.get(name) and name != "extra")
        raise MismatchError(
            f"the encoder was made for another generator ({field} is {b[field]}, the generator's is {a[field]}), "
            "so nothing was exported"
        )
