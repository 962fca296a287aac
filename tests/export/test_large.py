"""Nothing is tied to small models: a full-sized one at random weights through export and inversion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import lively_encoder, lively_generator

from padinv.checkpoints.generator_encoder import Pair
from padinv.export.export_bundle import Options, export_bundle
from padinv.models import fast_encoder
from padinv.models.encoder import EncoderConfig
from padinv.runtime import Model
from padinv.runtime.spec import ModelSpec

WIDTHS = fast_encoder.widths  # before this folder's fixtures make it narrow


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["fast", "reference"])
def test_a_256_px_model_with_512_channels(
    architecture: str, tmp_path: Path, picture: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes about five minutes and 7 GB; the other tests of this folder are its small form."""
    monkeypatch.setattr(fast_encoder, "widths", WIDTHS)
    generator = lively_generator(ModelSpec(256, (512, 512, 512, 512, 512, 256, 128)))
    encoder = lively_encoder(generator, EncoderConfig(architecture))
    bundle = export_bundle(Pair(generator, encoder), tmp_path / "bundle", Options()).bundle
    images = bundle.manifest["parity"]["fp32"]["generator"]["output"]
    assert max(images.values()) <= 1e-4
    assert bundle.manifest["parity"]["fp32"]["reconstruction"] <= 1e-4
    model = Model.load(tmp_path / "bundle", backend="cpu")
    inversion = model.invert([picture(300, 280)])
    assert inversion.rings[32].shape == (1, 512, 132)
    pixels = model.generate(inversion)
    assert pixels.shape == (1, 256, 256, 3)
    assert pixels.dtype == np.uint8
