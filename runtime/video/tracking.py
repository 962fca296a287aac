"""Following one face from frame to frame: where it was last is where it is looked for first."""

from __future__ import annotations

import numpy as np
from PIL import Image

from padinv.runtime.alignment.face_detector import Face, FaceDetector

# A face that was lost is looked for in the whole frame, and counts as the same one within this many of its sides.
REACH = 1.5
_SIZES = 2.0  # and within this ratio of its size
_LOOKS = 2  # in the aligned crop: the second look measures what the first one found


class FaceTracker:
    """Finds the same face in one frame after another.

    Args:
        detector: see `FaceDetector`.
        face: which face of the first frame that shows so many, 1 being the largest.
        last: [5, 2], landmarks of the last frame that showed it, to continue an earlier run.
    """

    def __init__(self, detector: FaceDetector, face: int = 1, last: np.ndarray | None = None) -> None:
        self._detector, self._face = detector, face
        self.last = last

    def find(self, pixels: np.ndarray) -> np.ndarray | None:
        """The face's landmarks [5, 2] in a frame, uint8 RGB [H, W, 3]; None where it is not seen."""
        image = Image.fromarray(pixels)
        landmarks = self._first(image) if self.last is None else self._followed(image, self.last)
        if landmarks is not None:
            self.last = landmarks
        return landmarks

    def _first(self, image: Image.Image) -> np.ndarray | None:
        faces = self._detector.faces(image, wanted=self._face)
        return faces[self._face - 1].landmarks if len(faces) >= self._face else None

    def _followed(self, image: Image.Image, last: np.ndarray) -> np.ndarray | None:
        found = last
        for _ in range(_LOOKS):
            face = self._detector.measure(image, found)
            if face is None:
                return self._nearest(self._detector.faces(image, wanted=None), last)
            found = face.landmarks
        return found

    def _nearest(self, faces: list[Face], last: np.ndarray) -> np.ndarray | None:
        """The face closest to where the followed one was, if it can be that one."""
        size = extent(last)
        close = [
            face.landmarks
            for face in faces
            if distance(face.landmarks, last) <= REACH * size and 1 / _SIZES < extent(face.landmarks) / size < _SIZES
        ]
        return min(close, key=lambda landmarks: distance(landmarks, last), default=None)


def extent(landmarks: np.ndarray) -> float:
    """A face's size in pixels by its landmarks [5, 2]: about the side of its square."""
    centred = landmarks - landmarks.mean(axis=0)
    # The landmarks of the template 'faces' lie 0.242 sides from their centre (root mean square).
    return max(float(np.sqrt((centred**2).sum(axis=1).mean())) / 0.242, 1e-6)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Pixels between the centres of two faces' landmarks [5, 2]."""
    return float(np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)))
