"""Encoders that predict rings beyond the generator's default, such as the last row of the paper's Table 2."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from padinv.models.encoder import Encoder
from padinv.models.generator import Generator

if TYPE_CHECKING:
    from padinv.checkpoints.generator_encoder import Pair


def with_all_rings(pair: Pair) -> Pair:
    """The pair with a spec that has a place for every ring that the encoder predicts; the weights are the same.

    The bundle's graphs then take and give these rings. A pair that needs no other spec is returned as it is.
    """
    encoder, spec = pair.encoder, pair.generator.spec
    finest = max(encoder.config.rings_for(encoder.spec), default=0)
    if finest <= max(spec.pad_resolutions, default=0):
        return pair
    wider = replace(spec, max_pad_res=finest)
    generator = Generator(wider)
    generator.load_state_dict(pair.generator.state_dict())
    # All but the reference encoder read the constant where the spec of their training says.
    level = encoder.config.const_level
    if encoder.config.architecture != "reference" and encoder.config.const and level is None:
        level = max(spec.pad_resolutions, default=4)
    widened = Encoder(wider, replace(encoder.config, const_level=level))
    widened.load_state_dict(encoder.state_dict())
    return replace(pair, generator=generator.eval(), encoder=widened.eval())
