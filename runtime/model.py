"""`Model`: a bundle with its sessions, from images to inversions and back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.runtime.backends import BACKENDS, Held, Session, get_backend, open_session
from padinv.runtime.backends.protocol import on_host
from padinv.runtime.backends.saved_defaults import read_saved
from padinv.runtime.bundle import Bundle, read_bundle
from padinv.runtime.errors import BundleError, MismatchError, UsageError
from padinv.runtime.graphs import graph_names
from padinv.runtime.images import average_pool, to_float, to_uint8
from padinv.runtime.inversion import Inversion, require_same_generator
from padinv.runtime.origin import Origin
from padinv.runtime.passes import checked_passes, encode_in_passes, trained_passes
from padinv.runtime.spatial import add_spatial, faded, with_colours
from padinv.runtime.spec import ModelSpec, ring_length

if TYPE_CHECKING:
    from padinv.runtime.alignment.aligner import Align, Aligner
    from padinv.runtime.images import Fit
    from padinv.runtime.images.inputs import Layout
    from padinv.runtime.refining import Refiner

DEFAULT_BATCH = 16

_log = logging.getLogger("padinv")


class Model:
    """A generator and the encoder that inverts it. Sessions open on first use and may be shared between threads.

    Attributes:
        bundle: where it was loaded from.
        spec: the generator's geometry.
        backend, threads, precision, device: as given to `load`, or as saved by `padinv bench --save`.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: str = "auto",
        threads: int | None = None,
        precision: str = "fp32",
        device: str | None = None,
    ) -> None:
        self.bundle = bundle
        self._notes: list[str] = []
        if backend == "auto" and threads is None and device is None:
            backend, threads, precision, device = self._saved(bundle, precision)
        precision = "fp32" if precision == "auto" else precision
        self.device = device
        self.backend = backend
        self.threads = threads
        self.precision = precision
        self._sessions: dict[str, Session] = {}
        self._constants: dict[str, np.ndarray] | None = None
        self._aligners: dict[tuple[str, str, int], Aligner] = {}
        self._lock = threading.Lock()

    def _saved(self, bundle: Bundle, precision: str) -> tuple[str, int | None, str, str | None]:
        """Backend, threads, precision and device as `padinv bench --save` kept them, where they answer the call."""
        saved = read_saved(bundle)
        if saved is None or precision not in ("auto", saved.precision):
            return "auto", None, precision, None
        if saved.backend not in BACKENDS[1:] or get_backend(saved.backend).problem() is not None:
            self._notes.append(f"{saved.backend}, which padinv bench saved for this model, is not available any more")
            return "auto", None, precision, None
        self._notes.append(f"using the flags that padinv bench saved for this model: {saved.flags}")
        return saved.backend, saved.threads, saved.precision, saved.device

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"Model({self.bundle.name!r}, {spec.resolution} x {spec.resolution}, {spec.num_layers} latent codes, "
            f"rings at {', '.join(map(str, spec.pad_resolutions))}, backend {self.backend}, {self.precision})"
        )

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        backend: str = "auto",
        threads: int | None = None,
        precision: str = "fp32",
        device: str | None = None,
    ) -> Model:
        """Read a bundle; see `padinv.runtime.backends.open_session` for the arguments.

        Args:
            path: folder of a bundle; None takes the built-in model.
            backend: with 'auto', and neither threads nor a device given, the flags that `padinv bench --save` kept for
                this machine and model are used, unless they are for another precision than the one asked for.
            precision: 'auto' is the saved one, or else 'fp32'.

        Raises:
            BundleError: `path` is not a usable bundle.
        """
        return cls(read_bundle(path), backend, threads, precision, device)

    @property
    def spec(self) -> ModelSpec:
        return self.bundle.spec

    @property
    def generator_hash(self) -> str:
        return self.bundle.generator_hash

    @property
    def passes(self) -> int:
        """Passes over an image that the encoder was trained for, and that are made unless fewer are asked for."""
        return trained_passes(self.bundle.encoder)

    @property
    def predicts_padding(self) -> bool:
        """Whether the encoder predicts padding; baselines such as pSp, e4e and ReStyle predict latent codes only."""
        return self.bundle.encoder.get("padding", True) is not False

    def require_padding(self, what: str) -> None:
        """Refuse an edit that moves padding with a model whose encoder predicts none; `what` is the edit.

        Raises:
            UsageError: the encoder predicts latent codes only.
        """
        if not self.predicts_padding:
            raise UsageError(
                f"{what} changes the padding, but the encoder of the model {self.bundle.name} predicts latent codes "
                "only (a baseline, such as pSp, e4e or ReStyle), so nothing was done; choose one that predicts padding"
            )

    @property
    def notes(self) -> list[str]:
        """Sentences of the opened sessions that the user should see, without repetition."""
        opened = (note for session in self._sessions.values() for note in session.notes)
        return list(dict.fromkeys([*self._notes, *opened]))

    def session(self, graph: str) -> Session:
        """The session of 'encoder', 'generator', 'mapping' or 'spatial', opened on first use.

        Raises:
            BundleError: the graph is missing, damaged, or has other inputs or outputs than the design says.
        """
        with self._lock:
            if graph not in self._sessions:
                session = self._open(graph)
                wanted = graph_names(self.spec, self.passes)[graph]
                for kind, names, found in zip(
                    ("inputs", "outputs"), wanted, (session.inputs, session.outputs), strict=True
                ):
                    if set(names) != set(found):
                        raise BundleError(
                            f"the {graph} of the bundle {self.bundle.folder} has the {kind} {', '.join(found)}, "
                            f"not {', '.join(names)}; export it again"
                        )
                self._sessions[graph] = session
                _log.info("the %s of %s runs on %s, %s", graph, self.bundle.name, session.backend, self.precision)
            return self._sessions[graph]

    def _open(self, graph: str) -> Session:
        return open_session(self.bundle, graph, self.backend, self.threads, self.precision, device=self.device)

    def constants(self) -> dict[str, np.ndarray]:
        """`w_avg` [w_dim] and `const` [C_4, 4, 4] of the generator."""
        with self._lock:
            if self._constants is None:
                self._constants = self.bundle.constants()
            return self._constants

    def invert(
        self,
        images: Any,
        batch_size: int = DEFAULT_BATCH,
        *,
        align: Align = "auto",
        fit: Fit = "crop",
        face: int = 1,
        landmarks: Mapping[str, Sequence[np.ndarray]] | Path | str | None = None,
        layout: Layout = "auto",
        value_range: tuple[float, float] = (0.0, 1.0),
        passes: int | None = None,
        refiner: Refiner | None = None,
    ) -> Inversion:
        """Invert images. Photographs are aligned by their face first, as `padinv invert` does.

        Example:
            inversion = padinv.load().invert(["a.jpg", "b.jpg"])
            inversion[0].paste_back().save("a-reconstructed.png")

        Args:
            images: a path, a Pillow image, a NumPy array or a torch tensor, or a sequence of these. Arrays and tensors
                are grey [H, W], one image [H, W, C] or [C, H, W], or a batch of either, with C = 1, 3 (RGB) or 4
                (RGBA; transparent parts become white), uint8 in 0 to 255, uint16 in 0 to 65535 or floating point in
                `value_range`. The EXIF rotation of files and Pillow images is applied.
            batch_size: images that go through the encoder at once.
            align: 'auto' aligns images that are not aligned yet and uses those without a face as they are (with a
                warning of the logger "padinv"); 'always' refuses those without a face; 'never' aligns none.
            fit: how an image that is not aligned becomes square: 'crop' its middle, or 'pad' it with white.
            face: which face, counted from 1, the largest.
            landmarks: instead of the detector, name -> faces, each [5, 2] in pixels, or a CSV file of them (see
                `padinv align --landmarks`). Images in memory are called "image 0", "image 1", ...
            layout: of arrays and tensors: 'HWC', 'CHW', or 'auto', which looks for the axis of length 1, 3 or 4.
            value_range: (darkest, brightest) value of floating-point images: (0, 1), or (-1, 1) for what
                `generate_float` gives.
            passes: passes of iterative encoding (`padinv train --passes`); None: as many as the encoder was trained
                for.
            refiner: improves the encoder's result by optimisation, such as `padinv.Refiner(30)`, which needs torch.

        Returns:
            an Inversion of N images that knows this model and its photographs.

        Raises:
            UsageError: something that is not an image, or an option out of range.
            InputError: an image that cannot be read, or without a face under 'always'.
        """
        from padinv.runtime.images.inputs import input_images

        checked_passes(passes, self.passes, self.bundle.name)  # before anything is read
        if refiner is not None:
            refiner.check(self)
        given = input_images(images, layout=layout, value_range=value_range)
        aligner = self._aligner(align, fit, face, landmarks)
        prepared = []
        for one in given:
            if one.path is not None:
                square, placement = aligner.prepare_file(one.path, self.spec.image_size)
            else:
                assert one.image is not None
                square, placement = aligner.prepare(one.image, self.spec.image_size, name=one.name)
            if placement.note:
                _log.warning("%s", placement.note)
            prepared.append(square)
        x = to_float(np.stack([square.pixels for square in prepared]))
        inversion = self.encode(x, batch_size, passes=passes)
        if refiner is not None:
            parts = (refiner.refine(self, inversion[rows], x[rows]) for rows in _batches(len(x), batch_size))
            inversion = Inversion.concat([part.inversion for part in parts])
        items = [{"source": one.name, **square.item()} for one, square in zip(given, prepared, strict=True)]
        origin = Origin(self, tuple(one.photograph for one in given))
        return Inversion.from_arrays(inversion.arrays(), self.generator_hash, items, origin)

    def _aligner(
        self, align: str, fit: str, face: int, landmarks: Mapping[str, Sequence[np.ndarray]] | Path | str | None
    ) -> Aligner:
        """An aligner for this model. Those without landmarks are kept, since each opens a detector of its own."""
        from padinv.runtime.alignment.aligner import Aligner
        from padinv.runtime.alignment.landmarks_csv import read_landmarks

        if landmarks is not None:
            given = read_landmarks(Path(landmarks)) if isinstance(landmarks, (str, Path)) else landmarks
            return Aligner(self.spec.template, align, landmarks=given, face=face, fit=fit, threads=self.threads)
        with self._lock:
            key = (align, fit, face)
            if key not in self._aligners:
                self._aligners[key] = Aligner(self.spec.template, align, face=face, fit=fit, threads=self.threads)
            return self._aligners[key]

    def encode(
        self, x: np.ndarray, batch_size: int = DEFAULT_BATCH, *, passes: int | None = None, spatial: bool = True
    ) -> Inversion:
        """float32 [N, 3, S, S] in [-1, 1], S = spec.image_size -> Inversion.

        Args:
            passes: see `invert`.
            spatial: predict the spatial code, too, where the model has one.

        Raises:
            MismatchError: another shape. BackendError: the encoder gave numbers that are not finite.
            UsageError: the encoder was not trained for so many passes.
        """
        self._check_images(x)
        found = self._encoded(x, batch_size, passes, spatial=spatial)
        return Inversion.concat([self._inversion(on_host(held), shown) for held, shown in found])

    def with_spatial(self, inversion: Inversion, x: np.ndarray, batch_size: int = DEFAULT_BATCH) -> Inversion:
        """Inversions with the spatial code of what they miss of their images; unchanged for a model without one.

        Args:
            inversion: N of this model, such as refined ones.
            x: float32 [N, 3, S, S] in [-1, 1], their images.
        """
        if not self.spec.spatial_resolutions:
            return inversion
        require_same_generator(self.generator_hash, inversion.generator_hash)
        plain, parts = inversion.without_spatial(), []
        for batch in _batches(len(x), batch_size):
            arrays = plain[batch].arrays()
            held, shown = add_spatial(arrays, x[batch], self.session("generator"), self.session("spatial"))
            parts.append(self._inversion(on_host(held), shown))
        return replace(plain, spatial=Inversion.concat(parts).spatial)

    def reconstruct(
        self, x: np.ndarray, batch_size: int = DEFAULT_BATCH, *, passes: int | None = None
    ) -> tuple[Inversion, np.ndarray]:
        """Encode images and generate them again; latents and rings do not leave the device on the way.

        Args:
            x: float32 [N, 3, S, S] in [-1, 1], S = spec.image_size.
            passes: see `invert`.

        Returns:
            the Inversion, and float32 [N, 3, R, R], nominally in [-1, 1], unclamped.

        Raises:
            as `encode`.
        """
        self._check_images(x)
        generator = self.session("generator")
        inversions, images = [], []
        for held, shown in self._encoded(x, batch_size, passes):
            inversions.append(self._inversion(on_host(held), shown))
            output = generator.run(held)["output"]
            images.append(self._checked("generator", "output", output, self._image_shape))
        return Inversion.concat(inversions), np.concatenate(images)

    def _encoded(
        self, x: np.ndarray, batch_size: int, passes: int | None, *, spatial: bool = True
    ) -> Iterator[tuple[Mapping[str, Held], np.ndarray | None]]:
        """What the encoder gives for each batch, on its device, as `add_spatial` does."""
        count = checked_passes(passes, self.passes, self.bundle.name)
        encoder = self.session("encoder")
        generator = self.session("generator") if count > 1 else None
        for batch in _batches(len(x), batch_size):
            held = encode_in_passes(encoder, generator, x[batch], count)
            if spatial and self.spec.spatial_resolutions:
                yield add_spatial(held, x[batch], self.session("generator"), self.session("spatial"))
            else:
                yield held, None

    def _check_images(self, x: np.ndarray) -> None:
        size = self.spec.image_size
        if x.ndim != 4 or x.shape[1:] != (3, size, size) or len(x) == 0:
            raise MismatchError(f"the encoder takes [N, 3, {size}, {size}], not {list(x.shape)}")

    def _inversion(self, outputs: dict[str, np.ndarray], shown: np.ndarray | None = None) -> Inversion:
        """What the encoder gave, its shapes checked; `shown` is the reconstruction without a spatial code."""
        shapes = {name: shape for name, shape in self.spec.latent_shapes.items() if name in outputs}
        found = {name: self._checked("encoder", name, outputs[name], shape) for name, shape in shapes.items()}
        if shown is not None:
            found |= {name: with_colours(found[name], shown) for name in self.spec.spatial_shapes}
        return Inversion.from_arrays(found, self.generator_hash)

    @property
    def _image_shape(self) -> tuple[int, int, int]:
        return (3, self.spec.resolution, self.spec.resolution)

    def _checked(self, graph: str, name: str, output: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """An output of a graph, once it has the shape that the manifest promises."""
        if output.ndim != len(shape) + 1 or output.shape[1:] != shape:
            raise BundleError(
                f"the {graph} of {self.bundle.folder} gave {name} {list(output.shape)}, "
                f"not [N, {', '.join(map(str, shape))}]; export it again"
            )
        return output

    def generate_float(self, inversion: Inversion, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Inversion -> float32 [N, 3, R, R], nominally in [-1, 1], unclamped.

        Raises:
            MismatchError: the inversion belongs to another generator; the sentence names both.
        """
        require_same_generator(self.generator_hash, inversion.generator_hash)
        arrays = inversion.arrays()
        shapes = {name: array.shape[1:] for name, array in arrays.items()}
        if inversion.spatial and not self.spec.spatial_resolutions:
            raise MismatchError(
                f"this inversion holds a spatial code, and the model {self.bundle.name} takes none; invert the picture "
                "again with this model"
            )
        if not self.spec.accepts(shapes):
            raise MismatchError(
                f"this inversion has the shapes {shapes}, and the model takes {self.spec.latent_shapes}"
            )
        session = self.session("generator")
        if len(inversion) == 0:
            return np.zeros((0, 3, self.spec.resolution, self.spec.resolution), np.float32)
        parts = []
        plain = inversion.without_spatial().arrays()
        for batch in _batches(len(inversion), batch_size):
            feeds = {name: array[batch] for name, array in plain.items()}
            output = session.run(feeds)["output"]
            if inversion.spatial:
                codes = {f"spatial_{r}": faded(code[batch], output) for r, code in inversion.spatial.items()}
                output = session.run({**feeds, **codes})["output"]
            parts.append(self._checked("generator", "output", output, self._image_shape))
        return np.concatenate(parts)

    def generate_for_encoder(self, inversion: Inversion, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Inversion -> float32 [N, 3, S, S] clamped to [-1, 1], S = spec.image_size: what `encode` takes.

        Raises as `generate_float`.
        """
        result: np.ndarray = np.clip(
            average_pool(self.generate_float(inversion, batch_size), self.spec.image_size), -1, 1
        )
        return result

    def generate(self, inversion: Inversion, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Inversion -> uint8 RGB [N, R, R, 3]. Raises as `generate_float`."""
        return to_uint8(self.generate_float(inversion, batch_size))

    def sample(self, seeds: int | Sequence[int], truncation: float = 1.0) -> Inversion:
        """Random latents of the generator, with its own constant and zero padding (the plain StyleGAN2 path).

        Args:
            seeds: seed s stands for z = numpy.random.RandomState(s).randn(1, z_dim).
            truncation: psi of the truncation trick: w_avg + psi (w - w_avg); 1 is off, 0 the average image.

        Returns:
            an Inversion of len(seeds) images.
        """
        chosen = [seeds] if isinstance(seeds, int) else [int(s) for s in seeds]
        if not chosen or min(chosen) < 0 or max(chosen) >= 1 << 32:
            raise UsageError("give at least one seed; seeds are whole numbers from 0 to 4294967295")
        # RandomState on purpose: its stream is frozen, and it is what StyleGAN2's published seeds mean.
        z = np.concatenate([np.random.RandomState(s).randn(1, self.spec.z_dim) for s in chosen])
        output = self.session("mapping").run({"z": z.astype(np.float32)})["w"]
        w = self._checked("mapping", "w", output, (self.spec.w_dim,))  # [N, w_dim]
        constants = self.constants()
        w = constants["w_avg"] + np.float32(truncation) * (w - constants["w_avg"])
        n = len(chosen)
        rings = {
            r: np.zeros((n, self.spec.channels_at(r), ring_length(r)), np.float32) for r in self.spec.pad_resolutions
        }
        return Inversion(
            np.repeat(w[:, None], self.spec.num_layers, axis=1),
            np.repeat(constants["const"][None], n, axis=0),
            rings,
            self.generator_hash,
            [{"source": f"seed {s}", "seed": s, "truncation": float(truncation)} for s in chosen],
            Origin(self, (None,) * n),
        )


def _batches(count: int, size: int) -> Iterable[slice]:
    if size < 1:
        raise UsageError(f"the batch size must be at least 1, not {size}")
    return (slice(i, min(i + size, count)) for i in range(0, count, size))
