from __future__ import annotations

import json

import pytest

from padinv.runtime.errors import InputError
from padinv.runtime.spec import ModelSpec

SPEC = ModelSpec(resolution=64, channels=(32, 32, 16, 16, 8), w_dim=64, template="faces", conv_clamp=256.0)


def test_round_trip_through_json():
    assert ModelSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC


def test_shapes_follow_the_design():
    assert SPEC.latent_shapes == {
        "wp": (10, 64),
        "const": (32, 4, 4),
        "pad_4": (32, 20),
        "pad_8": (32, 36),
        "pad_16": (16, 68),
        "pad_32": (16, 132),
    }
    assert SPEC.image_size == 64
    assert ModelSpec(resolution=1024, channels=(4,) * 9).image_size == 256


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 48},
        {"resolution": 64.0},
        {"resolution": True},
        {"resolution": 1 << 40},
        {"channels": [32, 32, 16]},
        {"channels": [32, 32, 16, 16, 1e9]},
        {"channels": [32, 32, 16, 16, 1 << 20]},
        {"channels": "32"},
        {"z_dim": 0},
        {"w_dim": 1 << 40},
        {"w_dim": "64"},
        {"mapping_layers": -1},
        {"mapping_lr_mult": float("nan")},
        {"conv_clamp": float("inf")},
        {"max_pad_res": 24},
        {"template": ["faces"]},
        {"extra": []},
        {"surprise": 1},
    ],
)
def test_untrusted_values_are_refused(change):
    with pytest.raises(InputError):
        ModelSpec.from_dict({**SPEC.to_dict(), **change})


@pytest.mark.parametrize("value", [None, [], "spec", 3, {}])
def test_what_is_no_mapping_or_lacks_fields_is_refused(value):
    with pytest.raises(InputError):
        ModelSpec.from_dict(value)
