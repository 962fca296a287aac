"""Faces and their five landmarks, by CenterFace (Xu et al. 2019), run with onnxruntime.

The network's file travels in this package; recipes/face_detector.py makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.alignment.crop import crop_square
from padinv.runtime.alignment.similarity import inverted, map_points, similarity
from padinv.runtime.alignment.templates import FACES
from padinv.runtime.backends.onnxruntime_session import OnnxSession
from padinv.runtime.errors import BundleError
from padinv.runtime.files import sha256_bytes

MODEL_PATH = Path(__file__).resolve().parent / "centerface" / "centerface.onnx"
MODEL_SHA256 = "810c8b5a4e423e571bbeef8189a1fa0274bca53556e49656548866cecc4e6cc8"
_INPUT, _OUTPUTS = "image", ("heatmap", "size", "offset", "landmarks")
_STRIDE = 4

# Where CenterFace sees the landmarks of faces that YuNet aligned to the template 'faces': means over 500 training
# faces, as fractions of the side (benchmarks/align_calibration.py prints them). The difference is CenterFace's bias. It
# is taken off every face, so that landmarks mean the same whatever found them and fit any template.
CENTERFACE_FACES = np.array(
    [
        (0.3041, 0.3061),
        (0.7002, 0.3103),
        (0.4984, 0.4969),
        (0.3313, 0.6794),
        (0.6531, 0.6829),
    ]
)
_FRAME = np.asarray(FACES, np.float64)

# The longer side of an image when faces are looked for: the first of these that shows one is enough. Where all faces
# are wanted, the last one is taken at once, because it shows small faces beside large ones. At fewer than 320 pixels a
# second face half as large as the first is overlooked, and nobody would be told that a choice was made.
FIND_SIDES = (320, 640)
_FIND_MIN = 128  # smaller images are enlarged to this
_FIND_SCORE = 0.4
_OVERLAP = 0.3  # of two boxes that overlap more than this, the better one counts

# Landmarks are measured in an aligned crop of this side, with grey around it: what surrounds a face must not matter,
# because an aligned image has nothing there. Four times the pixels measure no more exactly (docs/alignment.md).
MEASURE_SIDE, MEASURE_MARGIN = 64, 16
_MEASURE_SCORE = 0.5
_MEASURE_TIMES, _MEASURE_ENOUGH = 4, 0.015  # looks at most, and the movement in sides of the face that ends them
_MEASURE_CELLS = 2
_GREY = 127


@dataclass(frozen=True)
class Face:
    """One face of an image.

    Attributes:
        landmarks: [5, 2] pixels (x, y) from the upper left corner: the eye, then the mouth corner, at the image's
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
    def load(cls, threads: int | None = None, *, path: Path = MODEL_PATH) -> FaceDetector:
        """Open the detector that travels in the package.

        Raises:
            BundleError: the file is missing, or is not the one that this version was released with.
            BackendError: onnxruntime is not installed.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"the face detector {path} cannot be read ({error.strerror or error}); install padinv again"
            ) from error
        if sha256_bytes(data) != MODEL_SHA256:
            raise BundleError(f"the face detector {path} is damaged or was replaced; install padinv again")
        return cls(OnnxSession(data, path, "cpu", threads))

    def faces(self, image: Image.Image, *, wanted: int | None = 1) -> list[Face]:
        """The faces of an upright RGB image, largest first.

        Each is found in the whole image at reduced size, then measured again in a crop that is aligned by what was
        found, so that size and rotation in the image hardly matter.

        Args:
            wanted: how many of the largest faces are needed. These are measured, and the search ends at the smallest
                size of the image that shows as many; the faces that follow them are less exact, and small ones may be
                missing. None: all faces, each measured.
        """
        best: list[Face] = []
        for side in FIND_SIDES[-1:] if wanted is None else FIND_SIDES:
            found = sorted(self._find(image, side), key=lambda face: -face.side)
            faces = self._measure_largest(image, found, wanted)
            if len(faces) > len(best):
                best = faces
            if max(image.size) <= side or (wanted is not None and len(best) >= wanted):
                break
        return best

    def measure(self, image: Image.Image, start: np.ndarray) -> Face | None:
        """A face whose landmarks are roughly known, measured in the crop that they align; None where there is none.

        Args:
            start: [5, 2] pixels.
        """
        transform = similarity(start, _FRAME)
        crop = crop_square(image, transform, MEASURE_SIDE, max_cells=_MEASURE_CELLS)
        if crop is None:
            return None
        whole = MEASURE_SIDE + 2 * MEASURE_MARGIN
        padded = np.full((whole, whole, 3), _GREY, np.uint8)
        inner = slice(MEASURE_MARGIN, MEASURE_MARGIN + MEASURE_SIDE)
        padded[inner, inner] = crop
        best = None
        for candidate in self._run(padded, _MEASURE_SCORE):
            points = (candidate.landmarks - MEASURE_MARGIN) / MEASURE_SIDE
            if np.abs(points.mean(axis=0) - _FRAME.mean(axis=0)).max() < 0.2 and (
                best is None or candidate.score > best.score
            ):
                best = Face(points, candidate.side / MEASURE_SIDE, candidate.score)
        if best is None:
            return None
        backward = inverted(transform)
        return Face(
            map_points(backward, best.landmarks),
            best.side * float(np.sqrt(np.abs(np.linalg.det(backward[:, :2])))),
            best.score,
        )

    def _find(self, image: Image.Image, side: int) -> list[Face]:
        longest = max(image.size)
        scale = min(max(longest, _FIND_MIN), side) / longest
        w, h = (max(1, round(length * scale)) for length in image.size)
        small = image if (w, h) == image.size else image.resize((w, h), Image.Resampling.BILINEAR, reducing_gap=2.0)
        margin = round(max(w, h) / 8)  # faces at the border are found better with something around them
        padded = np.full((h + 2 * margin, w + 2 * margin, 3), _GREY, np.uint8)
        padded[margin : margin + h, margin : margin + w] = np.asarray(small)
        ratio = np.array([image.width / w, image.height / h])
        return [
            Face((face.landmarks - margin) * ratio, face.side * float(ratio[0]), face.score)
            for face in self._run(padded, _FIND_SCORE)
        ]

    def _measure_largest(self, image: Image.Image, found: list[Face], wanted: int | None) -> list[Face]:
        """The faces of `found` (largest first), the largest `wanted` of them measured until they stay in place."""
        measured: list[Face] = []
        rest: list[Face] = []
        for face in found:
            if wanted is not None and len(measured) >= wanted:
                rest.append(face)
            elif (exact := self._settled(image, face)) is not None:
                measured = _distinct([*measured, exact])
        measured.sort(key=lambda face: -face.side)
        taken = _boxes(measured)
        return measured + [
            face
            for face, box in zip(rest, _boxes(rest), strict=True)
            if all(_overlap(box, other) <= _OVERLAP for other in taken)
        ]

    def _settled(self, image: Image.Image, face: Face) -> Face | None:
        """A found face measured again and again, each time in the crop of the last, until it stays where it is."""
        found = None
        for _ in range(_MEASURE_TIMES):
            again = self.measure(image, (found or face).landmarks)
            if again is None:
                break
            moved = float(np.abs(again.landmarks - (found or face).landmarks).max()) / again.side
            found = again
            if moved < _MEASURE_ENOUGH:
                break
        return found

    def _run(self, pixels: np.ndarray, threshold: float) -> list[Face]:
        """Faces of a uint8 RGB array [H, W, 3], overlapping ones removed."""
        h, w = pixels.shape[:2]
        x = np.full((1, 3, -(-h // 32) * 32, -(-w // 32) * 32), _GREY, np.float32)  # its layers halve five times
        x[0, :, :h, :w] = pixels.transpose(2, 0, 1)
        return _decode(self._session.run({_INPUT: x}), threshold)


def _decode(outputs: Mapping[str, np.ndarray], threshold: float) -> list[Face]:
    """The network's maps -> faces in pixels of its input, overlapping ones removed."""
    heat, size, offset, points = (outputs[name][0] for name in _OUTPUTS)
    rows, columns = np.nonzero(heat[0] > threshold)
    faces = []
    for row, column in zip(rows, columns, strict=True):
        # Vertical comes first in every pair of channels.
        extent = np.exp(np.minimum(size[:, row, column], 8)) * _STRIDE
        centre = (np.array([row, column]) + offset[:, row, column] + 0.5) * _STRIDE
        landmarks = points[:, row, column].reshape(5, 2) * extent + (centre - extent / 2)
        faces.append(Face(landmarks[:, ::-1].astype(np.float64), float(extent.max()), float(heat[0, row, column])))
    return [Face(_unbiased(face.landmarks), face.side, face.score) for face in _distinct(faces)]


