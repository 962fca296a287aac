"""From a photograph as it comes to the aligned square that a model was trained on, and what to do when it is one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.runtime.alignment.crop import crop_square
from padinv.runtime.alignment.similarity import map_points, similarity, square_transform
from padinv.runtime.alignment.templates import template_named
from padinv.runtime.errors import InputError, MissingPackageError, UsageError
from padinv.runtime.files import digest
from padinv.runtime.images import Prepared, prepare, square_box, to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

    from padinv.runtime.alignment.face_detector import FaceDetector

MODES = ("auto", "always", "never")

# A picture counts as aligned when its corners lie this close to where alignment would put them, in fractions of the
# side (root mean square of four). Of 1,000 aligned validation faces 98 % lie within this; see docs/alignment.md.
ALIGNED = 0.15


@dataclass(frozen=True)
class Placement:
    """Where the square that a model looks at lies in a picture.

    Attributes:
        transform: [2, 3], source pixels -> fractions of the square; None: the picture is taken as it is.
        faces: how many faces were seen or given; None where nobody looked.
        note: a sentence that the user should see, or None.
    """

    transform: np.ndarray | None = None
    faces: int | None = None
    note: str | None = None


class Aligner:
    """Decides for one picture after another. Safe to share between threads; the detector opens on first use.

    Args:
        template: name of the model's template (`ModelSpec.template`); None: pictures are taken as they are.
        mode: 'auto' leaves aligned pictures alone, aligns the rest, and takes pictures without a face as they are;
            'always' aligns every picture and refuses those without a face; 'never' takes all as they are.
        landmarks: name of a picture -> its faces, each [5, 2] in pixels; used instead of the detector
            (see `padinv.runtime.alignment.landmarks_csv`).
        face: which face, 1 being the largest (or the first one in `landmarks`).
        fit: how a picture that is taken as it is becomes square.

    Raises:
        UsageError: another mode, or 'always' without a template.
    """

    def __init__(
        self,
        template: str | None,
        mode: str = "auto",
        landmarks: Mapping[str, Sequence[np.ndarray]] | None = None,
        face: int = 1,
        fit: str = "crop",
        detector: FaceDetector | None = None,
        threads: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise UsageError(f"align must be one of {', '.join(MODES)}, not {mode!r}")
        if face < 1:
            raise UsageError(f"faces are numbered from 1, so there is no face {face}")
        if mode == "always" and template is None:
            raise UsageError("this model names no alignment template, so nothing can be aligned; use --align never")
        self.template = template
        self.mode = mode
        self.fit = fit
        self._points = None if template is None else template_named(template)
        self._landmarks = landmarks
        self._given = None
        if landmarks is not None:
            self._given = digest({name: [face.tolist() for face in faces] for name, faces in landmarks.items()})
        self._face = face
        self._detector = detector
        self._threads = threads
        self._missing: str | None = None
        self._lock = threading.Lock()

    @property
    def active(self) -> bool:
        """Whether any picture can be aligned at all."""
        return self.mode != "never" and self._points is not None

    @property
    def conditions(self) -> dict[str, Any]:
        """What decides a placement besides the picture, JSON-ready: a change of it makes results anew."""
        if not self.active:
            return {"align": "never"}
        return {"align": self.mode, "template": self.template, "face": self._face, "landmarks": self._given}

    def place(self, image: Image, size: tuple[int, int] | None = None, name: str = "the picture") -> Placement:
        """Where the square of a picture lies.

        Args:
            image: upright.
            size: the picture's full size where `image` is a reduced decode of it; transforms are for the full one.
            name: stands in messages; also looked up in `landmarks`.

        Raises:
            InputError: mode 'always' and no such face. MissingPackageError: mode 'always' and no detector installed.
        """
        full = size or image.size
        if not self.active:
            return Placement()
        placements = self.placements(image, full, name)
        as_it_is = "so the picture was taken as it is"
        if isinstance(placements, str):
            if self.mode == "always":
                raise InputError(f"{placements}, so it was skipped")
            return Placement(faces=None, note=f"{placements}, {as_it_is}")
        if self._face > len(placements):
            what = "no face was found" if not placements else f"only {len(placements)} faces were found"
            if self.mode == "always":
                raise InputError(f"{what} in {name}, so it was skipped; give landmarks with --landmarks")
            return Placement(faces=len(placements), note=f"{what} in {name}, {as_it_is}")
        transform = placements[self._face - 1]
        if self.mode == "auto" and placement_error(transform, full, self.fit) <= ALIGNED:
            return Placement(faces=len(placements))
        note = None
        if len(placements) > 1:
            note = f"{name} shows {len(placements)} faces; face {self._face} was taken; --face chooses another one"
        return Placement(transform, len(placements), note)

    def placements(
        self, image: Image, size: tuple[int, int], name: str, everyone: bool = False
    ) -> list[np.ndarray] | str:
        """Transforms of all faces, the largest first; or, where nobody can look, a phrase that says why.

        Args:
            everyone: look for small faces beside large ones, too.
        """
        assert self._points is not None
        if self._landmarks is not None:
            faces = _lookup(self._landmarks, name)
            if faces is None:
                return f"{name} has no line in the file of landmarks"
            return [similarity(points, self._points) for points in faces]
        detector = self._open()
        if detector is None:
            return f"faces cannot be found ({self._missing})"
        from padinv.runtime.alignment.face_detector import CENTERFACE_TEMPLATES

        goal = np.asarray(CENTERFACE_TEMPLATES[str(self.template)])
        ratio = np.array([image.width / size[0], image.height / size[1]])
        found = detector.faces(to_rgb(image, name), goal, everyone)
        return [similarity(face.landmarks / ratio, goal) for face in found]

    def prepare(
        self, image: Image, side: int, size: tuple[int, int] | None = None, name: str = "the picture"
    ) -> tuple[Prepared, Placement]:
        """Place, cut out and resize: the model's input, and where it came from.

        Raises:
            InputError, MissingPackageError: see `place`.
        """
        placement = self.place(image, size, name)
        return cut(image, placement.transform, side, self.fit, size, name), placement

    def _open(self) -> FaceDetector | None:
        with self._lock:
            if self._detector is None and self._missing is None:
                from padinv.runtime.alignment.face_detector import FaceDetector

                try:
                    self._detector = FaceDetector.load(self._threads)
                except MissingPackageError as error:
                    if self.mode == "always":
                        raise
                    self._missing = str(error)
            return self._detector


def cut(
    image: Image,
    transform: np.ndarray | None,
    side: int,
    fit: str = "crop",
    size: tuple[int, int] | None = None,
    name: str = "the picture",
) -> Prepared:
    """The square of a picture at the model's size, by a transform of its full size or, without one, by `fit`.

    Raises:
        InputError: the transform's square shows nothing of the picture.
    """
    if transform is None:
        return prepare(image, side, fit, size)
    full = size or image.size
    scaled = np.asarray(transform, np.float64) @ np.diag([full[0] / image.width, full[1] / image.height, 1])
    pixels = crop_square(to_rgb(image, name), scaled, side)
    if pixels is None:
        raise InputError(f"the landmarks of {name} are no face inside the picture, so it was skipped")
    return Prepared(pixels, full, "crop", None, transform.tolist())


def item_transform(item: Mapping[str, Any]) -> np.ndarray | None:
    """The transform of an image of an `Inversion`, source pixels -> fractions of the square; None where unknown."""
    if item.get("transform") is not None:
        return np.asarray(item["transform"], np.float64)
    return square_transform(item["box"]) if item.get("box") is not None else None


def placement_error(transform: np.ndarray, size: tuple[int, int], fit: str = "crop") -> float:
    """How far a picture that is taken as it is lies from its aligned square.

    Returns:
        root mean square distance of the four corners, in fractions of the side; 0 for an aligned picture.
    """
    left, top, right, bottom = square_box(size, fit)
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
    moved = map_points(np.asarray(transform), corners) - map_points(
        square_transform((left, top, right, bottom)), corners
    )
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


def _lookup(landmarks: Mapping[str, Sequence[np.ndarray]], name: str) -> Sequence[np.ndarray] | None:
    """By the whole name, by ever shorter ends of it, by the file's own name at last."""
    parts = name.replace("\\", "/").split("/")
    return next((landmarks[key] for i in range(len(parts)) if (key := "/".join(parts[i:])) in landmarks), None)
