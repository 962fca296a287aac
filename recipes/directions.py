"""Make the gallery of directions that ships with a model, from FairFace photographs, and measure it on held-out ones.

    PYTHONPATH=benchmarks python recipes/directions.py BUNDLE --faces DIR --weights DIR [--images 2000] [--sheet PNG]

BUNDLE   a bundle of a model of faces aligned to the template 'faces'; its folder directions/ and model.json are written
--faces  folder with train.zip, val.zip and labels.csv (apparent age bracket and gender)
--weights  folder with yunet.onnx (landmarks) and mobilefacenet.pt (identity; for measuring only)

smile, pose, age and lighting are scores of the photographs: the width of the mouth and the place of the nose among
YuNet's landmarks, the middle of the annotated age bracket, and the difference in brightness between the face's halves.
Each is fitted with the others, apparent gender and brightness as controls. Its unit is the largest whole number of
standard deviations of the training codes, up to 6, that keeps identity and background within bounds on photographs that
fitted nothing: one standard deviation is hardly visible. glasses, beard, bangs and lipstick are painted
(benchmarks/edits_paint.py): their direction is the mean difference of painted and unpainted faces, and their unit the
largest part of it within the same bounds.

Figures go to directions/figures.json: on photographs of val.zip, how far each attribute moves, measured by
landmarks or by a classifier trained on other photographs, and what identity and background cost. A few minutes on two
cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from direction_card import FIGURES, update_card
from direction_figures import Classifier, Identity, Photographs, measures
from face_data import YEARS, Archive, YuNet, batch, brightness, lighting, pose, read_labels, smile
from PIL import Image

from padinv.reproduce.painted import paint
from padinv.runtime.editing import Direction, apply, difference
from padinv.runtime.editing.fit_direction import fit_direction
from padinv.runtime.editing.gallery import FOLDER, SUFFIX
from padinv.runtime.files import write_json
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.reports.contact_sheet import contact_sheet

SCORES = ("smile", "age", "pose", "lighting")
PAINTED = ("glasses", "beard", "bangs", "lipstick")
PAINTED_PAIRS = 100  # with more of them the mean difference hardly changes
CLASSIFIER_FACES = 400  # of a painted attribute, half of them painted
MOST_DEVIATIONS, CHECKED = 4, 32
SHARES = (1.0, 0.85, 0.7, 0.55, 0.4)  # of a painted change
LEAST_IDENTITY, MOST_BACKGROUND = 0.85, 1.35  # relative to the reconstruction's, at a strength of 1 and of -1
LICENCE = "fitted on FairFace (Karkkainen and Joo 2021), CC BY 4.0"
PORTRAITS = ("grace-hopper.png", "eileen-collins.png")  # public domain; faces of the data set must not be shown


class Data:
    """Photographs with their codes and scores."""

    def __init__(self, model: Model, detector: YuNet, archive: Path, labels: Path, rows: range) -> None:
        source = Archive(archive)
        rows = range(rows.start, min(rows.stop, len(source.names)))
        self.faces = [source.face(i) for i in rows]
        self.images = batch(self.faces, model.spec.image_size)
        self.codes = model.encode(self.images, 32)
        table = read_labels(labels)
        known = [table[source.names[i]] for i in rows]
        landmarks = np.stack([detector.landmarks(face) for face in self.faces])
        self.scores = {
            "smile": smile(landmarks),
            "pose": pose(landmarks),
            "age": np.array([float(YEARS[row["apparent_age"]]) for row in known]),
            "lighting": lighting(self.images),
            "gender": np.array([float(row["apparent_gender"] == "Female") for row in known]),
            "brightness": brightness(self.images),
        }
        self.found = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))


def fit_scores(data: Data) -> dict[str, Direction]:
    """A direction per score, with all other scores as controls."""
    directions = {}
    for name in SCORES:
        others = [key for key in data.scores if key != name]
        controls = np.stack([data.scores[key][data.found] for key in others], axis=1)
        direction = fit_direction(data.codes[data.found], data.scores[name][data.found], controls=controls)
        direction.info["origin"]["controls"] = others
        directions[name] = direction
    return directions


def fit_painted(model: Model, data: Data) -> dict[str, Direction]:
    """A direction per painted attribute: the mean difference over many pairs."""
    directions = {}
    faces, codes = data.faces[:PAINTED_PAIRS], data.codes[:PAINTED_PAIRS]
    for name in PAINTED:
        painted = model.encode(batch([paint(face, name) for face in faces], model.spec.image_size), 32)
        direction = difference(codes, painted)
        direction.info |= {
            "space": "both",
            "origin": {"method": "painted pairs", "images": len(faces), "script": "benchmarks/edits_paint.py"},
        }
        directions[name] = direction
    return directions


def own_region(name: str, data: Data) -> np.ndarray | None:
    """Where a painted attribute is, bool [S, S]; None for a score."""
    if name not in PAINTED:
        return None
    side, faces = data.images.shape[-1], data.faces[:20]
    change = np.abs(batch([paint(face, name) for face in faces], side) - batch(faces, side))
    return change.mean(axis=(0, 1)) > 0.03


def scale_to_visible(name: str, direction: Direction, checked: Photographs, own: np.ndarray | None) -> Direction:
    """The direction with a unit as large as identity and background allow, found by looking at each candidate."""

    def within(factor: float) -> bool:
        cost = checked.evaluate(scaled(direction, factor), own=own).values()
        return all(c["identity"] >= LEAST_IDENTITY and c["background"] <= MOST_BACKGROUND for c in cost)

    images = direction.info["origin"]["images"]
    if name in PAINTED:
        share = next((share for share in SHARES if within(share)), SHARES[-1])
        result = scaled(direction, share)
        result.info["unit"] = f"{share:.0%} of the way from without to with: the mean of {images} painted pairs"
        return result
    deviations = 1
    while deviations < MOST_DEVIATIONS and within(deviations + 1):
        deviations += 1
    result = scaled(direction, deviations)
    number = "one standard deviation" if deviations == 1 else f"{deviations} standard deviations"
    result.info["unit"] = f"{number} of {images} training codes along the direction"
    return result


def scaled(direction: Direction, factor: float) -> Direction:
    """The same direction with a longer unit."""
    rings = {r: ring * factor for r, ring in direction.rings.items()}
    return Direction(
        direction.wp * factor, direction.const * factor, rings, direction.generator_hash, dict(direction.info)
    )


def train_classifiers(model: Model, data: Data, identity: Identity) -> dict[str, Classifier]:
    """Classifiers of what landmarks do not tell, on photographs that fitted no direction."""
    classifiers = {"age": Classifier(identity, data.images, data.scores["age"])}
    whole = min(CLASSIFIER_FACES, len(data.faces))
    half = whole // 2
    for name in PAINTED:
        painted = batch([paint(face, name) for face in data.faces[:half]], model.spec.image_size)
        images = np.concatenate([painted, data.images[half:whole]])
        target = np.repeat([1.0, 0.0], [half, whole - half])
        classifiers[name] = Classifier(identity, images, target)
    return classifiers


def held_out_accuracy(name: str, direction: Direction, data: Data, codes: Inversion | None) -> dict[str, float]:
    """How well the codes' position along the direction tells the attribute in photographs that were not fitted.

    Args:
        codes: of the painted photographs; None for a score.
    """

    def along(inversion: Inversion) -> np.ndarray:
        arrays = inversion.arrays()
        return sum(arrays[key].reshape(len(inversion), -1) @ value.ravel() for key, value in direction.arrays().items())  # type: ignore[return-value]

    plain = along(data.codes)
    if codes is None:
        score = data.scores[name]
        good = np.isfinite(score)
        return {"held_out_correlation": round(float(np.corrcoef(plain[good], score[good])[0, 1]), 4)}
    with_it = along(codes)
    middle = (plain.mean() + with_it.mean()) / 2
    return {"held_out_accuracy": round(float((np.mean(with_it > middle) + np.mean(plain <= middle)) / 2), 4)}


def sheet(model: Model, directions: dict[str, Direction], path: Path) -> None:
    """A strip per direction on the two public-domain portraits."""
    strengths = (-3, -2, -1, 0, 1, 2, 3)
    folder = Path(__file__).resolve().parents[1] / "runtime" / "demo"
    codes = model.invert([Image.open(folder / name) for name in PORTRAITS])
    rows = []
    for name, direction in directions.items():
        for i in range(len(PORTRAITS)):
            moved = [apply(codes[i], direction, direction.space or "both", s) for s in strengths]  # type: ignore[arg-type]
            rows.append((name if i == 0 else "", [model.generate(one)[0] for one in moved]))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet(rows, [f"{s:+d}" for s in strengths], model.bundle.name)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000, help="photographs for the fit, and as many for classifiers")
    parser.add_argument("--held-out", type=int, default=200, help="photographs of val.zip that figures are measured on")
    parser.add_argument("--threads", type=int, help="threads of the model; all cores if left out")
    parser.add_argument("--sheet", type=Path, help="also draw strips on the public-domain portraits here")
    given = parser.parse_args()
    model = Model.load(given.bundle, "cpu", given.threads)
    detector = YuNet(given.weights / "yunet.onnx")
    identity = Identity(given.weights / "mobilefacenet.pt", model.spec.template)
    labels = given.faces / "labels.csv"
    n = given.images
    print("fitting", flush=True)
    training = Data(model, detector, given.faces / "train.zip", labels, range(n))
    directions = {**fit_scores(training), **fit_painted(model, training)}
    del training
    print("training the classifiers that measure", flush=True)
    other = Data(model, detector, given.faces / "train.zip", labels, range(n, 2 * n))
    by_name = measures(detector, train_classifiers(model, other, identity))
    checked = Photographs(model, other.images[:CHECKED], other.codes[:CHECKED], identity)
    for name in directions:
        directions[name] = scale_to_visible(name, directions[name], checked, own_region(name, other))
    del other
    print("measuring", flush=True)
    held_out = Data(model, detector, given.faces / "val.zip", labels, range(given.held_out))
    figures: dict[str, Any] = {
        "model": model.bundle.name,
        "generator_hash": model.generator_hash,
        "training_photographs": n,
        "held_out_photographs": len(held_out.faces),
        "directions": {},
    }
    photographs = Photographs(model, held_out.images, held_out.codes, identity)
    for name, direction in directions.items():
        painted = None
        if name in PAINTED:
            painted = model.encode(batch([paint(f, name) for f in held_out.faces], model.spec.image_size), 32)
        accuracy = held_out_accuracy(name, direction, held_out, painted)
        effect = photographs.evaluate(direction, by_name[name], own_region(name, held_out))
        direction.info["accuracy"] = {**direction.info.get("accuracy", {}), **accuracy}
        direction.info["cost"] = {key: effect["+1"][key] for key in ("identity", "background")}
        direction.info |= {"name": name, "licence": LICENCE}
        direction.save(given.bundle / FOLDER / f"{name}{SUFFIX}", "float16")
        figures["directions"][name] = {"unit": direction.info["unit"], **direction.info["accuracy"], **effect}
        print(name, direction.info["accuracy"], effect, flush=True)
    write_json(given.bundle / FOLDER / FIGURES, figures)
    update_card(given.bundle)
    if given.sheet:
        sheet(model, directions, given.sheet)


if __name__ == "__main__":
    main()
