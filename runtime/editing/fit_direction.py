"""A direction from labelled images: logistic regression for two classes, ridge regression for scores, on their codes.

The boundary between two classes of codes, found by a linear classifier, gives a direction (InterFaceGAN, Shen et al.
2020). Here codes are latents, padding or both, thousands of images against tens of thousands of numbers each, so that
regression runs on the principal components of the images' Gram matrix and is strongly regularised. The regularisation
also decides what an edit looks like: with little of it the normal of the boundary changes the score and hardly the
picture, with a lot of it the direction becomes the difference of the class means and takes everything along that goes
with the attribute in the photographs. The default was chosen for the largest change of the attribute per change of the
picture (docs/directions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.operations import SPACES, moves
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.inversion import Inversion

MIN_IMAGES = 20  # in all, and MIN_OF_A_CLASS in each class
MIN_OF_A_CLASS = 5
MAX_IMAGES = 4000  # a random choice is made of more: the Gram matrix grows with the square of their number
COMPONENTS = 512
DEFAULT_SHRINKAGE = 3.0
DEFAULT_FOLDS = 5

_STEPS = 30  # of Newton's method; it takes about six
_ENOUGH = 1e-8  # largest change of a coefficient that ends it


@dataclass(frozen=True)
class Coordinates:
    """Codes of N images as coordinates along their principal components.

    Attributes:
        z: [N, m], centred.
        basis: [N, m]; X^T basis is an orthonormal basis of the components, X being the centred codes.
        variance: mean squared distance of the codes from their mean, over all components.
    """

    z: np.ndarray
    basis: np.ndarray
    variance: float


def fit_direction(
    codes: Inversion,
    labels: np.ndarray,
    *,
    space: str = "both",
    controls: np.ndarray | None = None,
    shrinkage: float = DEFAULT_SHRINKAGE,
    folds: int = DEFAULT_FOLDS,
    seed: int = 0,
) -> Direction:
    """Fit a direction to labelled images.

    Args:
        codes: inversions of N images.
        labels: [N]. Two distinct values are two classes, the larger one the positive; more are scores.
        space: 'latent', 'padding' or 'both': which codes are used and moved.
        controls: [N, K] other attributes whose effect is taken out, None for none: a direction for glasses, fitted
            with age as a control, does not make people old because glasses are more common among the old.
        shrinkage: ridge penalty in units of the codes' variance.
        folds: of the cross-validation.
        seed: of the folds, and of the choice among more than `MAX_IMAGES` images.

    Returns:
        a Direction whose unit is one standard deviation of the codes along it; `info` holds the unit, how it was
        fitted (`origin`) and the cross-validated `accuracy`.

    Raises:
        UsageError: another space, or lengths that do not fit. InputError: too few images, or labels of one value.

    Example:
        smile = fit_direction(model.invert(photos), np.array([0, 1, 1, ...]), space="both")
    """
    labels, controls = _checked(codes, labels, space, controls, folds, shrinkage)
    rng = np.random.default_rng(seed)
    if len(labels) > MAX_IMAGES:
        chosen = np.sort(rng.choice(len(labels), MAX_IMAGES, replace=False))
        codes, labels, controls = codes[chosen], labels[chosen], controls[chosen]
    blocks = _centred(codes, space)
    coordinates = principal(blocks, rng)
    classes = np.unique(labels)
    two = len(classes) == 2
    target = (labels == classes[-1]).astype(np.float64) if two else _standardised(labels)
    controls = np.stack([_standardised(c) for c in controls.T], axis=1) if controls.shape[1] else controls
    fit = _logistic if two else _ridge
    penalty = shrinkage * coordinates.variance * (0.25 if two else 1.0)
    accuracy = _cross_validated(coordinates, target, controls, fit, penalty, folds, rng)
    if two:
        accuracy["images"] = {str(value): int((labels == value).sum()) for value in classes.tolist()}
    coefficients = fit(coordinates.z, target, controls, penalty)[: coordinates.z.shape[1]]
    arrays = _direction_arrays(blocks, coordinates, coefficients)
    method = "logistic regression" if two else "ridge regression"
    info = {
        "space": space,
        "unit": f"one standard deviation of {len(labels)} training codes along the direction",
        "origin": {"method": method, "images": len(labels), "shrinkage": shrinkage, "controls": controls.shape[1]},
        "accuracy": accuracy,
    }
    whole = {
        name: arrays[name].reshape(array.shape[1:]) if name in arrays else np.zeros(array.shape[1:], np.float32)
        for name, array in codes.without_spatial().arrays().items()
    }
    rings = {int(name.removeprefix("pad_")): array for name, array in whole.items() if name.startswith("pad_")}
    return Direction(whole["wp"], whole["const"], rings, codes.generator_hash, info)


def principal(blocks: dict[str, np.ndarray], rng: np.random.Generator, components: int = COMPONENTS) -> Coordinates:
    """The leading principal components of codes given as centred blocks [N, D_k], by a randomised eigendecomposition.

    Halko, Martinsson and Tropp 2011, with two power iterations; exact for up to twice `components` images.
    """
    n = len(next(iter(blocks.values())))
    gram = np.zeros((n, n))
    for block in blocks.values():
        gram += block @ block.T
    variance = float(np.trace(gram)) / n
    if n <= 2 * components:
        values, vectors = np.linalg.eigh(gram)
        values, vectors = values[::-1], vectors[:, ::-1]
    else:
        sketch = gram @ rng.standard_normal((n, components + 32))
        for _ in range(2):
            sketch = gram @ np.linalg.qr(sketch)[0]
        orthonormal = np.linalg.qr(sketch)[0]
        values, small = np.linalg.eigh(orthonormal.T @ gram @ orthonormal)
        values, vectors = values[::-1], orthonormal @ small[:, ::-1]
    keep = min(int((values > 1e-6 * values[0]).sum()), components, n - 1)
    root = np.sqrt(values[:keep])
    return Coordinates(vectors[:, :keep] * root, vectors[:, :keep] / root, variance)


def _checked(
    codes: Inversion, labels: Any, space: str, controls: Any, folds: int, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels, np.float64)
    controls = np.zeros((len(codes), 0)) if controls is None else np.asarray(controls, np.float64)
    if space not in SPACES:
        raise UsageError(f"space must be one of {', '.join(SPACES)}, not {space!r}")
    if labels.shape != (len(codes),) or controls.ndim != 2 or len(controls) != len(codes):
        raise UsageError(f"{len(codes)} images need as many labels, and controls [{len(codes)}, K]")
    if not (np.isfinite(labels).all() and np.isfinite(controls).all()):
        raise InputError("labels and controls must be finite numbers")
    if folds < 2 or not shrinkage > 0:
        raise UsageError("the cross-validation needs at least 2 folds, and the shrinkage must be above 0")
    values, counts = np.unique(labels, return_counts=True)
    if len(labels) < MIN_IMAGES or len(values) < 2:
        raise InputError(
            f"{len(labels)} images with {len(values)} distinct label{'' if len(values) == 1 else 's'} are too few; a "
            f"direction needs at least {MIN_IMAGES} images and two labels"
        )
    if len(values) == 2 and counts.min() < max(MIN_OF_A_CLASS, folds):
        raise InputError(
            f"one class has only {counts.min()} image{'' if counts.min() == 1 else 's'}; a direction needs at least "
            f"{max(MIN_OF_A_CLASS, folds)} of each"
        )
    return labels, controls


def _centred(codes: Inversion, space: str) -> dict[str, np.ndarray]:
    arrays = codes.without_spatial().arrays()  # a spatial code shows single images, not what they have in common
    chosen = {name: array.reshape(len(array), -1) for name, array in arrays.items() if moves(name, space)}
    if all((array == array[0]).all() for array in chosen.values()):
        raise InputError("the images' codes are all the same, so no direction can be fitted to them")
    return {name: array - array.mean(axis=0) for name, array in chosen.items()}


def _standardised(values: np.ndarray) -> np.ndarray:
    spread = values.std()
    result: np.ndarray = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return result


def _features(z: np.ndarray, controls: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates, controls and a constant side by side, and the penalty of each: only coordinates are penalised."""
    features = np.concatenate([z, controls, np.ones((len(z), 1))], axis=1)
    penalties = np.full(features.shape[1], 1e-8)
    penalties[: z.shape[1]] = penalty
    return features, penalties


