"""Video files, decoded by FFmpeg through PyAV: upright frames with exact times, and nothing but the file itself.

FFmpeg reads playlists too, and follows what they name, also on the network. So the container is recognised here, by the
file's first bytes, and FFmpeg is told which one to read from an open file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular
from padinv.runtime.video.clip import Frame, check_frame_count, check_frame_size
from padinv.runtime.video.colour import Colour, to_pixels, upright, work_format

MAX_VIDEO_BYTES = 256 << 30
_HEAD = 400
_SHORTEST = 0.9  # of the frames that the container promises; with fewer, its end is missing


def sniff_container(head: bytes) -> str | None:
    """FFmpeg's name of the container that a file's first bytes show; None for anything that is not a video."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:11] == b"AVI":
        return "avi"
    if head.startswith(b"OggS"):
        return "ogg"
    if head[:1] == b"G" and head[188:189] == b"G":
        return "mpegts"
    return "mpeg" if head.startswith(b"\x00\x00\x01\xba") else None


def open_container(path: Path) -> tuple[BinaryIO, Any]:
    """An open file and PyAV's container over it; the caller closes both.

    Raises:
        InputError: missing, not a video, or damaged. MissingPackageError: PyAV is not installed.
    """
    av = import_av()
    try:
        file: BinaryIO = open_regular(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; nothing was done",
            code="missing" if isinstance(error, FileNotFoundError) else "unreadable",
        ) from error
    try:
        kind = sniff_container(file.read(_HEAD))
        if kind is None:
            raise InputError(
                f"{path} is not a video in MP4, MOV, MKV, WebM, AVI, MPEG or Ogg, so nothing was done", code="damaged"
            )
        if os.fstat(file.fileno()).st_size > MAX_VIDEO_BYTES:
            raise InputError(f"{path} is larger than {MAX_VIDEO_BYTES >> 30} GiB, so it was not read", code="too-large")
        file.seek(0)
        return file, av.open(file, format=kind, metadata_errors="replace")
    except av.FFmpegError as error:
        file.close()
        raise _damaged(path, error) from error
    except BaseException:
        file.close()
        raise


def import_av() -> Any:
    """PyAV.

    Raises:
        MissingPackageError: not installed.
    """
    from padinv.runtime.errors import MissingPackageError

    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingPackageError("av", "video", "a video file") from error
    av.logging.set_level(None)  # FFmpeg's own lines would tear the progress bar; what matters arrives as an exception
    return av


class VideoFile:
    """A video file; see `Clip`. Frames are decoded in order, one at a time.

    Attributes:
        colour: how its pixels are stored. format: PyAV's name of the format that frames are given in.
        time_base: seconds for each unit of a time stamp. aspect: width of a pixel by its height, as stored.
        rotation: quarter turns against the clock that make its frames upright; they are given upright.

    Raises:
        InputError: missing, damaged, without a picture track, or too large.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        status = os.stat(path) if path.exists() else None
        self._identity: dict[str, Any] = {"path": os.path.abspath(path)}
        if status is not None:
            self._identity |= {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        self._reading: Iterator[Frame] | None = None
        self._next = 0
        self.count: int | None = None
        with _Decoder(path) as decoder:
            stream, first = decoder.stream, decoder.first
            self.rotation = round(first.rotation / 90) % 4  # quarter turns, anticlockwise
            w, h = first.width, first.height
            self.size = (h, w) if self.rotation % 2 else (w, h)
            self.colour = Colour.of(first)
            self.format = work_format(first.format.name, self.size, turned=self.rotation % 2 == 1)
            self.native_format = first.format.name
            self.rate = float(stream.average_rate or stream.guessed_rate or 25)
            self.promised = int(stream.frames)
            seconds = float(decoder.container.duration or 0) / 1e6
            self.expected = self.promised or max(1, round(seconds * self.rate))
            self.time_base, self.average_rate = stream.time_base, stream.average_rate
            self.aspect = Fraction(stream.sample_aspect_ratio or 1)
        check_frame_count(self.promised, path)

    def identity(self) -> dict[str, Any]:
        return dict(self._identity)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `Clip.frames`. Reading on where the last call stopped decodes nothing twice."""
        if self._reading is None or start < self._next:
            self.close()
            self._reading = self._decoded()
        while stop is None or self._next < stop:
            frame = next(self._reading, None)
            if frame is None:
                self.close()
                return
            self._next = frame.index + 1
            if frame.index >= start:
                yield frame

    def close(self) -> None:
        """Let go of the file; `frames` opens it again."""
        if self._reading is not None:
            self._reading.close()  # type: ignore[attr-defined]
        self._reading, self._next = None, 0

    def _decoded(self) -> Iterator[Frame]:
        with _Decoder(self.path) as decoder:
            last = -1.0
            index = -1
            for index, native in enumerate(decoder):
                check_frame_count(index + 1, self.path)
                turned = upright(native, self.rotation, self.format)
                if (turned.width, turned.height) != self.size:
                    raise InputError(
                        f"{self.path} changes its size at frame {index}, to {turned.width} x {turned.height} pixels, "
                        "so it was not finished; cut it there",
                        code="damaged",
                    )
                time = decoder.seconds(native)
                last = time if time is not None and time > last else last + 1 / self.rate if index else 0.0
                yield Frame(index, last, turned, partial(to_pixels, turned, self.colour))
            self._check_end(index + 1)

    def _check_end(self, count: int) -> None:
        if count < _SHORTEST * self.promised:
            raise InputError(
                f"{self.path} is damaged: it promises {self.promised:,} frames, and ends after {count:,}, so nothing "
                "was made of it",
                code="damaged",
            )
        self.count = count


class _Decoder:
    """One pass over the first picture track of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._av = import_av()
        self.file, self.container = open_container(path)
        try:
            tracks = [one for one in self.container.streams.video if not _is_cover(one)]
            if not tracks:
                raise InputError(f"{path} has no picture track, so nothing was done", code="damaged")
            self.stream = tracks[0]
            context = self.stream.codec_context
            if context is None:
                raise InputError(f"{path} has pictures in a format that FFmpeg cannot decode, so nothing was done")
            if context.width and context.height:  # 0 where only the first frame says it
                check_frame_size((context.width, context.height), path)
            self.stream.thread_type = "AUTO"
            self._decoding = self.container.decode(self.stream)
            first = self._following()
            if first is None:
                raise InputError(f"{path} has no frames, so nothing was done", code="damaged")
            check_frame_size((first.width, first.height), path)
            self.first = first
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> _Decoder:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):
            self.container.close()
        self.file.close()

    def __iter__(self) -> Iterator[Any]:
        yield self.first
        while (frame := self._following()) is not None:
            yield frame

    def _following(self) -> Any:
        try:
            return next(self._decoding, None)
        except (self._av.FFmpegError, ValueError) as error:
            raise _damaged(self.path, error) from error

    def seconds(self, native: Any) -> float | None:
        """Seconds of a frame after the first one."""
        if native.pts is None or self.first.pts is None:
            return None
        return float((native.pts - self.first.pts) * native.time_base)


def _is_cover(stream: Any) -> bool:
    """Whether a track is a still picture, such as the cover of an album."""
    return bool(int(getattr(stream, "disposition", 0)) & 0x400)  # AV_DISPOSITION_ATTACHED_PIC


def _damaged(path: Path, error: Exception) -> InputError:
    text = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return InputError(
        f"{path} is damaged and was not read to its end ({text}), so nothing was made of it", code="damaged"
    )
