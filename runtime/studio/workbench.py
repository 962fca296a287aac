"""The work of the studio: opening photographs, running edits, pasting back. One image at a time, like the command line
with one photograph, so that results agree bit for bit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from PIL import Image

from padinv.runtime.alignment.aligner import Aligner, item_transform
from padinv.runtime.alignment.face_detector import FaceDetector
from padinv.runtime.alignment.paste_back import DEFAULT_FEATHER
from padinv.runtime.editing import Direction, Space, apply, difference, interpolate
from padinv.runtime.editing.auto_space import Faces, choose_space
from padinv.runtime.editing.saved_edit import SavedEdit
from padinv.runtime.errors import UsageError
from padinv.runtime.images import array_to_image, to_float, to_rgb, to_uint8
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.provenance.command_text import Command as Recorded
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.server.limits import Limits
from padinv.runtime.server.service import reconstruction_metrics
from padinv.runtime.server.uploads import Photograph, decode_image, paste, read_photograph, read_square_mask
from padinv.runtime.studio.edit_state import Interpolation, Pair, Placing, Square
from padinv.runtime.studio.photo import SHOWN_SIDE, THUMB_SIDE, Photo, jpeg_of
from padinv.runtime.studio.placing import found_faces, moved_landmarks
from padinv.runtime.studio.session import NamedDirection, new_id

_DECODED = 2  # photographs that are kept decoded, for pasting back


class Workbench:
    """A model, and what is done with it for all sessions. Runs of the model take turns."""

    def __init__(self, model: Model, limits: Limits, marking: Marking | None = None) -> None:
        self.model = model
        self.limits = limits
        self.marking = marking or Marking.of(model.bundle, Recorded("studio"))
        self._detector = None if model.spec.template is None else FaceDetector.load()
        self._turn = threading.Lock()
        self._faces: Faces | None = None
        self._decoded: OrderedDict[str, Image.Image] = OrderedDict()

    def warm_up(self) -> None:
        """Run each graph once, so that the first photograph is not slow and a broken model is found at the start.

        Raises:
            BundleError, BackendError: the model cannot run.
        """
        side = self.model.spec.image_size
        self._generate(self._encode(np.zeros((side, side, 3), np.uint8)))

    def open(self, data: bytes, name: str, placing: Placing | None = None, path: str | None = None) -> Photo:
        """Read, align and invert a photograph.

        Raises:
            InputError: not a picture, damaged, or too large. UsageError: no such face.
        """
        chosen = placing is not None
        placing = placing or Placing()
        aligner = self._aligner(placing.face)
        photograph = read_photograph(data, name, self.model, aligner, self.limits)
        image = to_rgb(decode_image(data, name, self.limits))
        faces = found_faces(self._aligner(1), image, name)
        if placing.face > max(1, len(faces)):
            raise UsageError(f"{name} shows {len(faces)} faces, so there is no face {placing.face}")
        landmarks = None
        if placing.square != Square():
            found = item_transform(photograph.item)
            assert found is not None  # a picture that was read says where its square lies
            landmarks = moved_landmarks(found, placing.square, self.model.spec.template)
            aligner = Aligner(self.model.spec.template, "always", landmarks={name: [landmarks]})
            photograph = read_photograph(data, name, self.model, aligner, self.limits)
        with self._turn:
            inversion, (made,) = self.model.reconstruct(to_float(photograph.pixels[None]))
        inversion.items = [dict(photograph.item)]
        return Photo(
            id=new_id(), name=name, path=path, data=data, size=image.size, faces=faces, placing=placing,
            landmarks=landmarks, transform=item_transform(photograph.item),
            pixels=photograph.pixels, inversion=inversion, image=to_uint8(made[None])[0],
            metrics=reconstruction_metrics(photograph.pixels, made, self.model.spec.image_size),
            shown=jpeg_of(image, SHOWN_SIDE), thumb=jpeg_of(array_to_image(photograph.pixels), THUMB_SIDE),
            note=_about_faces(photograph, len(faces), chosen=chosen),
        )  # fmt: skip

    def edited(self, photo: Photo, edit: SavedEdit) -> Inversion:
        """The codes of a photograph after an edit. Raises as `SavedEdit.apply`."""
        return edit.apply(photo.inversion, self.model.spec)

    def picture(self, photo: Photo, edit: SavedEdit) -> np.ndarray:
        """uint8 RGB [R, R, 3]: the edited square. Only the generator runs. Raises as `SavedEdit.apply`."""
        if edit.changes_nothing:
            return photo.image
        return self._rendered(self.edited(photo, edit))

    def pasted(self, photo: Photo, square: np.ndarray, feather: float = DEFAULT_FEATHER) -> np.ndarray:
        """uint8 RGB [H, W, 3]: the photograph with an edited square put back. Raises as `paste_back`."""
        return paste((self._whole(photo), photo.name), square, photo.inversion.items[0], feather)

    def profile(self, photo: Photo) -> bytes | None:
        """ICC profile of the photograph; None: sRGB."""
        return self._whole(photo).info.get("icc_profile")

    def finished(self, data: bytes, how: Recorded, names: tuple[str, ...]) -> bytes:
        """A picture file for the user: with its provenance, and signed where that was asked for.

        Args:
            how: the command that makes the same. names: of the photographs in it.
        """
        marking = self.marking.with_command(how)
        return marking.sign(marking.mark(data, names))

    def frames(self, start: Photo, end: Photo, way: Interpolation) -> np.ndarray:
        """uint8 RGB [steps, R, R, 3]: the way from one photograph to another."""
        line = interpolate(start.inversion, end.inversion, way.steps, way.space)
        with self._turn:
            return self.model.generate(line)

    def learn(self, photo: Photo, data: bytes, pair: Pair) -> tuple[NamedDirection, dict[str, Any]]:
        """The direction from a photograph to its edited version, and what speaks for its space (paper section 4.4).

        Raises:
            InputError: A' cannot be read, or does not differ.
        """
        like = photo.inversion.items[0]
        aligner = self._aligner(photo.placing.face)
        side = self.model.spec.image_size
        if decode_image(data, "A'", self.limits).size == (side, side) != photo.size:
            aligner = Aligner(self.model.spec.template, "never")  # the square that the studio gave out, or its drawing
        after = read_photograph(data, "A'", self.model, aligner, self.limits, like=like)
        direction = difference(photo.inversion, self._encode(after.pixels))
        direction.info.update({"name": pair.name, "sources": [photo.name, "A'"]})
        about: dict[str, Any] = {"space": pair.space, "sentence": f"space: {pair.space}"}
        if pair.space == "auto":
            about = self._weighed(photo, after, direction)
        direction.info["space"] = about["space"]
        about["pictures"] = {space: self._tried(photo, direction, space) for space in ("padding", "latent")}
        return NamedDirection(pair.name, direction, "pair", str(about["sentence"])), about

    def mask(self, data: bytes) -> np.ndarray:
        """A painted mask picture, see `read_square_mask`."""
        return read_square_mask(data, self.limits)

    def forget(self, photo: Photo) -> None:
        """Drop what is kept of a photograph besides itself."""
        with self._turn:
            self._decoded.pop(photo.id, None)

    def _tried(self, photo: Photo, direction: Direction, space: Space) -> np.ndarray:
        return self._rendered(apply(photo.inversion, direction, space))

    def _rendered(self, inversion: Inversion) -> np.ndarray:
        image: np.ndarray = to_uint8(self._generate(inversion))[0]
        return image

    def _weighed(self, photo: Photo, after: Photograph, direction: Direction) -> dict[str, Any]:
        first, second = (to_float(pixels[None])[0] for pixels in (photo.pixels, after.pixels))
        with self._turn:
            if self._faces is None:
                self._faces = Faces.generated(self.model)
            encoded = self.model.encode(to_float(after.pixels[None]))
            evidence = choose_space(
                self.model, photo.inversion, encoded, first, second, direction=direction, faces=self._faces
            )
        return {**evidence.to_dict(), "sentence": evidence.sentence()}

    def _whole(self, photo: Photo) -> Image.Image:
        """The decoded photograph in its own colours; the last ones are kept."""
        with self._turn:
            if photo.id not in self._decoded:
                self._decoded[photo.id] = decode_image(photo.data, photo.name, self.limits)
                while len(self._decoded) > _DECODED:
                    self._decoded.popitem(last=False)
            self._decoded.move_to_end(photo.id)
            return self._decoded[photo.id]

    def _encode(self, pixels: np.ndarray) -> Inversion:
        with self._turn:
            return self.model.encode(to_float(pixels[None]))

    def _generate(self, inversion: Inversion) -> np.ndarray:
        with self._turn:
            return self.model.generate_float(inversion)

    def _aligner(self, face: int) -> Aligner:
        return Aligner(self.model.spec.template, face=face, detector=self._detector)


def _about_faces(photograph: Photograph, faces: int, *, chosen: bool) -> str | None:
    """What the user should know about the square: whose it is, or that nobody's face was found."""
    if faces > 1:
        return None if chosen else f"{faces} faces were found; choose which one to edit"
    return photograph.note
