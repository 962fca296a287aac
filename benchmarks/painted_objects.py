"""Hats, hands and microphones painted onto held-out faces: the error inside the object, of several bundles.

    python benchmarks/painted_objects.py [--model BUNDLE] --vs WPLUS_BUNDLE [--vs ...] [--faces ../shared/faces/val.zip]

Writes results/painted_objects.md: the mean squared error on [-1, 1] inside the object's mask, and its ratio to that of
the last --vs, picture by picture, with 95 % bootstrap intervals. A bundle with a spatial code is measured with it and
without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from edits_data import Faces, parser, table

from padinv.evaluation.bootstrap import compare, interval_text
from padinv.reproduce.painted_objects import OBJECTS, paint_object
from padinv.runtime import Model
from padinv.runtime.benchmark.machine import this_machine

RESULT = Path(__file__).parent / "results" / "painted_objects.md"


def variants(paths: list[Path | None], threads: int | None) -> Iterator[tuple[str, Model, bool]]:
    """Name, model, and whether the spatial code is used."""
    for path in paths:
        model = Model.load(path, threads=threads)
        if model.spec.spatial_resolutions:
            yield model.bundle.name, model, True
            yield f"{model.bundle.name}, without the spatial code", model, False
        else:
            yield model.bundle.name, model, True


def errors_inside(model: Model, spatial: bool, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """MSE inside masks [N, S, S] of the reconstructions of images [N, 3, S, S]: [N]."""
    again = model.generate_for_encoder(model.encode(images, spatial=spatial))
    squared = np.square(again.astype(np.float64) - images).mean(axis=1)
    inside: np.ndarray = (squared * masks).sum(axis=(1, 2)) / masks.sum(axis=(1, 2))
    return inside


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--vs", type=Path, action="append", required=True, help="bundle; the last is the reference")
    arguments.add_argument("--count", type=int, default=200, help="faces of each object")
    given = arguments.parse_args()
    rows: list[list[object]] = []
    for name in OBJECTS:
        measured: dict[str, np.ndarray] = {}
        for label, model, spatial in variants([given.model, *given.vs], given.threads):
            faces = Faces(given.faces, model.spec.image_size)
            painted = [paint_object(faces.face(i), name, i) for i in range(given.count)]
            masks = np.stack([mask for _, mask in painted])
            measured[label] = errors_inside(model, spatial, faces.batch([picture for picture, _ in painted]), masks)
        reference = measured[list(measured)[-1]]
        for label, values in measured.items():
            both = compare({"mse": values}, {"mse": reference})["mse"]
            ratio = "1" if values is reference else interval_text(both.ratio.to_dict())
            rows.append([name, label, float(values.mean()), ratio])
    head = ["object", "model", "MSE inside", f"ratio to {list(measured)[-1]}"]
    lines = [
        "# Painted objects",
        "",
        f"Written by `benchmarks/painted_objects.py`: {given.count} held-out photographs for each object, "
        f"{this_machine().processor}.",
        "",
        table(head, rows),
    ]
    RESULT.write_text("\n".join(lines) + "\n", "utf-8")
    print(RESULT.read_text("utf-8"))


if __name__ == "__main__":
    main()
