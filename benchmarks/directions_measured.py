"""What each direction that a bundle ships does to held-out photographs; writes results/directions_MODEL.md.

    PYTHONPATH=recipes python benchmarks/directions_measured.py [--model BUNDLE] --weights DIR [--faces DIR]

Nothing that measures has fitted a direction. Smile and pose are read off the landmarks of CenterFace (the directions
were fitted on YuNet's). Age, lighting and the painted attributes are read by regressions on pixels and on an embedding
for face recognition, trained on photographs of train.zip that fitted no direction.

Bounds, at a strength of 1: the attribute moves (the 95 % interval of the mean lies above 0), identity is at least 0.8
of the reconstruction's, and the squared error outside the face (and outside the attribute itself) is at most 1.5
times the reconstruction's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from direction_figures import Classifier, Identity, Measure, Photographs, pictures
from face_data import YEARS, Archive, batch, lighting, pose, read_labels, smile

from padinv.reproduce.painted import ATTRIBUTES, MORE, paint
from padinv.runtime.alignment.face_detector import FaceDetector
from padinv.runtime.alignment.templates import template_named
from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.editing import apply
from padinv.runtime.editing.gallery import gallery_directions
from padinv.runtime.model import Model

RESULTS = Path(__file__).parent / "results"
LEAST_IDENTITY, MOST_BACKGROUND = 0.8, 1.5
FITTED = 2000  # the first photographs of train.zip, which recipes/directions.py fits on
CLASSIFIER_FACES = 800
PAINTED_FACES = 400
SIGNS = (1.0, -1.0)


def landmarks_of(detector: FaceDetector, model: Model, of: Measure) -> Measure:
    """A measure on CenterFace's landmarks; not a number where no face is seen."""
    template = template_named(model.spec.template or "faces")

    def measure(images: np.ndarray) -> np.ndarray:
        side = images.shape[-1]
        found = [detector.measure(one, side * template.points) for one in pictures(images)]
        missing = np.full((5, 2), np.nan)
        return of(np.stack([missing if one is None else one.landmarks / side for one in found]))

    return measure


def measures(model: Model, names: list[str], given: argparse.Namespace, identity: Identity) -> dict[str, Measure]:
    """Attribute -> what measures it; see the top of this file."""
    detector = FaceDetector.load(given.threads)
    archive, table = Archive(given.faces / "train.zip"), read_labels(given.faces / "labels.csv")
    rows = range(FITTED, FITTED + given.classifier_faces)
    faces = [archive.face(i) for i in rows]
    side = model.spec.image_size
    images = batch(faces, side)
    years = np.array([float(YEARS[table[archive.names[i]]["apparent_age"]]) for i in rows])
    made: dict[str, Measure] = {
        "smile": landmarks_of(detector, model, smile),
        "pose": landmarks_of(detector, model, pose),
        "age": Classifier(identity, images, years),
        "lighting": Classifier(identity, images, lighting(images)),
    }
    half = min(PAINTED_FACES, given.classifier_faces) // 2
    for name in set(names) & set(ATTRIBUTES + MORE):
        painted = batch([paint(face, name) for face in faces[:half]], side)
        both = np.concatenate([painted, images[half : 2 * half]])
        made[name] = Classifier(identity, both, np.repeat([1.0, 0.0], half))
    return made


def own_region(name: str, faces: list[Any], side: int) -> np.ndarray | None:
    """Where a painted attribute is, bool [S, S], which is not background; None for others."""
    if name not in ATTRIBUTES + MORE:
        return None
    change = np.abs(batch([paint(face, name) for face in faces[:20]], side) - batch(faces[:20], side))
    return np.asarray(change.mean(axis=(0, 1)) > 0.03)


