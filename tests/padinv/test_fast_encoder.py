"""The fast body computes ring positions only; the full maps say the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from padinv.models.border_heads import ring_cells
from padinv.models.fast_encoder import FastBody
from padinv.models.rings import extract_ring
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(64, (8, 7, 6, 5, 4), z_dim=8, w_dim=8, mapping_layers=1)


@pytest.mark.parametrize(("resolution", "level"), [(4, 4), (8, 4), (32, 4), (32, 16)])
def test_one_gather_is_nearest_upsampling_replicated_padding_and_taking_the_ring(resolution: int, level: int) -> None:
    x = torch.arange(float(level * level)).reshape(1, 1, level, level)
    up = F.interpolate(x, size=[resolution, resolution], mode="nearest")
    want = extract_ring(F.pad(up, (1, 1, 1, 1), mode="replicate"))
    assert want[0, 0].long().tolist() == ring_cells(resolution, level)


@torch.no_grad()
def test_rings_equal_those_of_full_maps() -> None:
    torch.manual_seed(0)
    body = FastBody(SPEC, const=True, pad_resolutions=(4, 8, 16, 32)).eval().double()
    for module in body.projections.modules():
        if isinstance(module, torch.nn.Conv1d):
            module.weight.normal_()
            module.bias.normal_()
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    maps = {}
    x = body.stem(image)
    for resolution, stage in zip(body.resolutions, body.stages, strict=True):
        x = stage(x)
        maps[resolution] = x
    _, _, rings = body(image)
    for r, ring in rings.items():
        total = 0
        for level in (v for v in maps if v <= r):
            lateral = body.laterals[str(level)]
            full = F.conv2d(maps[level], lateral.weight.unsqueeze(3), lateral.bias)  # the 1x1 as a convolution of maps
            total = total + F.interpolate(full, size=[r, r], mode="nearest")
        act, projection = body.projections[str(r)]
        padded = F.conv2d(act(F.pad(total, (1, 1, 1, 1), mode="replicate")), projection.weight.unsqueeze(3))
        want = extract_ring(padded + projection.bias[:, None, None])
        assert want.std() > 0
        torch.testing.assert_close(ring, want, rtol=1e-10, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("rings", [(), (4, 8), (4, 8, 16, 32)])
def test_the_constant_is_the_centre_of_the_full_map(rings: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    body = FastBody(SPEC, const=True, pad_resolutions=rings).eval().double()
    assert body.const_head is not None
    act, projection = body.const_head
    projection.weight.normal_()
    projection.bias.normal_()
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    total: torch.Tensor | float = 0.0
    x = body.stem(image)
    for stage, lateral in zip(body.stages, body.laterals.values(), strict=True):
        x = stage(x)
        full = F.conv2d(x, lateral.weight.unsqueeze(3), lateral.bias)
        total = total + F.interpolate(full, size=[32, 32], mode="nearest")
    want = F.conv2d(act(total), projection.weight.unsqueeze(3), projection.bias)[:, :, 14:18, 14:18]
    const = body(image)[1]
    assert const.std() > 0
    torch.testing.assert_close(const, want, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_constant_without_any_ring_is_the_whole_coarsest_map() -> None:
    spec = ModelSpec(32, (8, 7, 6, 5), z_dim=8, w_dim=8, mapping_layers=1, max_pad_res=0)
    const, rings = FastBody(spec, const=True, pad_resolutions=()).eval()(torch.randn(2, 3, 32, 32))[1:]
    assert const is not None
    assert const.shape == (2, 8, 4, 4)
    assert rings == {}


def test_a_ring_finer_than_the_backbone_is_refused() -> None:
    with pytest.raises(UsageError, match="no feature at 64 px for a 64 px picture"):
        FastBody(SPEC, const=True, pad_resolutions=(4, 64))