def _ridge(z: np.ndarray, target: np.ndarray, controls: np.ndarray, penalty: float) -> np.ndarray:
    """argmin |F c - y|^2 + penalty |c_z|^2 -> c [m + K + 1]."""
    features, penalties = _features(z, controls, penalty)
    return np.linalg.solve(features.T @ features + np.diag(penalties), features.T @ target)


def _logistic(z: np.ndarray, target: np.ndarray, controls: np.ndarray, penalty: float) -> np.ndarray:
    """Penalised logistic regression by Newton's method, both classes given the same total weight -> c [m + K + 1]."""
    features, penalties = _features(z, controls, penalty)
    share = target.mean()
    balance = np.where(target > 0.5, 0.5 / share, 0.5 / (1 - share))
    c = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(features @ c, -30, 30)))
        gradient = features.T @ (balance * (p - target)) + penalties * c
        curvature = (features * (balance * p * (1 - p))[:, None]).T @ features + np.diag(penalties)
        step = np.linalg.solve(curvature, gradient)
        c -= step
        if np.abs(step).max() < _ENOUGH:
            break
    return c


def _cross_validated(
    coordinates: Coordinates,
    target: np.ndarray,
    controls: np.ndarray,
    fit: Any,
    penalty: float,
    folds: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """How well the codes alone predict labels that the fit has not seen."""
    z = coordinates.z
    fold = _folds(target, folds, rng, stratify=fit is _logistic)
    predicted = np.zeros(len(target))
    for k in range(folds):
        train, test = fold != k, fold == k
        c = fit(z[train], target[train], controls[train], penalty)
        predicted[test] = z[test] @ c[: z.shape[1]] + c[-1]
    if fit is _ridge:
        return {"folds": folds, "correlation": round(float(np.corrcoef(predicted, target)[0, 1]), 4)}
    positive, negative = predicted[target > 0.5], predicted[target <= 0.5]
    balanced = (np.mean(positive > 0) + np.mean(negative <= 0)) / 2
    return {
        "folds": folds,
        "balanced_accuracy": round(float(balanced), 4),
        "accuracy": round(float(np.mean((predicted > 0) == (target > 0.5))), 4),
        "auc": round(area_under_curve(positive, negative), 4),
    }


def _folds(target: np.ndarray, folds: int, rng: np.random.Generator, stratify: bool) -> np.ndarray:
    """A fold for each image; with `stratify`, each fold has its share of both classes."""
    fold = np.zeros(len(target), int)
    groups: Sequence[np.ndarray] = (
        [np.flatnonzero(target > 0.5), np.flatnonzero(target <= 0.5)] if stratify else [np.arange(len(target))]
    )
    for group in groups:
        fold[rng.permutation(group)] = np.arange(len(group)) % folds
    return fold


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive scores higher than a negative; ties count half (the area under the ROC curve)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    up_to = np.searchsorted(ordered, positive, "right")
    return float(np.mean((below + up_to) / 2) / len(negative))


def _direction_arrays(
    blocks: dict[str, np.ndarray], coordinates: Coordinates, coefficients: np.ndarray
) -> dict[str, np.ndarray]:
    """Coefficients along the components -> the direction in code space, one standard deviation of the codes long."""
    length = float(np.linalg.norm(coefficients))
    if length == 0:
        raise InputError("the labels have nothing to do with the images' codes, so no direction was found")
    unit = coefficients / length
    spread = float((coordinates.z @ unit).std())
    dual = (coordinates.basis @ unit * spread).astype(np.float32)  # [N]
    return {name: dual @ block for name, block in blocks.items()}