def _unbiased(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks [5, 2] as CenterFace sees them -> as YuNet does, with which the training faces were aligned."""
    if np.ptp(landmarks, axis=0).max() < 1e-6:  # points that coincide align nothing; `measure` will find no face there
        return landmarks
    transform = similarity(landmarks, CENTERFACE_FACES)
    return map_points(inverted(transform), map_points(transform, landmarks) + (_FRAME - CENTERFACE_FACES))


_Box = tuple[float, float, float]  # centre and side of the square around a face's landmarks


def _boxes(faces: list[Face]) -> list[_Box]:
    """The squares of faces, as plain numbers: this is asked for every cell of the network's map."""
    if not faces:
        return []
    centres = np.stack([face.landmarks for face in faces]).mean(axis=1).tolist()
    return [(x, y, face.side) for (x, y), face in zip(centres, faces, strict=True)]


def _distinct(faces: list[Face]) -> list[Face]:
    """The best of every group of faces whose squares overlap."""
    ordered = sorted(faces, key=lambda face: -face.score)
    kept: list[tuple[Face, _Box]] = []
    for face, box in zip(ordered, _boxes(ordered), strict=True):
        if all(_overlap(box, other) <= _OVERLAP for _, other in kept):
            kept.append((face, box))
    return [face for face, _ in kept]


def _overlap(a: _Box, b: _Box) -> float:
    """Intersection over union of two squares."""
    reach = (a[2] + b[2]) / 2
    smaller = min(a[2], b[2])
    w = min(reach - abs(a[0] - b[0]), smaller)
    h = min(reach - abs(a[1] - b[1]), smaller)
    shared = max(w, 0.0) * max(h, 0.0)
    return shared / max(a[2] ** 2 + b[2] ** 2 - shared, 1e-12)
