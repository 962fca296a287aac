from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import SPEC, lively_generator

from padinv.runtime.bundle import read_bundle
from padinv.runtime.editing.sefa import closed_form, modulation_weights


def styles(generator: torch.nn.Module, wp: torch.Tensor, layers: list[int]) -> np.ndarray:
    """All styles that the chosen codes decide, each scaled to a weight row of length 1, for codes wp [N, L, w_dim]."""
    found = []
    readers = [(code, layer) for code, layer in enumerate(generator.layers)]  # type: ignore[arg-type]
    readers += [(2 * k + 1, layer) for k, layer in enumerate(generator.to_rgb)]  # type: ignore[arg-type]
    for code, layer in readers:
        if code in layers:
            gain = layer.affine.weight.norm(dim=1) / SPEC.w_dim**0.5
            found.append(layer.affine(wp[:, code]) / gain)
    return torch.cat(found, dim=1).numpy().astype(np.float64)


@torch.no_grad()
@pytest.mark.parametrize("layers", [[0, 1], [3], list(range(SPEC.num_layers))])
def test_an_exported_bundles_first_direction_moves_the_styles_most(exported: Path, layers: list[int]) -> None:
    generator = lively_generator()
    found, share = closed_form(modulation_weights(read_bundle(exported)), layers, 3)
    assert found.shape == (3, SPEC.w_dim)
    assert (np.diff(share) <= 0).all()

    def moved(direction: np.ndarray) -> float:
        start = torch.zeros(1, SPEC.num_layers, SPEC.w_dim)
        end = start + torch.tensor(direction, dtype=torch.float32)
        return float(np.square(styles(generator, end, layers) - styles(generator, start, layers)).sum())

    best = moved(found[0])
    rng = np.random.default_rng(0)
    for vector in rng.normal(size=(200, SPEC.w_dim)):
        assert moved(vector / np.linalg.norm(vector)) <= best * 1.001
    total = sum(moved(unit) for unit in np.eye(SPEC.w_dim))
    assert best / total == pytest.approx(share[0], rel=0.01)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-9)


def test_a_compact_bundle_needs_no_file_for_it() -> None:
    """Its graph holds the raw weights by name, and they are read without the package onnx."""
    from padinv.export.compact_modules import CompactGenerator, rounded, to_compact_onnx
    from padinv.export.graph_table import graphs
    from padinv.export.modulation import modulation_rows
    from padinv.runtime.editing.sefa import affine_names
    from padinv.runtime.onnx_weights import read_weights

    generator = rounded(lively_generator())
    data = to_compact_onnx(CompactGenerator(generator), graphs(SPEC)["generator"]).SerializeToString()
    names = affine_names(SPEC)
    found = read_weights(data, [f"generator.{name}" for several in names for name in several])
    expected = modulation_rows(generator)
    for code, several in enumerate(names):
        rows = np.concatenate([found[f"generator.{name}"] for name in several])
        np.testing.assert_allclose(rows, expected[f"code_{code}"], rtol=1e-3, atol=1e-3)


def test_the_built_in_model_has_closed_form_directions() -> None:
    weights = modulation_weights(read_bundle())
    assert len(weights) == read_bundle().spec.num_layers
    _, share = closed_form(weights, None, 3)
    assert share[0] > 1.5 / read_bundle().spec.w_dim
