"""What recipes/directions.py reads: photographs out of a ZIP, their landmarks, and scores that follow from them."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.images import prepare, to_float

YEARS = {"20-29": 25, "30-39": 35, "40-49": 45, "50-59": 55, "60-69": 65, "more than 70": 75}  # middle of a bracket
_SIDE, _MARGIN = 128, 32  # what YuNet looks at: an aligned face with grey around it
_SCORE = 0.5


class Archive:
    """Aligned faces of a ZIP, by number."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)
        self.names = sorted(name for name in self.archive.namelist() if name.endswith((".jpg", ".png")))

    def face(self, index: int) -> Image.Image:
        return Image.open(io.BytesIO(self.archive.read(self.names[index]))).convert("RGB")


def batch(faces: list[Image.Image], side: int) -> np.ndarray:
    """float32 [N, 3, side, side] in [-1, 1]."""
    return to_float(np.stack([prepare(face, side).pixels for face in faces]))


class YuNet:
    """Five landmarks of an aligned face."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def landmarks(self, face: Image.Image) -> np.ndarray:
        """[5, 2] as fractions of the side, in the order of the template; not a number where no face is found."""
        side = _SIDE + 2 * _MARGIN
        padded = np.full((side, side, 3), 127, np.float32)
        padded[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = np.asarray(face.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
        feed = {self.session.get_inputs()[0].name: padded[None, :, :, ::-1].transpose(0, 3, 1, 2)}
        out = dict(zip(self.outputs, self.session.run(None, feed), strict=True))
        best, points = _SCORE, np.full((5, 2), np.nan)
        for stride in (8, 16, 32):
            score = np.sqrt(np.clip(out[f"cls_{stride}"] * out[f"obj_{stride}"], 0, 1))[0, :, 0]
            at, across = int(score.argmax()), side // stride
            if score[at] > best:
                best = float(score[at])
                offset = out[f"kps_{stride}"][0, at].reshape(5, 2) + np.array([at % across, at // across])
                points = (offset * stride - _MARGIN) / _SIDE
        return points


def smile(landmarks: np.ndarray) -> np.ndarray:
    """Width of the mouth per distance of the eyes, [N, 5, 2] -> [N]."""
    return (landmarks[:, 4, 0] - landmarks[:, 3, 0]) / (landmarks[:, 1, 0] - landmarks[:, 0, 0])


def pose(landmarks: np.ndarray) -> np.ndarray:
    """The turn of the head: how far the nose is to the right of the face's middle, per distance of the eyes."""
    middle = landmarks[:, [0, 1, 3, 4], 0].mean(axis=1)
    return (landmarks[:, 2, 0] - middle) / (landmarks[:, 1, 0] - landmarks[:, 0, 0])


def lighting(images: np.ndarray) -> np.ndarray:
    """How much lighter the face's right half (the picture's) is than its left, [N, 3, S, S] in [-1, 1] -> [N]."""
    side = images.shape[-1]
    rows = slice(round(0.3 * side), round(0.75 * side))
    left = images[:, :, rows, round(0.2 * side) : round(0.5 * side)].mean(axis=(1, 2, 3))
    right = images[:, :, rows, round(0.5 * side) : round(0.8 * side)].mean(axis=(1, 2, 3))
    return right - left


def brightness(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=(1, 2, 3))


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """File -> its row of labels.csv."""
    with open(path, newline="", encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}
