"""A finished result in another picture format, with its origin, its provenance and its colours."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from padinv.runtime.batch.invert_files import FORMATS
from padinv.runtime.batch.ownership import image_bytes, origin_of, seal
from padinv.runtime.provenance.containers import with_xmp, xmp_of
from padinv.runtime.provenance.record import COMPOSITE, source_type_of

if TYPE_CHECKING:
    from padinv.runtime.provenance.signing import Signer


def converted(data: bytes, kind: str, signer: Signer | None = None) -> bytes:
    """A PNG result of padinv as 'jpg' or 'webp'.

    Args:
        signer: signs it again, because a signature covers the whole file.
    """
    with Image.open(BytesIO(data)) as image:
        pixels, profile = np.asarray(image.convert("RGB"), np.uint8), image.info.get("icc_profile")
    settings: dict[str, Any] = {**FORMATS[kind], **({"icc_profile": profile} if profile else {})}
    made = image_bytes(pixels, kind, origin_of(data), **settings)
    packet = xmp_of(data)
    made = seal(made if packet is None else with_xmp(made, packet))
    return made if signer is None else signer.sign(made, source_type_of(data) or COMPOSITE)
