"""Calibrate CenterFace's landmarks to the template, and measure how exactly it aligns, beside YuNet.

    python benchmarks/align_calibration.py --shared ../shared [--pictures 1000] [--calibrate]

The faces of `val.zip` were aligned by YuNet's landmarks in their photographs. Each is turned, scaled and shifted by a
known random similarity in front of its own blurred mirror image, and aligned again. The error is the distance between
where a point of the template comes to lie and where it should, in fractions of the aligned side; mean and 95th
percentile over all pictures and the five points. `--calibrate` first prints the mean landmarks that CenterFace sees in
500 aligned training faces, which are the constants in `padinv.runtime.alignment.face_detector`.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from padinv.runtime.alignment.aligner import placement_error
from padinv.runtime.alignment.crop import crop_square
from padinv.runtime.alignment.face_detector import CENTERFACE_FACES, Face, FaceDetector
from padinv.runtime.alignment.similarity import inverted, map_points, similarity
from padinv.runtime.alignment.templates import FACES
from padinv.runtime.backends.onnxruntime_session import OnnxSession

CANVAS = 320


class YuNet(FaceDetector):
    """The detector that aligned the data set, behind the same two steps."""

    def _run(self, pixels: np.ndarray, threshold: float) -> list[Face]:
        h, w = pixels.shape[:2]
        x = np.full((1, 3, -(-h // 32) * 32, -(-w // 32) * 32), 127, np.float32)
        x[0, :, :h, :w] = pixels[:, :, ::-1].transpose(2, 0, 1)
        outputs = self._session.run({"input": x})
        best: list[Face] = []
        for stride in (8, 16, 32):
            score = np.sqrt(np.clip(outputs[f"cls_{stride}"] * outputs[f"obj_{stride}"], 0, 1))[0, :, 0]
            at = int(score.argmax())
            cell = np.array([at % (x.shape[3] // stride), at // (x.shape[3] // stride)])
            points = (outputs[f"kps_{stride}"][0, at].reshape(5, 2) + cell) * stride
            best.append(Face(points.astype(np.float64), float(np.ptp(points, axis=0).max() * 2), float(score[at])))
        return [face for face in sorted(best, key=lambda face: -face.score)[:1] if face.score > threshold]


def open_face(archive: zipfile.ZipFile, name: str) -> Image.Image:
    return Image.open(io.BytesIO(archive.read(name))).convert("RGB")


def calibrate(detector: FaceDetector, archive: zipfile.ZipFile, count: int = 500) -> np.ndarray:
    names = sorted(archive.namelist())
    points = []
    for name in names[:: max(1, len(names) // count)][:count]:
        face = open_face(archive, name)
        measured = detector.measure(face, np.asarray(FACES) * face.width)
        if measured is not None:
            points.append(measured.landmarks / face.width)
    print(f"{len(points)} of {count} faces found")
    # What is left after the constants were applied is what they are off by.
    return CENTERFACE_FACES + np.mean(points, axis=0) - np.asarray(FACES)


def disturbed(face: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
    """The face somewhere in a larger picture, and the true transform, picture -> fractions of the face's square."""
    angle, side = rng.uniform(-0.35, 0.35), rng.uniform(90, 200)
    centre = rng.uniform(CANVAS * 0.42, CANVAS * 0.58, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * side  # fractions -> pixels
    truth = inverted(np.concatenate([turn, (centre - turn @ [0.5, 0.5])[:, None]], axis=1))
    to_face = np.concatenate([truth[:, :2] * face.width, truth[:, 2:] * face.width], axis=1)
    # The square of crop_square is the whole canvas; what lies outside the face is its mirror image, blurred so that
    # no second face appears.
    square = inverted(np.concatenate([to_face[:, :2] * CANVAS, to_face[:, 2:]], axis=1))
    pixels = crop_square(face, square, CANVAS)
    assert pixels is not None
    picture = Image.fromarray(pixels)
    grid = (np.stack(np.meshgrid(np.arange(CANVAS), np.arange(CANVAS)), axis=-1) + 0.5).reshape(-1, 2)
    inside = (np.abs(map_points(truth, grid) - 0.5) <= 0.5).all(axis=1).reshape(CANVAS, CANVAS)
    picture.paste(picture.filter(ImageFilter.GaussianBlur(20)), mask=Image.fromarray(np.uint8(~inside) * 255))
    return picture, truth


def report(label: str, errors: list[float], missed: int) -> None:
    values = np.asarray(errors)
    print(f"| {label} | {values.mean():.4f} | {np.percentile(values, 95):.4f} | {missed} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--calibrate", action="store_true")
    arguments = parser.parse_args()
    centerface = FaceDetector.load(1)
    yunet_path = arguments.shared / "weights" / "yunet.onnx"
    yunet = YuNet(OnnxSession(yunet_path.read_bytes(), yunet_path, "cpu", 1))
    if arguments.calibrate:
        with zipfile.ZipFile(arguments.shared / "faces" / "train.zip") as archive:
            print("CenterFace's landmarks on aligned faces:", calibrate(centerface, archive).round(4).tolist())
    template = np.asarray(FACES)
    detectors = {"CenterFace": centerface, "YuNet": yunet}
    errors: dict[str, list[float]] = {"CenterFace": [], "YuNet": [], "between": []}
    missed = dict.fromkeys(errors, 0)
    aligned: list[float] = []
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(arguments.shared / "faces" / "val.zip") as archive:
        for name in sorted(archive.namelist())[: arguments.pictures]:
            face = open_face(archive, name)
            if found := centerface.faces(face):
                aligned.append(placement_error(similarity(found[0].landmarks, template), face.size))
            picture, truth = disturbed(face, rng)
            points = map_points(inverted(truth), template)  # where the template's points are in the picture
            placed = {}
            for label, detector in detectors.items():
                centre = map_points(inverted(truth), np.array([[0.5, 0.5]]))
                near = [
                    f
                    for f in detector.faces(picture)
                    if np.linalg.norm(f.landmarks.mean(0) - centre) < 0.4 / np.sqrt(np.linalg.det(truth[:, :2]))
                ]
                if not near:
                    missed[label] += 1
                    continue
                placed[label] = map_points(similarity(near[0].landmarks, template), points)
                errors[label] += np.linalg.norm(placed[label] - template, axis=1).tolist()
            if len(placed) == 2:
                errors["between"] += np.linalg.norm(placed["CenterFace"] - placed["YuNet"], axis=1).tolist()
            else:
                missed["between"] += 1
    print("| placement against | mean | 95th percentile | not found |\n| --- | --- | --- | --- |")
    report("CenterFace, calibrated, to the true square", errors["CenterFace"], missed["CenterFace"])
    report("YuNet to the true square", errors["YuNet"], missed["YuNet"])
    report("CenterFace to YuNet", errors["between"], missed["between"])
    quantiles = np.percentile(aligned, [50, 95, 99, 99.5])
    print(
        f"aligned pictures as they are: corners off by {quantiles[0]:.3f} (median), {quantiles[1]:.3f} (95 %), "
        f"{quantiles[2]:.3f} (99 %), {quantiles[3]:.3f} (99.5 %); {arguments.pictures - len(aligned)} without a face"
    )


if __name__ == "__main__":
    main()
