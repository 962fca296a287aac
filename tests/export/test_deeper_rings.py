"""An encoder that predicts a ring beyond the generator's default, the last row of Table 2, can be exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import lively_encoder, lively_generator
from torch import Tensor

from padinv.checkpoints import load_encoder, load_generator
from padinv.checkpoints.generator_encoder import Pair
from padinv.export.deeper_rings import with_all_rings
from padinv.export.export_bundle import Options, export_bundle
from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.fast_encoder import Widths
from padinv.runtime.errors import InputError
from padinv.runtime.model import Model
from padinv.runtime.spec import ModelSpec

# The constant is read from the 8 px map, which the spec says; a wider spec alone would have it read from the 16 px map.
SPEC = ModelSpec(32, (8, 8, 6, 4), z_dim=8, w_dim=8, mapping_layers=2, max_pad_res=8)
BEYOND = EncoderConfig("fast", pad_resolutions=(4, 8, 16))


def three_widths(image_size: int, size: str | None = None) -> Widths:
    """Maps at 16, 8 and 4 px."""
    return Widths({16: (8, 1), 8: (8, 1), 4: (8, 1)}, squeeze=8, hidden=16, fpn=8)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr("padinv.models.fast_encoder.widths", three_widths)
    generator = lively_generator(SPEC)
    return Pair(generator, lively_encoder(generator, BEYOND), "beyond")


def parts(encoder: Encoder, image: Tensor) -> dict[str, np.ndarray]:
    with torch.no_grad():
        wp, const, rings = encoder(image)
    assert const is not None
    assert rings is not None
    return {"wp": wp.numpy(), "const": const.numpy(), **{f"pad_{r}": ring.numpy() for r, ring in rings.items()}}


def test_the_bundle_has_the_ring_and_computes_what_the_run_does(pair: Pair, tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    expected = parts(pair.encoder, image)
    with torch.no_grad():
        picture = pair.generator.synthesis(*pair.encoder(image)).numpy()
    export_bundle(pair, tmp_path / "bundle", Options(compact=True))
    model = Model.load(tmp_path / "bundle")
    assert model.spec.pad_resolutions == (4, 8, 16)
    inversion = model.encode(image.numpy())
    np.testing.assert_allclose(inversion.rings[16], expected["pad_16"], atol=2e-2)
    np.testing.assert_allclose(model.generate_float(inversion), picture, atol=0.05 * np.abs(picture).max())

    again = load_encoder(tmp_path / "bundle")
    found = parts(again, image)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=0.02 * np.abs(value).max(), err_msg=name)
    assert load_generator(tmp_path / "bundle").spec.max_pad_res == 16


def test_a_wider_spec_without_the_level_would_read_another_constant(pair: Pair) -> None:
    image = torch.rand(1, 3, 32, 32)
    wide = with_all_rings(pair).encoder
    np.testing.assert_array_equal(parts(wide, image)["const"], parts(pair.encoder, image)["const"])
    naive = Encoder(wide.spec, BEYOND).eval()
    naive.load_state_dict(pair.encoder.state_dict())
    assert np.abs(parts(naive, image)["const"] - parts(pair.encoder, image)["const"]).max() > 1e-3


def test_other_pairs_stay_as_they_are() -> None:
    generator = lively_generator()
    pair = Pair(generator, lively_encoder(generator, EncoderConfig(padding=False)))
    assert with_all_rings(pair) is pair


@pytest.mark.parametrize("level", [True, 3, 1 << 20, "8"])
def test_a_level_that_is_not_a_resolution_is_refused(level: object) -> None:
    config = EncoderConfig("fast", const_level=8)
    assert EncoderConfig.from_dict(config.to_dict()) == config
    assert "const_level" not in EncoderConfig("fast").to_dict()
    with pytest.raises(InputError, match="const_level"):
        EncoderConfig.from_dict({**config.to_dict(), "const_level": level})
