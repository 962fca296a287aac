"""From a photograph as it comes to the aligned square that a model was trained on, and what to do when it is one."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL.Image import Resampling

from padinv.runtime.alignment.crop import crop_square
from padinv.runtime.alignment.similarity import inverted, map_points, source_side, square_transform
from padinv.runtime.alignment.templates import TEMPLATES, template_named
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.files import digest
from padinv.runtime.images import Prepared, prepare, read_image, square_box, to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

    from padinv.runtime.alignment.face_detector import FaceDetector

Align = Literal["auto", "always", "never"]
MODES: tuple[str, ...] = get_args(Align)

# A picture counts as aligned when its corners lie this close to where alignment would put them, in fractions of the
# side (root mean square of four). Of 1,000 aligned validation faces 99 % lie within this; see docs/alignment.md.
ALIGNED = 0.15
# The shorter side at which a large JPEG is decoded to find faces; the detector itself reduces images to 640 px.
ENOUGH_TO_FIND = 640
# How many images of a model without a template are searched for a face; one is enough to say that it should have one.
UNALIGNED_LOOKS = 8
_SURELY_ALIGNED = 0.1  # within this, a second look changes nothing
_NEARLY_SQUARE = 1.1  # aligned images are square; others go the longer way, which finds it out all the same
_ENOUGH_TO_MEASURE = 160  # the side at which an image is looked at once


@dataclass(frozen=True)
class Placement:
    """Where the square that a model looks at lies in a picture.

    Attributes:
        transform: [2, 3], source pixels -> fractions of the square; None: the image is used without alignment.
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
        fit: how an image that is used without alignment becomes square.

    Raises:
        UsageError: another mode, or 'always' without a template.
    """

    def __init__(
        self,
        template: str | None,
        mode: str = "auto",
        *,
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
        self._template = None if template is None else template_named(template)
        self._landmarks = landmarks
        self._given = None
        if landmarks is not None:
            self._given = digest({name: [face.tolist() for face in faces] for name, faces in landmarks.items()})
        self.face = face
        self._detector = detector
        self._looks, self._warned = UNALIGNED_LOOKS, False
        self._threads = threads
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its settings: another process opens a detector of its own."""
        settings = partial(Aligner, landmarks=self._landmarks, face=self.face, fit=self.fit, threads=self._threads)
        return settings, (self.template, self.mode)

    @property
    def active(self) -> bool:
        """Whether any picture can be aligned at all."""
        return self.mode != "never" and self._template is not None

    @property
    def conditions(self) -> dict[str, Any]:
        """What decides a placement besides the picture, JSON-ready: a change of it makes new results."""
        if not self.active:
            return {"align": "never"}
        return {"align": self.mode, "template": self.template, "face": self.face, "landmarks": self._given}

    def place(self, image: Image, size: tuple[int, int] | None = None, name: str = "the picture") -> Placement:
        """Where the square of a picture lies.

        Args:
            image: upright.
            size: the picture's full size where `image` is a reduced decode of it; transforms are for the full one.
            name: stands in messages; also looked up in `landmarks`.

        Raises:
            InputError: mode 'always' and no such face. BundleError, BackendError: the detector does not open.
        """
        full = size or image.size
        if not self.active:
            return Placement(note=self._unaligned_face(image, name))
        if self._lies_aligned(image):
            return Placement(faces=1)
        placements = self.placements(image, full, name, wanted=self.face)
        as_it_is = "so the image was used without alignment"
        if isinstance(placements, str):
            if self.mode == "always":
                raise InputError(f"{placements}, so it was skipped", code="no-face")
            return Placement(faces=None, note=f"{placements}, {as_it_is}")
        if self.face > len(placements):
            what = "no face was found" if not placements else f"only {_count(len(placements))} found"
            if self.mode == "always":
                raise InputError(
                    f"{what} in {name}, so it was skipped; give landmarks with --landmarks", code="no-face"
                )
            return Placement(faces=len(placements), note=f"{what} in {name}, {as_it_is}")
        transform = placements[self.face - 1]
        if self.mode == "auto" and placement_error(transform, full, self.fit) <= ALIGNED:
            return Placement(faces=len(placements))
        note = None
        if len(placements) > 1:
            note = f"{name} shows {len(placements)} faces; face {self.face} was taken; --face chooses another one"
        return Placement(transform, len(placements), note)

    def _unaligned_face(self, image: Image, name: str) -> str | None:
        """A sentence, once, where a model without a template gets a photograph with a face that is not aligned."""
        if self.mode != "auto" or self._template is not None:
            return None
        with self._lock:
            if self._looks == 0:
                return None
            self._looks -= 1
        for face in self.open_detector().faces(to_rgb(image)):
            errors = [
                placement_error(one.transform(face.landmarks), image.size, self.fit) for one in TEMPLATES.values()
            ]
            with self._lock:
                if min(errors) <= ALIGNED or self._warned:
                    return None
                self._warned, self._looks = True, 0
            return (
                f"{name} shows a face, and this model names no alignment template, so the image was used without "
                "alignment; if the model was trained on aligned faces, name their template with --template when it is "
                "imported or trained"
            )
        return None

    def _lies_aligned(self, image: Image) -> bool:
        """Whether a picture shows its face where an aligned one does: one look, where most pictures need several."""
        w, h = image.size
        if (
            self.mode != "auto"
            or self.face != 1
            or self._landmarks is not None
            or max(w, h) > _NEARLY_SQUARE * min(w, h)
        ):
            return False
        assert self._template is not None
        detector, rgb = self.open_detector(), to_rgb(image)
        if min(w, h) > 2 * _ENOUGH_TO_MEASURE:
            scale = _ENOUGH_TO_MEASURE / min(w, h)
            rgb = rgb.resize((round(w * scale), round(h * scale)), Resampling.BILINEAR, reducing_gap=2.0)
        box = square_transform(square_box(rgb.size, self.fit))
        landmarks = map_points(inverted(box), self._template.points)
        for _ in range(2):  # a face a little out of place is measured better where it was seen
            face = detector.measure(rgb, landmarks)
            if face is None:
                return False
            landmarks = face.landmarks
            error = placement_error(self._template.transform(landmarks), rgb.size, self.fit)
            if error <= _SURELY_ALIGNED or error > 2 * ALIGNED:
                break
        return error <= ALIGNED

    def placements(
        self, image: Image, size: tuple[int, int], name: str, *, wanted: int | None = 1
    ) -> list[np.ndarray] | str:
        """Transforms of the faces, the largest first; or, where they are not known, a phrase that says why.

        Args:
            wanted: how many are needed, see `FaceDetector.faces`; None: all.
        """
        assert self._template is not None
        if self._landmarks is not None:
            faces = _lookup(self._landmarks, name)
            if faces is None:
                return f"{name} has no line in the file of landmarks"
            return [self._template.transform(points) for points in faces]
        ratio = np.array([image.width / size[0], image.height / size[1]])
        found = self.open_detector().faces(to_rgb(image, name), wanted=wanted)
        return [self._template.transform(face.landmarks / ratio) for face in found]

    def prepare(
        self, image: Image, side: int, size: tuple[int, int] | None = None, name: str = "the picture"
    ) -> tuple[Prepared, Placement]:
        """Place, cut out and resize: the model's input, and where it came from.

        Raises:
            InputError, BundleError, BackendError: see `place`.
        """
        placement = self.place(image, size, name)
        return cut(image, placement.transform, side, fit=self.fit, size=size, name=name), placement

    def prepare_file(
        self, path: Path | str, side: int, *, like: Mapping[str, Any] | None = None
    ) -> tuple[Prepared, Placement]:
        """`prepare` for an image file. A large JPEG is decoded at reduced size where its face is large enough for that.

        Args:
            path: also the name that `landmarks` is searched for.
            side: of the model's input.
            like: what `Prepared.item` says of an image. Where the file has the same size, its square is cut out where
                that image's was, instead of looking for a face.

        Raises:
            InputError, BundleError, BackendError: the file cannot be read, or see `place`.
        """
        image, full = read_image(path, enough=max(ENOUGH_TO_FIND if self.active else 0, 3 * side))
        if like is not None and list(full) == list(like["size"]):
            placement = Placement(None if like["transform"] is None else np.asarray(like["transform"], np.float64))
        else:
            placement = self.place(image, full, str(path))
        if image.size != full and placement.transform is not None:
            needed = 2 * side / source_side(placement.transform) * min(full)  # two source pixels per pixel and axis
            if needed > min(image.size):  # the face is small in the photograph: cut it out of a larger decode
                image, full = read_image(path, enough=math.ceil(needed))
        return cut(image, placement.transform, side, fit=self.fit, size=full, name=str(path)), placement

    def open_detector(self) -> FaceDetector:
        """The face detector, opened on first use.

        Raises:
            BundleError, BackendError: it does not open.
        """
        with self._lock:
            if self._detector is None:
                from padinv.runtime.alignment.face_detector import FaceDetector

                self._detector = FaceDetector.load(self._threads)
            return self._detector


def cut(
    image: Image,
    transform: np.ndarray | None,
    side: int,
    *,
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
    """How far an image that is used without alignment lies from its aligned square.

    Returns:
        root mean square distance of the four corners, in fractions of the side; 0 for an aligned picture.
    """
    left, top, right, bottom = square_box(size, fit)
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
    moved = map_points(np.asarray(transform), corners) - map_points(
        square_transform((left, top, right, bottom)), corners
    )
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


def _count(faces: int) -> str:
    return "1 face was" if faces == 1 else f"{faces} faces were"


def _lookup(landmarks: Mapping[str, Sequence[np.ndarray]], name: str) -> Sequence[np.ndarray] | None:
    """By the whole name, by ever shorter ends of it, by the file's own name at last."""
    parts = name.replace("\\", "/").split("/")
    return next((landmarks[key] for i in range(len(parts)) if (key := "/".join(parts[i:])) in landmarks), None)
