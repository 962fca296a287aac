"""Refinement of the built-in model's inversions beside other ways to spend time on a picture.

    python benchmarks/refinement.py DATA --lpips-weights FILE [--count 8] [--slow-count 2] [--out FILE.md]
    python benchmarks/refinement.py DATA --lpips-weights FILE --passes BUNDLE --identity-weights FILE [--count 100]

DATA holds aligned photographs (a ZIP archive or folder); the first `--count` are measured, the slow baselines on the
first `--slow-count`. Every figure is of the float32 reconstruction, clamped to [-1, 1], and a mean over photographs.
`edits` is the part of the change that a direction makes to the image which lies along the change that it made to the
encoder's reconstruction: 1 where it does what it did. `watched` directions are those that the refinement looks at;
`others` are the rest of the gallery. With --passes, the passes of an iterative encoder are measured instead.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from padinv.editability import Editability
from padinv.losses.lpips import LPIPS
from padinv.models.passes import Latents
from padinv.picture_sources import open_pictures
from padinv.refine import project
from padinv.refiner import EDITS, Refiner, bundle_weights, named_edit
from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.editing.gallery import gallery_names
from padinv.runtime.images import average_pool, to_float
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model

BATCH = 4
HEAD = "| method | photographs | MSE | times the encoder's | LPIPS | edits, watched | edits, others | s a picture |"


@dataclass
class Row:
    """One way to invert, as it is shown."""

    name: str
    count: int
    mse: float
    lpips: float
    seconds: float
    effects: np.ndarray | None = None  # [number of directions]

    def cells(self, baseline: float, watched: int) -> str:
        """A line of the table; `baseline` is the encoder's error on the same photographs."""
        edits = ["–", "–"]
        if self.effects is not None:
            edits = [f"{part.mean():.2f}" if len(part) else "–" for part in np.split(self.effects, [watched])]
        ratio = f"{self.mse / baseline:.2f}"
        columns = [self.name, str(self.count), f"{self.mse:.5f}", ratio, f"{self.lpips:.4f}", *edits]
        return f"| {' | '.join([*columns, f'{self.seconds:.2f}'])} |"


class Measure:
    """The model, the photographs, and what is measured on reconstructions."""

    def __init__(self, model: Model, x: np.ndarray, lpips_weights: Path) -> None:
        self.model, self.x = model, x
        self.lpips_weights = lpips_weights
        self.lpips = LPIPS("squeeze", lpips_weights)
        self.generator = bundle_weights(model.bundle).requires_grad_(False)
        self.names = gallery_names(model.bundle)
        self.edits = [named_edit(model.bundle, name, self.generator.w_avg.device) for name in self.names]
        self.start = model.encode(x, BATCH)

    def row(self, name: str, latents: Latents, seconds: float, *, edits: bool = True) -> Row:
        """Of latents of the first photographs."""
        count = len(latents[0])
        target = torch.from_numpy(self.x[:count])
        with torch.no_grad():
            output = self.generator.synthesis(*latents).clamp(-1, 1)
            mse, lpips = float((output - target).square().mean()), float(self.lpips(output, target).mean())
            effects = None
            if edits:
                parts = [
                    Editability(self.generator, as_latents(self.start[k : k + 1]), self.edits).effects(one(latents, k))
                    for k in range(count)
                ]
                effects = torch.cat(parts).mean(dim=0).numpy()
        return Row(name, count, mse, lpips, seconds / count, effects)

    def refined(self, name: str, **settings: float) -> Row:
        """A refinement of 30 steps, timed without loading."""
        refiner = Refiner(30, lpips_weights=self.lpips_weights, device="cpu", **settings)  # type: ignore[arg-type]
        refiner.check(self.model)
        started = time.perf_counter()
        parts = [
            refiner.refine(self.model, self.start[k : k + BATCH], self.x[k : k + BATCH]).inversion
            for k in range(0, len(self.x), BATCH)
        ]
        return self.row(name, as_latents(Inversion.concat(parts)), time.perf_counter() - started)


def as_latents(inversion: Inversion) -> Latents:
    """Codes and padding as torch takes them."""
    rings = {r: torch.from_numpy(np.array(ring)) for r, ring in inversion.rings.items()}
    return torch.from_numpy(np.array(inversion.wp)), torch.from_numpy(np.array(inversion.const)), rings


def one(latents: Latents, k: int) -> Latents:
    """One image of a batch."""
    wp, const, rings = latents
    assert const is not None
    assert rings is not None
    return wp[k : k + 1], const[k : k + 1], {r: ring[k : k + 1] for r, ring in rings.items()}


def slow_rows(measure: Measure, count: int, seconds: float, steps: int) -> list[Row]:
    """Projection from w_avg, and pivotal tuning of the encoder's result in the time of a refinement."""
    image = torch.from_numpy(measure.x[:count])
    started = time.perf_counter()
    found = project(measure.generator, image, steps=steps, perceptual=measure.lpips)
    spent = time.perf_counter() - started
    rows = [measure.row(f"latent optimisation from w_avg, {steps:,} steps", (found.wp, None, None), spent, edits=False)]
    try:
        from padinv.pivotal_tuning import tune_generator
    except ModuleNotFoundError:
        return rows
    return [*rows, tuned(measure, count, seconds, tune_generator)]


