"""Whether edits still work on codes that have moved, and refinement that stops where they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_run import lively_generator
from torch import Tensor

from padinv.editability import Editability, SpatialEditability, moved, sampled_edits
from padinv.models.generator import Generator
from padinv.models.passes import Latents
from padinv.refine import refine
from padinv.runtime.spatial import faded
from padinv.runtime.spec import ModelSpec, ring_length

SPEC = ModelSpec(32, (8, 8, 6, 4), z_dim=8, w_dim=8, mapping_layers=2)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return lively_generator(SPEC).requires_grad_(False)


def latents(seed: int, count: int = 2, size: float = 1.0) -> Latents:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return size * torch.randn(count, *shape, generator=random)

    return draw(*SPEC.wp_shape), draw(*SPEC.const_shape), {r: draw(*SPEC.ring_shape(r)) for r in (4, 8)}


def one(values: Latents) -> Latents:
    wp, const, rings = values
    assert const is not None
    assert rings is not None
    return wp[0], const[0], {r: ring[0] for r, ring in rings.items()}


def test_the_effect_is_the_part_of_the_new_change_along_the_old_one(generator: Generator) -> None:
    start, edits = latents(1), [one(latents(seed, 1, 0.3)) for seed in (5, 6)]
    found = Editability(generator, start, edits).effects(after := latents(2))

    def draw(values: Latents) -> np.ndarray:
        with torch.no_grad():
            return generator.synthesis(*values).clamp(-1, 1).double().numpy()

    for k, edit in enumerate(edits):
        old = draw(moved(start, edit)) - draw(start)
        new = draw(moved(after, edit)) - draw(after)
        wanted = [np.vdot(b, a) / np.vdot(a, a) for a, b in zip(old, new, strict=True)]
        np.testing.assert_allclose(found[:, k].numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_codes_that_have_not_moved_are_usable_and_others_are_not(generator: Generator) -> None:
    start = latents(1)
    watched = Editability(generator, start, sampled_edits(generator))
    assert watched(start).all()
    assert watched.deviation(start).abs().max() < 1e-6
    assert not watched(latents(2, size=3.0)).any()


def test_an_edit_without_padding_moves_codes_alone(generator: Generator) -> None:
    wp, const, rings = latents(1)
    step = sampled_edits(generator, 1)[0]
    after = moved((wp, const, rings), step)
    assert torch.equal(after[0], wp + step[0])
    assert after[1] is const
    assert after[2] is rings
    assert moved((wp, None, None), one(latents(3)))[1:] == (None, None)


def test_refinement_keeps_the_last_codes_that_were_usable(generator: Generator) -> None:
    with torch.no_grad():
        image = generator.synthesis(*latents(2)).clamp(-1, 1)
    start, asked = latents(1), []

    def usable(values: Latents) -> Tensor:
        asked.append([values[0].clone(), values[1].clone()])
        return torch.tensor([True, len(asked) < 2])  # the second image is spoilt from the second check on

    found = refine(generator, image, *start, steps=20, check_every=5, usable=usable)
    assert found.stopped == ("end", "usable")
    assert torch.equal(found.wp[1], asked[0][0][1])
    assert torch.equal(found.wp[0], asked[-1][0][0])
    assert (found.loss < found.first_loss).all()
    whole = refine(generator, image, *start, steps=5, check_every=5)
    first = torch.tensor([True, False])
    answers = iter([first, first, first | True])  # at the check, half of the way, a quarter of the way
    part = refine(generator, image, *start, steps=5, check_every=5, usable=lambda values: next(answers))
    torch.testing.assert_close(part.wp[0], whole.wp[0])
    torch.testing.assert_close(part.wp[1], start[0][1].lerp(whole.wp[1], 0.25))
    never = refine(generator, image, *start, steps=8, check_every=3, usable=lambda values: torch.zeros(2) > 0)
    assert torch.equal(never.wp, start[0])
    assert torch.equal(never.loss, never.first_loss)
    assert never.steps == 3, "nothing is computed when no image is left"


def test_refinement_stops_at_a_small_gain_and_at_the_end_of_its_time(generator: Generator) -> None:
    with torch.no_grad():
        image = generator.synthesis(*latents(2)).clamp(-1, 1)
    whole = refine(generator, image, *latents(1), steps=60)
    early = refine(generator, image, *latents(1), steps=60, min_gain=0.9)
    assert early.steps == 10
    assert set(early.stopped) == {"gain"}
    assert (early.loss >= whole.loss).all()
    assert refine(generator, image, *latents(1), steps=100_000, seconds=0.05).steps < 100_000


def test_the_consistency_term_brings_edited_images_closer_to_what_they_should_be(generator: Generator) -> None:
    with torch.no_grad():
        image = generator.synthesis(*latents(2)).clamp(-1, 1)
    start = latents(1)
    watched = Editability(generator, start, [one(latents(5, 1, 0.3))], tolerance=100.0)
    free, held = (refine(generator, image, *start, steps=30, usable=watched, consistency=c) for c in (0.0, 3.0))
    far, near = (watched.error((found.wp, found.const, found.rings), image, 0) for found in (free, held))
    assert (near < 0.95 * far).all()
    error = watched.error(start, image, 0)
    with torch.no_grad():
        edited = generator.synthesis(*moved(start, watched.edits[0]))
        wanted = (edited - image - watched.before[0]).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(error, wanted)


def test_a_penalty_keeps_codes_closer(generator: Generator) -> None:
    with torch.no_grad():
        image = generator.synthesis(*latents(2)).clamp(-1, 1)
    start = latents(1)
    free, held = (refine(generator, image, *start, steps=30, penalty=penalty) for penalty in (0.0, 100.0))
    moved = [(found.wp - start[0]).norm(dim=(1, 2)) for found in (free, held)]
    assert (moved[1] > 0).all()
    assert (moved[1] < 0.7 * moved[0]).all()
    assert ring_length(4) == held.rings[4].shape[2]


def test_a_spatial_code_is_refined_alone_and_edits_show_it_as_the_runtime_does(generator: Generator) -> None:
    """The runtime fades the code where the edited reconstruction differs from the colours beside it."""
    random = torch.Generator().manual_seed(3)
    code, colours = torch.randn(2, 8, 8, 8, generator=random), torch.rand(2, 3, 8, 8, generator=random) - 0.5
    start, edit = latents(1), one(latents(5, 1, 0.3))
    with torch.no_grad():
        image = generator.synthesis(*latents(2)).clamp(-1, 1)
        edited = generator.synthesis(*moved(start, edit))
        left = torch.from_numpy(faded(torch.cat([code, colours], dim=1).numpy(), edited.numpy()))
        shown = generator.synthesis(*moved(start, edit), spatial={8: left}).clamp(-1, 1)
        change = shown - generator.synthesis(*start, spatial={8: code}).clamp(-1, 1)
    watched = SpatialEditability(generator, start, {8: code}, {8: colours}, [edit])
    torch.testing.assert_close(watched.before[0], change)
    found = refine(generator, image, *start, spatial={8: code}, steps=20, lr=0.1, usable=watched, consistency=1.0)
    assert found.spatial is not None
    assert torch.equal(found.wp, start[0])
    assert found.rings is start[2]
    assert (found.loss < found.first_loss).all()
    assert not torch.equal(found.spatial[8], code)
    assert (watched.deviation(found.spatial) <= watched.tolerance).all()
