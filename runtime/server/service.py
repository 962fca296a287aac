"""What the service does with a model, free of HTTP: read, queue, edit, and pack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np

from padinv.runtime.alignment.aligner import Aligner
from padinv.runtime.alignment.face_detector import FaceDetector
from padinv.runtime.backends.threads import default_threads
from padinv.runtime.editing import Direction, apply, blend, parse_layers
from padinv.runtime.editing.region import MASK_SIDE, Region, named_mask, region_of_mask
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.images import average_pool, metrics, to_float, to_uint8
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.server import schemas
from padinv.runtime.server.batch_queue import BatchQueue, Work
from padinv.runtime.server.limits import Limits
from padinv.runtime.server.uploads import (
    Photograph,
    decode_image,
    encode_png,
    paste,
    read_photograph,
    read_square_mask,
    unpack_direction,
    unpack_inversion,
    unpack_saved_edit,
)

T = TypeVar("T")


class Service:
    """Inverts, edits, blends and generates for many clients at once.

    Pictures are decoded, aligned and packed in a few threads; the model runs in one, on as many requests at once as
    wait for it (see `BatchQueue`).

    Args:
        directions: name -> direction, of the model's own gallery.
        on_run: called with the kind and the size of every run of the model.
        marking: how pictures are marked; None: with the request.
    """

    def __init__(
        self,
        model: Model,
        *,
        limits: Limits | None = None,
        directions: Mapping[str, Direction] | None = None,
        on_run: Callable[[str, int], None] | None = None,
        marking: Marking | None = None,
    ) -> None:
        self.model = model
        self.marking = marking or Marking.of(model.bundle, "padinv serve")
        self.limits = limits or Limits()
        self.directions = dict(directions or {})
        self._detector = None if model.spec.template is None else FaceDetector.load()
        self._pool = ThreadPoolExecutor(default_threads(), thread_name_prefix="padinv-pictures")
        work: dict[str, Work] = {"encode": self._encode, "generate": self._generate, "reconstruct": self._reconstruct}
        self.queue = BatchQueue(work, self.limits.batch, on_run=on_run)

    def warm_up(self) -> None:
        """Open the sessions and run each once, so that the first client does not wait for it and a broken model is
        found at the start.

        Raises:
            BundleError, BackendError: the model cannot run.
        """
        side = self.model.spec.image_size
        inversion = self.model.encode(np.zeros((1, 3, side, side), np.float32))
        self.model.generate(inversion)

    async def close(self) -> None:
        """Finish what was accepted and stop."""
        await asyncio.get_running_loop().run_in_executor(None, self.queue.close)
        self._pool.shutdown(wait=True)

    async def invert(self, request: schemas.InvertRequest) -> schemas.Answer:
        """A photograph -> its inversion and reconstruction, with figures."""
        photograph = await self._read(request.image, "image", request)
        # One run for both: an inversion that nobody edited needs no second look at its colours.
        inversion, image = await asyncio.wrap_future(self.queue.submit("reconstruct", photograph.pixels))
        inversion.items = [dict(photograph.item)]
        figures = await self._aside(reconstruction_metrics, photograph.pixels, image, self.model.spec.image_size)
        return await self._answer(inversion, image, request, photograph, figures)

    async def edit(self, request: schemas.EditRequest) -> schemas.Answer:
        """A photograph or an inversion, with directions added."""
        unknown = [name for name in request.directions if name not in self.directions]
        if unknown:
            known = ", ".join(sorted(self.directions)) or "none"
            raise UsageError(f"this model has no direction {unknown[0][:60]!r}; it has: {known}")
        named = bool(request.directions) or request.direction is not None
        if named == (request.saved_edit is not None):
            raise UsageError("give directions (a name and a strength), a direction file, or a saved edit alone")
        photograph, start = await self._start(request.image, request.inversion, "image", request)
        edited = await self._aside(self._edited, start, request)
        return await self._answer(edited, await self._generated(edited), request, photograph)

    async def blend(self, request: schemas.BlendRequest) -> schemas.Answer:
        """The latents of A with the padding of B."""
        (first, a), (second, b) = await asyncio.gather(
            self._start(request.a, request.a_inversion, "a", request),
            self._start(request.b, request.b_inversion, "b", request),
        )
        layers = None if request.layers is None else parse_layers(request.layers, self.model.spec.num_layers)
        made = blend(a, b, request.strength, layers)
        region = await self._aside(self._region, request)
        if region is not None:
            made = region.limit(a, made)
        answer = await self._answer(made, await self._generated(made), request, second)
        if first is not None and first.note:
            answer.notes.insert(0, first.note)
        return answer

    async def generate(self, request: schemas.GenerateRequest) -> schemas.Pictures:
        """Pictures of seeds, or of an inversion file's images."""
        if bool(request.seeds) == (request.inversion is not None):
            raise UsageError("give either seeds or an inversion")
        if request.inversion is not None:
            inversion = await self._aside(unpack_inversion, request.inversion, self.model)
        else:
            self._check_count(len(request.seeds))
            inversion = await self._aside(self.model.sample, request.seeds, request.truncation)
        self._check_count(len(inversion))
        images = await asyncio.gather(*(self._generated(inversion[i]) for i in range(len(inversion))))
        mark = partial(self._png, request=request, generated=inversion.is_generated)
        packed = [await self._aside(mark, to_uint8(image[None])[0]) for image in images]
        return schemas.Pictures(images=packed, inversion=await self._aside(inversion.to_bytes, "float32"))

    async def _start(
        self, image: bytes | None, inversion: bytes | None, name: str, options: schemas.ReadingOptions
    ) -> tuple[Photograph | None, Inversion]:
        """What an edit starts from: the photograph where one was sent, and the inversion."""
        if (image is None) == (inversion is None):
            raise UsageError(f"give either {name} (a picture) or its inversion, and not both")
        if image is not None:
            photograph = await self._read(image, name, options)
            return photograph, await self._encoded(photograph)
        found = await self._aside(unpack_inversion, inversion, self.model, name)
        if len(found) != 1:
            raise UsageError(f"{name} holds {len(found)} images, and one is edited at a time")
        return None, found

    async def _read(self, data: bytes, name: str, options: schemas.ReadingOptions) -> Photograph:
        aligner = Aligner(
            self.model.spec.template, options.align, face=options.face, fit=options.fit, detector=self._detector
        )
        return await self._aside(read_photograph, data, name, self.model, aligner, self.limits)

    async def _encoded(self, photograph: Photograph) -> Inversion:
        inversion: Inversion = await asyncio.wrap_future(self.queue.submit("encode", photograph.pixels))
        inversion.items = [dict(photograph.item)]
        return inversion

    async def _generated(self, inversion: Inversion) -> np.ndarray:
        """float32 [3, R, R], unclamped."""
        image: np.ndarray = await asyncio.wrap_future(self.queue.submit("generate", inversion))
        return image

    async def _answer(
        self,
        inversion: Inversion,
        image: np.ndarray,
        request: Any,
        photograph: Photograph | None,
        figures: dict[str, float] | None = None,
    ) -> schemas.Answer:
        if request.paste_back and photograph is None:
            raise UsageError("paste_back needs the photograph; send it instead of its inversion")
        pack = partial(self._packed, inversion, image, request, photograph if request.paste_back else None)
        answer: schemas.Answer = await self._aside(pack)
        answer.metrics = figures
        if photograph is not None:
            answer.faces = photograph.faces
            answer.notes = [photograph.note] if photograph.note else []
        return answer

    def _png(self, pixels: np.ndarray, *, request: Any, generated: bool = False, profile: bytes | None = None) -> bytes:
        """A PNG file that says which request made it."""
        marking = self.marking.with_command(recorded(request))
        return marking.sign(marking.mark(encode_png(pixels, profile), generated=generated), generated=generated)

    def _packed(self, inversion: Inversion, image: np.ndarray, request: Any, into: Photograph | None) -> schemas.Answer:
        pixels = to_uint8(image[None])[0]
        photo = None
        if into is not None:
            whole = decode_image(into.data, into.name, self.limits)
            pasted = paste((whole, into.name), pixels, into.item, request.feather)
            photo = self._png(pasted, request=request, profile=whole.info.get("icc_profile"))
        image_file = self._png(pixels, request=request, generated=inversion.is_generated)
        return schemas.Answer(image=image_file, inversion=inversion.to_bytes(request.dtype), photo=photo)

    def _region(self, request: schemas.BlendRequest) -> Region | None:
        """Where padding is taken from B; None: everywhere."""
        if request.region is None and request.mask is None and request.resolutions is None:
            return None
        if request.region is not None and request.mask is not None:
            raise UsageError("give either a region's name or a mask, and not both")
        if request.mask is not None:
            mask = read_square_mask(request.mask, self.limits)
        elif request.region is not None:
            mask = named_mask(request.region)
        else:
            mask = np.ones((MASK_SIDE, MASK_SIDE), np.float32)
        return region_of_mask(mask, self.model.spec, request.resolutions)

    def _edited(self, inversion: Inversion, request: schemas.EditRequest) -> Inversion:
        if request.saved_edit is not None:
            edit = unpack_saved_edit(request.saved_edit, self.model)
            return edit.apply(inversion, self.model.spec)
        for name, strength in request.directions.items():
            direction = self.directions[name]
            inversion = apply(inversion, direction, direction.space or "both", strength)  # type: ignore[arg-type]
        if request.direction is not None:
            direction = unpack_direction(request.direction, self.model)
            space = direction.space if request.space == "auto" else request.space
            if space is None:
                raise UsageError("the direction file records no space, so choose one: padding, latent or both")
            inversion = apply(inversion, direction, space, request.strength)  # type: ignore[arg-type]
        return inversion

    def _check_count(self, count: int) -> None:
        if count > self.limits.images:
            raise UsageError(f"one request may generate {self.limits.images} pictures, not {count}")

    def _encode(self, batch: Sequence[np.ndarray]) -> list[Inversion]:
        whole = self.model.encode(to_float(np.stack(batch)), len(batch))
        return [whole[i] for i in range(len(batch))]

    def _reconstruct(self, batch: Sequence[np.ndarray]) -> list[tuple[Inversion, np.ndarray]]:
        whole, images = self.model.reconstruct(to_float(np.stack(batch)), len(batch))
        return [(whole[i], images[i]) for i in range(len(batch))]

    def _generate(self, batch: Sequence[Inversion]) -> list[np.ndarray]:
        return list(self.model.generate_float(Inversion.concat(batch), len(batch)))

    async def _aside(self, function: Callable[..., T], *args: Any) -> T:
        """Run something slow outside the event loop."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *args))
        except RuntimeError as error:
            if "shutdown" in str(error):
                raise InputError("the service is stopping, so nothing was done; ask again when it is back") from error
            raise


def recorded(request: schemas.Strict) -> str:
    """A request as its pictures record it: what it asked for, without the files that came with it."""
    fields = {
        name: value for name, value in request.model_dump(exclude_defaults=True).items() if not isinstance(value, bytes)
    }
    verb = type(request).__name__.removesuffix("Request").lower()
    return f"padinv serve: POST /v1/{verb} {json.dumps(fields, sort_keys=True)}"


def reconstruction_metrics(pixels: np.ndarray, image: np.ndarray, side: int) -> dict[str, float]:
    """MSE, PSNR and SSIM of one reconstruction, as `padinv invert` records them: on floats, before rounding.

    Args:
        pixels: uint8 RGB [S, S, 3], the encoder's input.
        image: float32 [3, R, R], what the generator made of its codes.
        side: S.

    Returns:
        those that there are: no PSNR of equal images, and no SSIM below 11 pixels.
    """
    values = metrics.measured(to_float(pixels[None]), average_pool(image[None], side))
    return {name: value for name, (value,) in values.items() if value is not None}