def tuned(measure: Measure, count: int, seconds: float, tune: Callable) -> Row:  # type: ignore[type-arg]
    """Pivotal tuning, one photograph at a time."""
    mse, lpips, effects, spent = [], [], [], 0.0
    for k in range(count):
        image, start = torch.from_numpy(measure.x[k : k + 1]), as_latents(measure.start[k : k + 1])
        started = time.perf_counter()
        generator = tune(
            measure.generator, image, *start, steps=100_000, perceptual=measure.lpips, seconds=seconds
        ).generator
        spent += time.perf_counter() - started
        before = Editability(measure.generator, start, measure.edits)
        after = Editability(generator, start, measure.edits)
        with torch.no_grad():
            output = generator.synthesis(*start).clamp(-1, 1)
        mse.append(float((output - image).square().mean()))
        lpips.append(float(measure.lpips(output, image)))
        effects.append(
            [float((b * a).sum() / a.square().sum()) for a, b in zip(before.before, after.before, strict=True)]
        )
    name = f"pivotal tuning of the encoder's result, {seconds:.1f} s (another generator for each picture)"
    return Row(name, count, float(np.mean(mse)), float(np.mean(lpips)), spent / count, np.mean(effects, axis=0))


def passes_rows(bundle: Path, x: np.ndarray, lpips: LPIPS, identity: Path | None, threads: int) -> list[str]:
    """Each number of passes of an iterative encoder, through the runtime."""
    model = Model.load(bundle, "cpu", threads)
    network = None
    if identity is not None:
        from padinv.losses.identity import IdentityLoss
        from padinv.models.face_recognition import load_face_network

        network = IdentityLoss(load_face_network(identity), model.spec.template)
    lines = [
        "| passes | photographs | MSE | LPIPS squeeze | identity | s a picture, batch 4 |",
        "|---|---|---|---|---|---|",
    ]
    target = torch.from_numpy(x)
    for passes in range(1, model.passes + 1):
        model.reconstruct(x[:BATCH], BATCH, passes=passes)  # opens sessions, warms up
        started = time.perf_counter()
        _, y = model.reconstruct(x, BATCH, passes=passes)
        seconds = (time.perf_counter() - started) / len(x)
        output = torch.from_numpy(np.clip(average_pool(y, model.spec.image_size), -1, 1))
        with torch.no_grad():
            mse = float((output - target).square().mean())
            pairs = list(zip(output.split(16), target.split(16), strict=True))
            distance = float(torch.cat([lpips(a, b) for a, b in pairs]).mean())
            same = "–"
            if network is not None:
                found = [1 - network(a, b) for a, b in pairs]
                same = f"{float(torch.cat([f.flatten() for f in found]).mean()):.3f}"
        lines.append(f"| {passes} | {len(x)} | {mse:.5f} | {distance:.4f} | {same} | {seconds:.3f} |")
    return lines


def photographs(data: Path, size: int, count: int) -> np.ndarray:
    """The first of them: float32 [N, 3, S, S] in [-1, 1]."""
    source = open_pictures(data)
    return to_float(np.stack([source.read(k, size) for k in range(min(count, len(source)))]))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--lpips-weights", type=Path, required=True)
    arguments.add_argument("--identity-weights", type=Path)
    arguments.add_argument("--model", type=Path)
    arguments.add_argument("--passes", type=Path, metavar="BUNDLE")
    arguments.add_argument("--count", type=int, default=8)
    arguments.add_argument("--slow-count", type=int, default=2)
    arguments.add_argument("--projection-steps", type=int, default=1000)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    machine = this_machine()
    where = f"{machine.processor}, {given.threads} threads, torch {torch.__version__}"
    model = Model.load(given.passes or given.model, "cpu", given.threads)
    x = photographs(given.data, model.spec.image_size, given.count)
    lines = [f"The first {len(x)} photographs of `{given.data.name}`, float32. {where}.", ""]

    def show(more: list[str]) -> None:
        lines.extend(more)
        print("\n".join(more), flush=True)
        if given.out is not None:  # as far as it goes: a measurement may be cut short
            given.out.write_text("\n".join(lines) + "\n")

    if given.passes is not None:
        lpips = LPIPS("squeeze", given.lpips_weights)
        show([f"## Passes of `{model.bundle.name}`", ""])
        show(passes_rows(given.passes, x, lpips, given.identity_weights, given.threads))
        return
    measure = Measure(model, x, given.lpips_weights)
    watched, others = measure.names[:EDITS], measure.names[EDITS:]
    show([f"## Refinement of `{model.bundle.name}`", ""])
    show([f"Watched directions: {', '.join(watched)}; others: {', '.join(others)}.", ""])
    show([HEAD, "|---|---|---|---|---|---|---|---|"])
    started = time.perf_counter()
    model.encode(x, BATCH)
    encoder = measure.row("encoder", as_latents(measure.start), time.perf_counter() - started)
    show([encoder.cells(encoder.mse, EDITS)])
    held = measure.refined("refined, 30 steps")
    show([held.cells(encoder.mse, EDITS)])
    free = measure.refined("refined, 30 steps, edits left free", consistency=0.0, tolerance=math.inf)
    show([free.cells(encoder.mse, EDITS)])
    if given.slow_count:
        first = measure.row("encoder", as_latents(measure.start[: given.slow_count]), 0.0, edits=False)
        rows = slow_rows(measure, given.slow_count, held.seconds, given.projection_steps)
        show([row.cells(first.mse, EDITS) for row in rows])


if __name__ == "__main__":
    main()
