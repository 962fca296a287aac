"""The discriminator that an encoder trains against: the generator file's own, at the losses' resolution."""

from __future__ import annotations

from padinv.models.discriminator import Discriminator
from padinv.runtime.spec import ModelSpec


def new_discriminator(spec: ModelSpec, side: int) -> Discriminator:
    """A discriminator at random weights for images of a side up to the generator's resolution."""
    return Discriminator(side, spec.channels[: side.bit_length() - 2])


def discriminator_for(spec: ModelSpec, own: Discriminator | None) -> Discriminator:
    """A discriminator for images of side `spec.image_size`.

    Args:
        own: the generator's discriminator. Where it judges larger images its outer blocks are dropped; the layer that
            reads colours is then new, except in the 'skip' architecture, which has one at every resolution.
            None: all weights are new.
    """
    size = spec.image_size
    if own is None:
        return new_discriminator(spec, size)
    if own.resolution == size:
        return own
    dropped = (own.resolution // size).bit_length() - 1
    config = {**own.config, "resolution": size, "channels": list(own.channels[: len(own.channels) - dropped])}
    inner = Discriminator(**config)
    state = inner.state_dict()
    for name, tensor in own.state_dict().items():
        part, _, rest = name.partition(".")
        if part in ("blocks", "from_rgb"):
            index, _, rest = rest.partition(".")
            if int(index) < dropped:
                continue
            name = f"{part}.{int(index) - dropped}.{rest}"
        if name in state:
            state[name] = tensor
    inner.load_state_dict(state)
    return inner
