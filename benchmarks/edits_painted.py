"""Custom edits against painted truth: every space's edit, and whether `auto` names the better one.

    python benchmarks/edits_painted.py [--model BUNDLE] [--wplus BUNDLE] [--faces ../shared/faces/val.zip]

For every attribute of `edits_paint.py`: 10 pairs (A, painted A), and 200 other faces B. The edit of the pair is made on
each B, and compared with painted B where painting changed it ("error inside": mean squared error to the true picture on
[-1, 1]) and with the unedited reconstruction elsewhere ("drift outside"). The total is the sum of both over the whole
picture. `auto` sees the pair alone; it is right where the space it names has the smaller total over the 200 faces.

Rows: no edit (the reconstruction of B), the edit in latents alone, in padding alone, in both, in the spatial code
alone where the model has one, what `auto` chose for each pair, the mean of all pairs in each space, the reconstruction
of painted B (what the model can show at all), and, with --wplus, the edit of an encoder without padding. Writes
results/edits_painted_MODEL.md as far as it has come.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from edits_data import RESULTS, Faces, Page, parser, table

from padinv.reproduce.painted import ATTRIBUTES, paint
from padinv.runtime import Inversion, Model, apply, difference
from padinv.runtime.editing import auto_space as auto
from padinv.runtime.editing.direction import Direction
from padinv.runtime.editing.pair_change import changed_region
from padinv.runtime.editing.pair_detail import detail_difference


class Sums:
    """Squared errors inside and drift outside the changed region, over many faces."""

    def __init__(self) -> None:
        self.inside = self.outside = self.total = 0.0
        self.faces = 0

    def add(self, made: np.ndarray, true: np.ndarray, plain: np.ndarray, regions: np.ndarray) -> None:
        """made, true, plain: [N, 3, S, S]; regions: [N, S, S]."""
        error = (np.square(made - true).mean(axis=1) * regions).sum(axis=(1, 2))
        drift = (np.square(made - plain).mean(axis=1) * (1 - regions)).sum(axis=(1, 2))
        weight = regions.sum(axis=(1, 2))
        pixels = regions.shape[1] * regions.shape[2]
        self.inside += float((error / weight).sum())
        self.outside += float((drift / (pixels - weight)).sum())
        self.total += float(((error + drift) / pixels).sum())
        self.faces += len(made)

    def means(self) -> list[float]:
        return [self.inside / self.faces, self.outside / self.faces, self.total / self.faces]


MOVED = {
    auto.SPATIAL: "padding"
}  # the space in which the direction of a candidate is applied, where it has another name


def details_of(model: Model, inversions: Inversion, a: np.ndarray, painted: np.ndarray) -> list[Direction]:
    """Each pair's change in the spatial code alone; none for a model without one."""
    if not model.spec.spatial_resolutions:
        return []
    regions = [changed_region(one, other) for one, other in zip(a, painted, strict=True)]
    return [
        detail_difference(model, inversions[k], painted[k : k + 1], regions[k : k + 1]) for k in range(len(inversions))
    ]


def mean_direction(directions: list[Direction]) -> Direction:
    """Of directions in the spatial code alone."""
    arrays = [one.arrays() for one in directions]
    mean = {name: np.mean([one[name] for one in arrays], axis=0) for name in arrays[0]}
    return Direction.from_arrays(mean, directions[0].generator_hash)


def candidates(direction: Direction, detail: Direction | None) -> dict[str, Direction]:
    """Space -> what is applied there."""
    found = dict.fromkeys(("latent", "padding", "both"), direction)
    return found if detail is None else {**found, auto.SPATIAL: detail}


