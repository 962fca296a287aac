from __future__ import annotations

import numpy as np
import pytest
from tiny_bundle import GENERATOR_HASH, SPEC

from padinv.runtime.editing.fit_direction import (
    area_under_curve,
    fit_direction,
    principal,
)
from padinv.runtime.editing.operations import apply
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.inversion import Inversion


def codes(count: int = 200, seed: int = 0) -> Inversion:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=(count, *shape)) for name, shape in SPEC.latent_shapes.items()}
    return Inversion.from_arrays(arrays, GENERATOR_HASH)


def flat(inversion: Inversion, names: list[str]) -> np.ndarray:
    arrays = inversion.arrays()
    return np.concatenate([arrays[n].reshape(len(inversion), -1) for n in names], axis=1).astype(np.float64)


def attribute(inversion: Inversion) -> np.ndarray:
    """Something that one latent code and one padding position decide."""
    return inversion.wp[:, 0, 0] + 2 * inversion.const[:, 1, 2, 2]


def test_scores_give_the_ridge_regression_of_the_textbook() -> None:
    inversion = codes(40)
    score = attribute(inversion)
    direction = fit_direction(inversion, score, space="latent", shrinkage=0.5)
    x = flat(inversion, ["wp"])
    x = x - x.mean(axis=0)
    penalty = 0.5 * np.square(x).sum() / len(x)
    w = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (score - score.mean()))
    w *= (x @ w).std() / np.linalg.norm(w) ** 2
    np.testing.assert_allclose(direction.wp.ravel(), w, atol=1e-4)
    assert not direction.const.any()
    assert direction.space == "latent"


def test_classes_give_the_minimum_of_the_logistic_loss() -> None:
    inversion = codes(60)
    label = (attribute(inversion) > 0.5).astype(float)
    direction = fit_direction(inversion, label, space="both", shrinkage=1.0)
    names = list(inversion.arrays())
    x = flat(inversion, names)
    x = x - x.mean(axis=0)
    penalty = 0.25 * np.square(x).sum() / len(x)
    weight = np.where(label > 0, 0.5 / label.mean(), 0.5 / (1 - label.mean()))
    w, b = np.zeros(x.shape[1]), 0.0
    for _ in range(4000):  # plain gradient descent on the primal problem
        slope = weight * (1 / (1 + np.exp(-(x @ w + b))) - label)
        w -= (x.T @ slope + penalty * w) / (penalty + np.square(x).sum(axis=1).max() * 10)
        b -= slope.mean()
    w *= (x @ w).std() / np.linalg.norm(w) ** 2
    found = np.concatenate([direction.arrays()[n].ravel() for n in names])
    np.testing.assert_allclose(found, w, atol=2e-3)


def test_one_unit_is_one_standard_deviation_of_the_codes() -> None:
    inversion = codes()
    direction = fit_direction(inversion, attribute(inversion), space="padding")
    names = ["const", "pad_4", "pad_8"]
    vector = np.concatenate([direction.arrays()[n].ravel() for n in names])
    along = (flat(inversion, names) - flat(inversion, names).mean(axis=0)) @ (vector / np.linalg.norm(vector))
    assert np.linalg.norm(vector) == pytest.approx(along.std(), rel=1e-3)


def test_the_attribute_rises_on_codes_that_were_not_fitted() -> None:
    inversion, others = codes(), codes(seed=1)
    direction = fit_direction(inversion, attribute(inversion))
    assert (attribute(apply(others, direction)) > attribute(others) + 0.1).all()
    assert (attribute(apply(others, direction, strength=-1)) < attribute(others) - 0.1).all()
    assert direction.info["accuracy"]["correlation"] > 0.3


def test_accuracy_is_measured_on_images_that_were_left_out() -> None:
    """With random labels the fit itself separates the classes; the cross-validation must not."""
    inversion = codes(100)
    label = np.random.default_rng(3).integers(0, 2, 100)
    accuracy = fit_direction(inversion, label, shrinkage=0.01).info["accuracy"]
    assert 0.3 < accuracy["balanced_accuracy"] < 0.7
    assert 0.3 < accuracy["auc"] < 0.7
    positive = inversion.wp[:, 0, 0] > 0
    true = fit_direction(inversion, positive, space="latent", shrinkage=0.1).info["accuracy"]
    assert true["balanced_accuracy"] > 0.8
    assert true["images"] == {"0.0": int((~positive).sum()), "1.0": int(positive.sum())}


def test_a_control_takes_its_own_effect_out() -> None:
    """Glasses are more common among the old; a direction for glasses must not add years."""
    rng = np.random.default_rng(5)
    inversion = codes(400, seed=5)
    age = inversion.wp[:, 1, 3].astype(float)
    glasses = (inversion.wp[:, 0, 0] + 1.5 * age + 0.2 * rng.normal(size=400) > 0).astype(float)
    alone = fit_direction(inversion, glasses, space="latent", shrinkage=0.3)
    controlled = fit_direction(inversion, glasses, space="latent", shrinkage=0.3, controls=age[:, None])
    assert alone.wp[1, 3] > 0.5
    assert abs(controlled.wp[1, 3]) < 0.2 * alone.wp[1, 3]
    assert controlled.wp[0, 0] > 0.5


def test_many_images_go_through_a_sketch_that_agrees_with_the_exact_components() -> None:
    rng = np.random.default_rng(0)
    block = rng.normal(size=(300, 40)) @ np.diag(1.2 ** -np.arange(40))
    block -= block.mean(axis=0)
    exact = principal({"a": block[:, :25], "b": block[:, 25:]}, rng, 200)
    sketched = principal({"a": block[:, :25], "b": block[:, 25:]}, rng, 12)
    assert sketched.variance == pytest.approx(exact.variance)
    np.testing.assert_allclose(np.abs(sketched.z), np.abs(exact.z[:, :12]), atol=1e-6)
    components = block.T @ exact.basis
    np.testing.assert_allclose(components.T @ components, np.eye(components.shape[1]), atol=1e-6)


def test_too_little_to_fit_is_a_sentence() -> None:
    inversion = codes(30)
    with pytest.raises(InputError, match="30 images with 1 distinct label are too few"):
        fit_direction(inversion, np.ones(30))
    with pytest.raises(InputError, match="one class has only 2 images; a direction needs at least 5 of each"):
        fit_direction(inversion, np.arange(30) < 2)
    with pytest.raises(InputError, match="10 images with 10 distinct labels are too few"):
        fit_direction(inversion[:10], np.arange(10))
    with pytest.raises(UsageError, match="30 images need as many labels"):
        fit_direction(inversion, np.arange(29))
    with pytest.raises(InputError, match="must be finite"):
        fit_direction(inversion, np.where(np.arange(30) == 3, np.nan, np.arange(30)))
    with pytest.raises(UsageError, match="space must be one of"):
        fit_direction(inversion, np.arange(30), space="z")
    same = inversion[np.zeros(30, int)]
    with pytest.raises(InputError, match="codes are all the same"):
        fit_direction(same, np.arange(30))


def test_area_under_the_curve() -> None:
    assert area_under_curve(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area_under_curve(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
    assert area_under_curve(np.array([0.0, 2.0]), np.array([1.0])) == 0.5
