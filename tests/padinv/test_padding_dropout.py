"""Dropping padding while training, and the named sizes of the fast encoder."""

from __future__ import annotations

import pytest
import torch

from padinv.models.encoder import Encoder, EncoderConfig
from padinv.models.fast_encoder import SIZES, widths
from padinv.models.generator import Generator
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.disturbed_padding import drop_padding

SPEC = ModelSpec(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)


def padding(n: int) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    torch.manual_seed(0)
    return torch.randn(n, 8, 4, 4), {r: torch.randn(n, 8, 4 * r + 4) for r in (4, 8, 16)}


def test_dropped_images_get_the_generators_constant_and_zero_coarse_rings() -> None:
    generator = Generator(SPEC)
    const, rings = padding(400)
    new_const, new_rings = drop_padding(generator, const, rings, 0.25, max_res=8)
    assert new_const is not None
    assert new_rings is not None
    dropped = (new_const == generator.const).flatten(1).all(dim=1)
    assert 60 < int(dropped.sum()) < 140  # five standard deviations around a quarter of 400
    torch.testing.assert_close(new_const[~dropped], const[~dropped], rtol=0, atol=0)
    for r in (4, 8):
        assert not new_rings[r][dropped].any()
        torch.testing.assert_close(new_rings[r][~dropped], rings[r][~dropped], rtol=0, atol=0)
    assert new_rings[16] is rings[16]  # finer rings stay
    assert rings[4].abs().sum(dim=(1, 2)).min() > 0  # the caller's tensors are not written to


def test_an_encoder_without_padding_has_nothing_to_drop() -> None:
    assert drop_padding(Generator(SPEC), None, None, 0.5, max_res=8) == (None, None)


def test_a_share_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(UsageError, match="padding_dropout"):
        TrainConfig(padding_dropout=1.0)


@pytest.mark.parametrize("size", sorted(SIZES))
def test_every_size_predicts_what_the_generator_takes(size: str) -> None:
    encoder = Encoder(SPEC, EncoderConfig("fast", size=size)).eval()
    wp, const, rings = encoder(torch.zeros(1, 3, 32, 32))
    assert wp.shape == (1, *SPEC.wp_shape)
    assert const is not None
    assert const.shape == (1, *SPEC.const_shape)
    assert rings is not None
    assert {r: tuple(v.shape) for r, v in rings.items()} == {
        4: (1, 8, 20),
        8: (1, 8, 36),
        16: (1, 8, 68),
    }


def test_sizes_grow_and_default_by_the_images_side() -> None:
    def cells(size: str) -> int:
        plan = widths(256, size)
        return plan.hidden + sum(channels * blocks for channels, blocks in plan.stages.values())

    assert cells("small") < cells("medium") < cells("large")
    assert widths(64) == widths(64, "small")
    assert widths(128) == widths(128, "large")


def test_the_size_travels_with_the_configuration_and_a_wrong_one_is_refused() -> None:
    config = EncoderConfig("fast", size="medium")
    assert EncoderConfig.from_dict(config.to_dict()) == config
    assert TrainConfig(arch="fast", size="medium").encoder == config
    with pytest.raises(UsageError, match="small, medium, large"):
        EncoderConfig("fast", size="huge")
    with pytest.raises(UsageError, match="fast"):
        EncoderConfig("reference", size="small")