def measure(
    model: Model,
    wplus: Model | None,
    drawn: auto.Faces,
    faces: Faces,
    attribute: str,
    start: int,
    pairs: int,
    targets: int,
) -> dict[str, Any]:
    """All rows of one attribute, and the spaces that were chosen and better, pair by pair."""
    first = [faces.face(start + i) for i in range(pairs)]
    others = [faces.face(start + pairs + i) for i in range(targets)]
    a, painted_a = faces.batch(first), faces.batch([paint(face, attribute) for face in first])
    b, true = faces.batch(others), faces.batch([paint(face, attribute) for face in others])
    regions = np.stack([changed_region(b[i], true[i]) for i in range(targets)])
    rows: dict[str, Sums] = {}
    chosen, better = [], []
    inv_a, inv_painted, inv_b = model.encode(a), model.encode(painted_a), model.encode(b)
    plain = model.generate_for_encoder(inv_b)
    rows.setdefault("no edit", Sums()).add(plain, true, plain, regions)
    details = details_of(model, inv_a, a, painted_a)
    for k in range(pairs):
        direction = difference(inv_a[k], inv_painted[k])
        trial = auto.Trial(model, a[k], painted_a[k], faces=drawn)
        choice = trial.choose_space(direction, details[k] if details else None).space
        totals = {}
        for space, one in candidates(direction, details[k] if details else None).items():
            made = model.generate_for_encoder(apply(inv_b, one, MOVED.get(space, space)))  # type: ignore[arg-type]
            alone = Sums()
            alone.add(made, true, plain, regions)
            totals[space] = alone.total
            rows.setdefault(f"{space} alone" if space != "both" else "both", Sums()).add(made, true, plain, regions)
            if space == choice:
                rows.setdefault("auto", Sums()).add(made, true, plain, regions)
        chosen.append(choice)
        better.append(min((space for space in totals if space != "both"), key=totals.__getitem__))
    mean = mean_direction(details) if details else None
    for space, one in candidates(difference(inv_a, inv_painted), mean).items():
        made = model.generate_for_encoder(apply(inv_b, one, MOVED.get(space, space)))  # type: ignore[arg-type]
        rows.setdefault(f"mean of {pairs} pairs, {space}", Sums()).add(made, true, plain, regions)
    seen = model.generate_for_encoder(model.encode(true))
    rows.setdefault("reconstruction of the painted picture", Sums()).add(seen, true, plain, regions)
    if wplus is not None:
        inv_a, inv_painted, inv_b = wplus.encode(a), wplus.encode(painted_a), wplus.encode(b)
        plain = wplus.generate_for_encoder(inv_b)
        rows.setdefault("W+ only encoder, no edit", Sums()).add(plain, true, plain, regions)
        for k in range(pairs):
            made = wplus.generate_for_encoder(apply(inv_b, difference(inv_a[k], inv_painted[k]), "latent"))
            rows.setdefault("W+ only encoder", Sums()).add(made, true, plain, regions)
    return {
        "attribute": attribute,
        "rows": {name: sums.means() for name, sums in rows.items()},
        "chosen": chosen,
        "better": better,
        "agree": sum(c == d for c, d in zip(chosen, better, strict=True)),
    }


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--wplus", type=Path, help="bundle of an encoder without padding")
    arguments.add_argument("--first", type=int, default=0, help="face of the first pair; the targets follow the pairs")
    arguments.add_argument("--pairs", type=int, default=10)
    arguments.add_argument("--targets", type=int, default=200)
    arguments.add_argument("--attributes", nargs="+", default=list(ATTRIBUTES), choices=ATTRIBUTES)
    given = arguments.parse_args()
    model = Model.load(given.model, threads=given.threads)
    wplus = None if given.wplus is None else Model.load(given.wplus, threads=given.threads)
    faces, drawn = Faces(given.faces, model.spec.image_size), auto.Faces.generated(model)
    results = []
    page = Page(RESULTS / f"edits_painted_{model.bundle.name}.md", "Painted edits", model)
    page.add(f"{given.pairs} pairs, {given.targets} other faces of `{given.faces.name}`. Times: relative to no edit.")
    for attribute in given.attributes:
        result = measure(model, wplus, drawn, faces, attribute, given.first, given.pairs, given.targets)
        results.append(result)
        page.add(f"\n**{attribute}**: `auto` is right for {result['agree']} of {given.pairs} pairs\n")
        nothing = result["rows"]["no edit"][0]
        rows = [[name, values[0], f"{values[0] / nothing:.2f}", *values[1:]] for name, values in result["rows"].items()]
        page.add(table(["edit", "error inside", "times", "drift outside", "total"], rows))
    if given.json:
        given.json.write_text(json.dumps({"model": model.bundle.manifest["name"], "results": results}, indent=1))


if __name__ == "__main__":
    main()
