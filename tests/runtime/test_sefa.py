from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_bundle import SPEC

from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.editing.sefa import closed_form, code_spread, latent_direction, modulation_weights
from padinv.runtime.errors import BundleError, UsageError


def test_directions_are_the_eigenvectors_in_order_with_a_fixed_sign() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(20, 6)) * np.array([5, 3, 1, 1, 1, 1]) for _ in range(3)]
    found, share = closed_form(weights, [0, 2], 6)
    rows = np.concatenate([weights[0], weights[2]])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    _, values, vectors = np.linalg.svd(rows)
    np.testing.assert_allclose(np.abs(found @ vectors.T), np.eye(6), atol=1e-9)
    np.testing.assert_allclose(share, np.square(values) / np.square(values).sum())
    assert (found[np.arange(6), np.abs(found).argmax(axis=1)] > 0).all()
    assert np.abs(found[0]).argmax() == 0
    with pytest.raises(UsageError, match="this generator has the layers 0-2"):
        closed_form(weights, [3])
    with pytest.raises(UsageError, match="has 1 to 6 directions"):
        closed_form(weights, None, 7)


def test_a_latent_direction_moves_the_chosen_layers_and_no_padding() -> None:
    vector = np.arange(1.0, SPEC.w_dim + 1)
    direction = latent_direction(SPEC, vector, "1f", [1, 2])
    np.testing.assert_array_equal(direction.wp[1], vector)
    assert not direction.wp[[0, *range(3, SPEC.num_layers)]].any()
    assert not any(array.any() for name, array in direction.arrays().items() if name != "wp")
    assert direction.space == "latent"
    layered = np.random.default_rng(0).normal(size=SPEC.wp_shape)
    np.testing.assert_allclose(latent_direction(SPEC, layered, "1f").wp, layered, rtol=1e-6)
    with pytest.raises(UsageError, match=r"has shape \[8\] or \[6, 8\]"):
        latent_direction(SPEC, np.ones(5), "1f")


def test_spread_is_that_of_the_projections() -> None:
    codes = np.random.default_rng(0).normal(size=(5000, 4)) * [3, 1, 1, 1]
    assert code_spread(codes, np.array([7.0, 0, 0, 0])) == pytest.approx(3, rel=0.05)


def test_a_bundle_without_usable_weights_is_a_sentence(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no modulation weights .* export it again with this version"):
        modulation_weights(read_bundle(tiny_bundle))
    manifest = {k: v for k, v in read_bundle(tiny_bundle).manifest.items() if k not in ("files", "format")}
    good = {f"code_{i}": np.ones((3, SPEC.w_dim), np.float16) for i in range(SPEC.num_layers)}
    path = tiny_bundle / "modulation.safetensors"
    for wrong in (np.ones((3, 5), np.float16), np.full((3, SPEC.w_dim), np.inf, np.float16)):
        save_file({**good, "code_2": wrong}, path)
        write_manifest(tiny_bundle, manifest)
        with pytest.raises(BundleError, match="holds no usable weights of code 2"):
            modulation_weights(read_bundle(tiny_bundle))
    save_file(good, path)
    write_manifest(tiny_bundle, manifest)
    assert len(modulation_weights(read_bundle(tiny_bundle))) == SPEC.num_layers
    path.write_bytes(b"\xff" * 40)
    write_manifest(tiny_bundle, manifest)
    with pytest.raises(BundleError, match="cannot be used"):
        modulation_weights(read_bundle(tiny_bundle))
