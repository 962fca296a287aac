"""Refinement of the built-in model's inversions beside other ways to spend time on a picture.

    python benchmarks/refinement.py DATA --lpips-weights FILE [--count 200] [--slow-count 2] [--out FILE.md]
    python benchmarks/refinement.py DATA --lpips-weights FILE --passes BUNDLE --identity-weights FILE [--count 100]

Writes results/refinement.md, or results/passes.md with --passes, as far as it has come. DATA holds aligned photographs
(a ZIP archive or folder); the first `--count` are measured, the slow baselines on the first `--slow-count`. Every
figure is of the float32 reconstruction, clamped to [-1, 1], and a mean over photographs; the ratio of squared errors
has a 95 % bootstrap interval. `edits` is the part of the change that a direction makes to the shown image which lies
along the change that it made to the encoder's reconstruction: 1 where it does what it did. `watched` directions are
those that the refinement looks at; `others` are the rest of the gallery. With --passes, the passes of an iterative
encoder are measured instead.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from padinv.editability import Editability
from padinv.losses.lpips import LPIPS
from padinv.models.passes import Latents
from padinv.picture_sources import open_pictures
from padinv.pivotal_tuning import tune_generator
from padinv.refine import project
from padinv.refiner import EDITS, Refiner, bundle_weights, named_edit
from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.editing import apply
from padinv.runtime.editing.gallery import gallery_directions
from padinv.runtime.images import average_pool, to_float
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.reports.contact_sheet import contact_sheet

RESULTS = Path(__file__).parent / "results"
BATCH, SHEET = 4, 3
HEAD = "| method | photographs | MSE | times the encoder's | LPIPS | edits, watched | edits, others | s a picture |"


@dataclass
class Row:
    """One way to invert, as it is shown."""

    name: str
    mse: np.ndarray  # [N]
    lpips: np.ndarray  # [N]
    seconds: float
    effects: np.ndarray | None = None  # [N, number of directions]

    def cells(self, baseline: np.ndarray, watched: int) -> str:
        """A line of the table; `baseline` [N or more] is the encoder's error on the same photographs."""
        edits = ["–", "–"]
        if self.effects is not None:
            each = self.effects.mean(axis=0)
            edits = [f"{part.mean():.2f} ({part.min():.2f})" for part in np.split(each, [watched]) if len(part)]
        count = len(self.mse)
        low, high = self._interval(baseline[:count])
        ratio = f"{self.mse.mean() / baseline[:count].mean():.3f} [{low:.3f}, {high:.3f}]"
        columns = [self.name, str(count), f"{self.mse.mean():.5f}", ratio, f"{self.lpips.mean():.4f}", *edits]
        return f"| {' | '.join([*columns, f'{self.seconds / count:.2f}'])} |"

    def _interval(self, baseline: np.ndarray) -> np.ndarray:
        """95 %, of the ratio of the means, over photographs."""
        rows = np.random.default_rng(0).integers(0, len(baseline), (2000, len(baseline)))
        return np.quantile(self.mse[rows].mean(axis=1) / baseline[rows].mean(axis=1), (0.025, 0.975))


