"""Names that a generator training may choose from. Torch is not needed to read them."""

from __future__ import annotations

from typing import Literal

Discriminator = Literal["projected", "stylegan2"]
Backbone = Literal["squeezenet", "efficientnet-lite0"]
Noise = Literal["none", "random"]
MixedPrecision = Literal["no", "bf16"]
