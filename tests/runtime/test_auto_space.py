from __future__ import annotations

import numpy as np
import pytest
from tiny_bundle import SPEC

from padinv.runtime import editing
from padinv.runtime.editing.auto_space import FACES, STEPS, TRUNCATION, Evidence, Faces, Score, choose_space
from padinv.runtime.editing.pair_change import Change, changed_region
from padinv.runtime.errors import InputError
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model


def moved(name: str, amount: float) -> tuple[Inversion, Inversion]:
    """A random inversion, and the same with `amount` added to one of its arrays."""
    rng = np.random.default_rng(0)
    arrays = {n: (0.1 * rng.standard_normal((1, *shape))).astype(np.float32) for n, shape in SPEC.latent_shapes.items()}
    changed = {n: array + (amount if n == name else 0) for n, array in arrays.items()}
    return Inversion.from_arrays(arrays, "1f" * 32), Inversion.from_arrays(changed, "1f" * 32)


@pytest.mark.parametrize(("name", "space"), [("wp", "latent"), ("pad_8", "padding"), ("const", "padding")])
def test_the_space_that_holds_the_change_is_chosen(tiny_bundle, name, space):
    model = Model.load(tiny_bundle, "cpu", 1)
    a, edited = moved(name, 5.0 if name != "const" else 0.5)
    pair = [model.generate_float(one)[0].clip(-1, 1) for one in (a, edited)]
    faces = Faces(pair[0][None], a, pair[0][None])  # A itself, on which the difference makes the change exactly
    evidence = choose_space(model, a, edited, *pair, faces=faces)
    other = "latent" if space == "padding" else "padding"
    assert evidence.space == space
    assert evidence.helps
    assert evidence.scores[space].reproduced == pytest.approx(1, abs=0.02)
    assert evidence.scores[other].reproduced == pytest.approx(0, abs=0.02)
    assert f"chosen: {space}" in evidence.sentence()
    for one in (space, other):
        assert evidence.to_dict()["scores"][one]["disturbed"] == pytest.approx(0, abs=0.02)


def test_what_both_disturb_decides_when_both_reproduce_alike():
    evidence = Evidence({"padding": Score(0.7, 0.3), "latent": Score(0.65, 0.1)}, 0.1)
    assert evidence.space == "latent"
    assert evidence.helps
    assert evidence.sentence() == (
        "on other faces, padding reproduces 70% of the change and disturbs 30% around it; latent reproduces 65% of the "
        "change and disturbs 10% around it; chosen: latent"
    )


def test_an_edit_that_does_more_harm_than_good_is_said_to():
    evidence = Evidence({"padding": Score(0.2, 0.3), "latent": Score(-0.1, 0.1)}, 0.1)
    assert evidence.space == "padding"
    assert not evidence.helps
    assert not evidence.to_dict()["helps"]
    assert evidence.sentence().endswith(
        "chosen: padding (warning: on other faces, neither edit is closer to the target than no edit)"
    )


@pytest.mark.parametrize("masked", [False, True])
def test_scores_are_those_of_plain_arithmetic_on_the_generators_faces(tiny_bundle, masked):
    model = Model.load(tiny_bundle, "cpu", 1)
    before = np.random.default_rng(1).uniform(-0.5, 0.5, (3, 16, 16)).astype(np.float32)
    after = before.copy()
    after[:, 4:12, 4:12] = 0.9
    mask = None
    if masked:
        mask = np.zeros((16, 16))
        mask[:, :10] = 1
    a, edited = model.encode(before[None]), model.encode(after[None])
    ticks: list[int] = []
    evidence = choose_space(model, a, edited, before, after, mask, batch_size=5, tick=ticks.append)
    assert sum(ticks) == STEPS
    region = changed_region(before, after, mask)
    change = Change.between(before, after, region)
    direction = editing.difference(a, edited)
    for space in ("padding", "latent"):
        left = drift = whole = 0.0
        for seed in range(FACES):
            face = model.generate_float(model.sample(seed, TRUNCATION)).clip(-1, 1)
            inversion = model.encode(face)
            plain = model.generate_float(inversion)[0].clip(-1, 1)
            made = model.generate_float(editing.apply(inversion, direction, space))[0].clip(-1, 1) - plain
            true = change.on(face)[0] - face[0]
            whole += (region * true**2).sum()
            left += (region * (made - true) ** 2).sum()
            outside = (1 - region) * made**2
            drift += outside.sum() if mask is None else outside[:, mask > 0].sum()
        assert evidence.scores[space].reproduced == pytest.approx(1 - left / whole, abs=1e-4)
        assert evidence.scores[space].disturbed == pytest.approx(drift / whole, abs=1e-4)
    assert evidence.changed == pytest.approx(region.mean())
    assert evidence.moved == (change.displacement is not None)


def test_a_pair_without_a_difference_is_refused(tiny_bundle):
    model = Model.load(tiny_bundle, "cpu", 1)
    picture = np.zeros((3, 16, 16), np.float32)
    a = model.encode(picture[None])
    with pytest.raises(InputError, match="show no difference"):
        choose_space(model, a, a, picture, picture)
