"""The final file: pasted frames encoded once, in order, with the source's times, colours and sound.

The same frames always give the same bytes: the number of encoding threads is fixed, and the containers write no random
numbers and no dates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.batch.engine import Task
from padinv.runtime.batch.ownership import seal_file
from padinv.runtime.errors import OutputError
from padinv.runtime.files import atomic_path
from padinv.runtime.provenance.record import Provenance
from padinv.runtime.video.clip import Frame
from padinv.runtime.video.colour import from_pixels, keep_outside
from padinv.runtime.video.video_file import VideoFile, import_av, open_container

# Suffix of the source -> suffix of the result; MKV holds any sound that another container came with.
CONTAINERS = {".mp4": ".mp4", ".m4v": ".mp4", ".mov": ".mov", ".mkv": ".mkv", ".webm": ".webm"}
OTHER_CONTAINER = ".mkv"
_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# Encoder -> its options, at a quality where the loss is hard to see. The first one that FFmpeg has is taken.
_H264 = {"libx264": {"crf": "17", "preset": "medium"}, "mpeg4": {"qscale": "2"}}
_VP9 = {"libvpx-vp9": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}}
_THREADS = 4
# With AVX-512 the x264 of PyAV 18 gives other bytes each time for the same frames. Every such processor has AVX2, with
# which it gives the same ones.
_REPEATABLE = {"x264-params": "asm=avx2"}
_AHEAD = 0.5  # seconds of sound that may be written ahead of the picture

Box = tuple[int, int, int, int]


def result_suffix(path: Path) -> str:
    """Suffix of the container that the result of a video file is written in."""
    return CONTAINERS.get(path.suffix.lower(), OTHER_CONTAINER)


def write_video(
    clip: VideoFile, frames: Iterable[tuple[Frame, np.ndarray | None, Box | None]], target: Path, task: Task
) -> list[str]:
    """Encode frames into a file, atomically, with the sound of the clip.

    Args:
        frames: every frame of the clip in order; with uint8 RGB pixels [H, W, 3] that differ from it inside a box
            [left, top, right, bottom], or without where the source is shown as it is.
        task: whose origin and provenance the file carries.

    Returns:
        sentences about what could not be kept.

    Raises:
        OutputError: not writable. InputError: the source cannot be read.
    """
    av = import_av()
    with atomic_path(target) as temporary:
        try:
            notes = _write(av, clip, frames, temporary, target, task)
        except av.FFmpegError as error:
            text = getattr(error, "strerror", None) or str(error)
            raise OutputError(f"cannot write {target}: {text}; nothing was written") from error
        seal_file(temporary)
    return notes


def _write(av: Any, clip: VideoFile, frames: Iterable[Any], temporary: Path, target: Path, task: Task) -> list[str]:
    notes = _kept_format_note(clip)
    options = {"fflags": "+bitexact"}
    with av.open(str(temporary), "w", format=_FORMATS[target.suffix], container_options=options) as out:
        out.metadata["comment"] = task.origin.text()
        if task.marking is not None and task.marking.enabled:
            out.metadata["description"] = description(task.marking.provenance(task.inputs))
        video = _video_stream(av, out, clip, target.suffix)
        sound = _Sound(clip, out, notes, target.suffix)
        try:
            for frame, pixels, box in frames:
                sound.write_until(frame.time)
                for packet in video.encode(_native(clip, frame, pixels, box)):
                    out.mux(packet)
            for packet in video.encode():
                out.mux(packet)
            sound.write_until(None)
        finally:
            sound.close()
    return notes


def description(provenance: Provenance) -> str:
    """What a video file says about itself, in its metadata tag `description`."""
    return (
        f"{provenance.command}; made with padinv {provenance.version}, model {provenance.model} "
        f"{provenance.model_hash[:12]}; digital source type {provenance.source_type}"
    )


def _kept_format_note(clip: VideoFile) -> list[str]:
    same = clip.native_format.replace("yuvj", "yuv") == clip.format
    return [] if same else [f"{clip.path} has pixels of the kind {clip.native_format}, and the result {clip.format}"]


def _video_stream(av: Any, out: Any, clip: VideoFile, suffix: str) -> Any:
    choices = _VP9 if suffix == ".webm" else _H264
    name = next((name for name in choices if name in av.codecs_available), None)
    if name is None:
        raise OutputError(f"this installation of PyAV has none of the encoders {', '.join(choices)}; install av again")
    stream = out.add_stream(name, rate=clip.average_rate or Fraction(clip.rate).limit_denominator(1001))
    stream.width, stream.height = clip.size
    stream.pix_fmt = clip.format
    stream.options = {**choices[name], **(_REPEATABLE if name == "libx264" and _has_avx512() else {})}
    context = stream.codec_context
    context.time_base = stream.time_base = clip.time_base
    context.thread_count = _THREADS
    aspect = 1 / clip.aspect if clip.rotation % 2 else clip.aspect
    if aspect != 1:
        context.sample_aspect_ratio = aspect
    clip.colour.tag(context)
    return stream


def _has_avx512() -> bool:
    """Whether the processor has AVX-512, as NumPy sees it."""
    core = getattr(np, "_core", None) or np.core  # the name until NumPy 2
    return bool(core._multiarray_umath.__cpu_features__.get("AVX512F", False))


def _native(clip: VideoFile, frame: Frame, pixels: np.ndarray | None, box: Box | None) -> Any:
    """What is encoded: the decoded frame itself, or pasted pixels with the decoded ones around them."""
    source = frame.native
    made = source
    if pixels is not None and box is not None:
        made = from_pixels(pixels, clip.colour, clip.format)
        keep_outside(made, source, box)
    made.time_base = clip.time_base
    made.pts = source.pts if source.pts is not None else round(frame.time / clip.time_base)
    made.pict_type = 0  # the encoder chooses; a decoded frame says what it was
    return made


class _Sound:
    """Copies the packets of the sound tracks, in step with the picture."""

    def __init__(self, clip: VideoFile, out: Any, notes: list[str], suffix: str) -> None:
        self._out = out
        self._file, self._container = open_container(clip.path)
        self._start = None
        self._streams: dict[int, Any] = {}
        try:
            for stream in self._container.streams.audio:
                self._add(stream, clip, notes, suffix)
            first = self._container.streams.video[0].start_time
            self._start = float((first or 0) * self._container.streams.video[0].time_base)
            self._packets: Iterator[Any] = iter(())
            if self._streams:
                self._packets = self._container.demux(
                    [s for s in self._container.streams.audio if s.index in self._streams]
                )
        except BaseException:
            self.close()
            raise
        self._held: Any = None

    def _add(self, stream: Any, clip: VideoFile, notes: list[str], suffix: str) -> None:
        known = stream.codec_context is not None
        codec = stream.codec_context.codec.canonical_name if known else "of an unknown kind"
        if known and codec in self._out.supported_codecs:
            self._streams[stream.index] = self._out.add_stream_from_template(stream)
        else:
            notes.append(f"{clip.path} has sound ({codec}) that {suffix} cannot hold, so it was left out")

    def write_until(self, seconds: float | None) -> None:
        """Copy the packets up to half a second beyond a time of the picture; None: all that are left."""
        while True:
            packet = self._held if self._held is not None else next(self._packets, None)
            self._held = None
            if packet is None:
                return
            if packet.dts is None:  # the marker of the end
                continue
            if seconds is not None and float(packet.dts * packet.time_base) - (self._start or 0) > seconds + _AHEAD:
                self._held = packet
                return
            packet.stream = self._streams[packet.stream.index]
            self._out.mux(packet)

    def close(self) -> None:
        self._container.close()
        self._file.close()