def effect(
    photographs: Photographs, direction: Any, measure: Measure, own: np.ndarray | None, strength: float
) -> dict[str, float]:
    """What one strength of a direction does: see the columns of the table."""
    spread, start = float(np.nanstd(measure(photographs.images))), measure(photographs.plain)
    moved = apply(photographs.codes, direction, direction.space or "both", strength)
    edited = photographs.model.generate_for_encoder(moved)
    change = (measure(edited) - start) * strength / spread
    change = change[np.isfinite(change)]
    error = 1.96 * float(change.std(ddof=1)) / np.sqrt(len(change))
    return {
        "shift": float(change.mean()),
        "interval": error,
        "right_way": float((change > 0).mean()),
        "measured": len(change),
        **photographs.cost(edited, own),
    }


def passes(one: dict[str, float]) -> bool:
    """Whether one strength is within the bounds."""
    moves = one["shift"] - one["interval"] > 0
    return moves and one["identity"] >= LEAST_IDENTITY and one["background"] <= MOST_BACKGROUND


def page(model: Model, found: dict[str, dict[str, dict[str, float]]], units: dict[str, str], count: int) -> str:
    """The result file."""
    lines = [
        f"# The directions of {model.bundle.name}, measured",
        "",
        f"`benchmarks/directions_measured.py` on {count} photographs of val.zip; {this_machine().processor};",
        f"generator {model.generator_hash[:12]}, bundle {model.bundle.fingerprint[:12]}. Nothing that measures has",
        "fitted a direction (see the script).",
        "",
        "- *moves*: mean change of the attribute in standard deviations over photographs, with its 95 % interval.",
        "- *right way*: share of photographs in which it moves as it should.",
        f"- *identity*: similarity to the photograph, relative to the reconstruction's, at least {LEAST_IDENTITY}",
        "  (MobileFaceNet).",
        "- *background*: squared error outside the face and the attribute, relative to the reconstruction's, at most",
        f"  {MOST_BACKGROUND}.",
        "",
        "| direction | strength | moves | right way | identity | background | within bounds | unit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, by_sign in found.items():
        for sign, one in by_sign.items():
            within = "yes" if passes(one) else "**no**"
            lines.append(
                f"| {name} | {sign} | {one['shift']:.2f} ± {one['interval']:.2f} | {one['right_way']:.0%} | "
                f"{one['identity']:.2f} | {one['background']:.2f} | {within} | {units[name]} |"
            )
    good = sum(all(passes(one) for one in by_sign.values()) for by_sign in found.values())
    return "\n".join([*lines, "", f"{good} of {len(found)} directions are within the bounds at both strengths.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="bundle; the built-in model if left out")
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"), help="train.zip, val.zip, labels.csv")
    parser.add_argument("--weights", type=Path, required=True, help="folder with mobilefacenet.pt")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--classifier-faces", type=int, default=CLASSIFIER_FACES, help="photographs of train.zip")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--write", type=Path, help="result file; results/directions_MODEL.md if left out")
    given = parser.parse_args()
    model = Model.load(given.model, "cpu", given.threads)
    directions = gallery_directions(model.bundle)
    identity = Identity(given.weights / "mobilefacenet.pt", model.spec.template)
    by_name = measures(model, list(directions), given, identity)
    archive, side = Archive(given.faces / "val.zip"), model.spec.image_size
    faces = [archive.face(i) for i in range(given.held_out)]
    images = batch(faces, side)
    photographs = Photographs(model, images, model.encode(images, 16), identity)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, direction in directions.items():
        if name not in by_name:
            print(f"{name}: nothing here measures it, so it was left out", flush=True)
            continue
        own = own_region(name, faces, side)
        found[name] = {f"{s:+g}": effect(photographs, direction, by_name[name], own, s) for s in SIGNS}
        print(name, json.dumps(found[name]), flush=True)
    units = {name: str(directions[name].info.get("unit", "")) for name in found}
    target = given.write or RESULTS / f"directions_{model.bundle.name}.md"
    target.write_text(page(model, found, units, len(faces)), encoding="utf-8")
    print(target.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