class Measure:
    """The model, the photographs, and what is measured on reconstructions."""

    def __init__(self, model: Model, x: np.ndarray, lpips_weights: Path) -> None:
        self.model, self.x = model, x
        self.lpips_weights = lpips_weights
        self.lpips = LPIPS("squeeze", lpips_weights)
        self.generator = bundle_weights(model.bundle).requires_grad_(False)
        directions = gallery_directions(model.bundle)
        self.names = list(directions)
        self.directions = list(directions.values())
        started = time.perf_counter()
        self.start = model.encode(x, BATCH)
        self.encoding = time.perf_counter() - started

    def row(self, name: str, inversion: Inversion, seconds: float, *, edits: bool = True) -> Row:
        """Of inversions of the first photographs."""
        plain = shown(self.model, inversion)
        effects = self.effects(inversion, plain) if edits else None
        return Row(name, *self.errors(plain), seconds, effects)

    def errors(self, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squared error and LPIPS to the first photographs: [N] each."""
        target = self.x[: len(output)]
        with torch.no_grad():
            made, wanted = (torch.from_numpy(np.ascontiguousarray(part)).split(16) for part in (output, target))
            distance = torch.cat([self.lpips(a, b).flatten() for a, b in zip(made, wanted, strict=True)]).numpy()
        return np.square(output - target).mean(axis=(1, 2, 3)), distance

    def effects(self, inversion: Inversion, plain: np.ndarray) -> np.ndarray:
        """The part of each direction's change along its change of the encoder's result: [N, number of directions]."""
        columns = []
        for direction, before in zip(self.directions, self.before, strict=True):
            after = shown(self.model, apply(inversion, direction, direction.space or "both")) - plain
            old = before[: len(after)]
            columns.append((after * old).sum(axis=(1, 2, 3)) / np.square(old).sum(axis=(1, 2, 3)))
        return np.stack(columns, axis=1)

    @cached_property
    def before(self) -> list[np.ndarray]:
        """What each direction changes in the encoder's results."""
        plain = shown(self.model, self.start)
        return [shown(self.model, apply(self.start, one, one.space or "both")) - plain for one in self.directions]

    def refined(self, name: str, **settings: float) -> tuple[Row, Inversion]:
        """A refinement of 30 steps, timed without loading."""
        refiner = Refiner(30, lpips_weights=self.lpips_weights, device="cpu", **settings)  # type: ignore[arg-type]
        refiner.check(self.model)
        started = time.perf_counter()
        parts = [
            refiner.refine(self.model, self.start[k : k + BATCH], self.x[k : k + BATCH]).inversion
            for k in range(0, len(self.x), BATCH)
        ]
        seconds = time.perf_counter() - started
        found = Inversion.concat(parts)
        return self.row(name, found, seconds), found


def shown(model: Model, inversion: Inversion) -> np.ndarray:
    """float32 [N, 3, R, R], clamped to [-1, 1]."""
    return np.clip(model.generate_float(inversion, BATCH), -1, 1)


def as_latents(inversion: Inversion) -> Latents:
    """Codes and padding as torch takes them."""
    rings = {r: torch.from_numpy(np.array(ring)) for r, ring in inversion.rings.items()}
    return torch.from_numpy(np.array(inversion.wp)), torch.from_numpy(np.array(inversion.const)), rings


def projected(measure: Measure, count: int, steps: int) -> Row:
    """Latent-only optimisation from w_avg, StyleGAN2's projector."""
    started = time.perf_counter()
    found = project(measure.generator, torch.from_numpy(measure.x[:count]), steps=steps, perceptual=measure.lpips)
    spent = time.perf_counter() - started
    with torch.no_grad():
        output = measure.generator.synthesis(found.wp).clamp(-1, 1).numpy()
    return Row(f"latent optimisation from w_avg, {steps:,} steps", *measure.errors(output), spent)


def tuned(measure: Measure, count: int, seconds: float) -> Row:
    """Pivotal tuning around the encoder's codes and padding, one photograph at a time."""
    outputs, effects, spent = [], [], 0.0
    edits = [named_edit(measure.model.bundle, name, measure.generator.w_avg.device) for name in measure.names]
    for k in range(count):
        image, start = torch.from_numpy(measure.x[k : k + 1]), as_latents(measure.start[k : k + 1])
        started = time.perf_counter()
        generator = tune_generator(
            measure.generator, image, *start, steps=100_000, perceptual=measure.lpips, seconds=seconds
        ).generator
        spent += time.perf_counter() - started
        before, after = (Editability(one, start, edits).before for one in (measure.generator, generator))
        with torch.no_grad():
            outputs.append(generator.synthesis(*start).clamp(-1, 1).numpy())
        effects.append([float((b * a).sum() / a.square().sum()) for a, b in zip(before, after, strict=True)])
    name = f"pivotal tuning around the encoder's codes, {seconds:.1f} s (another generator for each picture)"
    return Row(name, *measure.errors(np.concatenate(outputs)), spent, np.array(effects))


def edited_sheet(measure: Measure, refined: Inversion, path: Path) -> None:
    """Edits of the encoder's and of the refined results, to look for ghosts; never kept, as it shows photographs."""
    rows = []
    for k in range(min(SHEET, len(refined))):
        for label, inversion in (("encoder", measure.start[k]), ("refined", refined[k])):
            edits = [apply(inversion, one, one.space or "both") for one in measure.directions]
            rows.append((label, [measure.model.generate(one)[0] for one in [inversion, *edits]]))
    Image.fromarray(contact_sheet(rows, ["", *measure.names], "strength 1")).save(path)


def passes_rows(model: Model, x: np.ndarray, lpips: LPIPS, identity: Path | None) -> list[str]:
    """Each number of passes of an iterative encoder, through the runtime."""
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
    arguments.add_argument("--count", type=int, default=200)
    arguments.add_argument("--slow-count", type=int, default=2)
    arguments.add_argument("--projection-steps", type=int, default=1000)
    arguments.add_argument("--free", action="store_true", help="also without the check of edits")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--sheet", type=Path, help="also draw edited results, to look at")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    machine = this_machine()
    where = f"{machine.processor}, {given.threads} threads, torch {torch.__version__}"
    model = Model.load(given.passes or given.model, "cpu", given.threads)
    x = photographs(given.data, model.spec.image_size, given.count)
    target = given.out or RESULTS / ("refinement.md" if given.passes is None else "passes.md")
    title = "Refinement" if given.passes is None else "Passes"
    lines: list[str] = []

    def show(*more: str) -> None:
        lines.extend(more)
        print("\n".join(more), flush=True)
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")  # as far as it goes: it may be cut short

    show(f"# {title} of {model.bundle.name}", "")
    show(f"`benchmarks/refinement.py`: the first {len(x)} photographs of `{given.data.name}`, float32. {where};")
    show(f"generator {model.generator_hash[:12]}, bundle {model.bundle.fingerprint[:12]}.")
    if os.getloadavg()[0] > given.threads + 1:
        show("Other programs ran meanwhile, so that seconds are no measure.")
    show("")
    if given.passes is not None:
        lpips = LPIPS("squeeze", given.lpips_weights)
        show(*passes_rows(model, x, lpips, given.identity_weights))
        return
    measure = Measure(model, x, given.lpips_weights)
    watched, others = measure.names[:EDITS], measure.names[EDITS:]
    show("Edits: what a direction does, relative to what it did before; mean over directions, and the smallest one.")
    show(f"Watched: {', '.join(watched)}; others: {', '.join(others)}.", "")
    show(HEAD, "|---|---|---|---|---|---|---|---|")
    encoder = measure.row("encoder", measure.start, measure.encoding, edits=False)
    show(encoder.cells(encoder.mse, EDITS))
    held, found = measure.refined("refined, 30 steps")
    show(held.cells(encoder.mse, EDITS))
    if given.sheet:
        edited_sheet(measure, found, given.sheet)
    if given.free:
        free, _ = measure.refined("refined, 30 steps, edits left free", consistency=0.0, tolerance=math.inf)
        show(free.cells(encoder.mse, EDITS))
    if given.slow_count:
        count = min(given.slow_count, len(x))
        show(projected(measure, count, given.projection_steps).cells(encoder.mse, EDITS))
        show(tuned(measure, count, held.seconds / len(x)).cells(encoder.mse, EDITS))


if __name__ == "__main__":
    main()
