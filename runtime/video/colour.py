"""Between a video's own pixels (YCbCr, of some range and matrix) and RGB, and frames that are stored on their side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Formats with 8 bits and whole planes, which are kept; the others become 4:2:0 with 8 bits.
KEPT_FORMATS = ("yuv420p", "yuv422p", "yuv444p")
_FULL_RANGE = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p"}
UNSPECIFIED, LIMITED, FULL = 2, 1, 2  # colorspace; range
_MATRICES = {1: "itu709", 4: "fcc", 5: "itu601", 6: "itu601", 7: "smpte240m"}
_HD_LINES = 720  # players take a video that does not say it for BT.709 from here on


@dataclass(frozen=True)
class Colour:
    """How a video stores its colours: the numbers of FFmpeg (and of ITU-T H.273).

    Attributes:
        range: 1 limited (16 to 235), 2 full (0 to 255).
        matrix, primaries, transfer: 2 where the file does not say it.
    """

    range: int
    matrix: int
    primaries: int
    transfer: int
    lines: int

    @classmethod
    def of(cls, native: Any) -> Colour:
        """Of a decoded frame."""
        full = native.format.name in _FULL_RANGE or int(native.color_range) == FULL
        primaries, transfer = int(native.color_primaries), int(native.color_trc)
        return cls(FULL if full else LIMITED, int(native.colorspace), primaries, transfer, native.height)

    @property
    def matrix_name(self) -> str:
        """PyAV's name of the matrix."""
        guess = "itu709" if self.lines >= _HD_LINES else "itu601"
        return _MATRICES.get(self.matrix, guess)

    def tag(self, target: Any) -> None:
        """Say the same of a frame or of an encoder."""
        target.color_range, target.colorspace = self.range, self.matrix
        target.color_primaries, target.color_trc = self.primaries, self.transfer


def work_format(name: str, size: tuple[int, int], *, turned: bool) -> str:
    """The format that frames are pasted into and encoded in.

    Args:
        name: of the decoded frames. size: (w, h); encoders halve no odd side.
        turned: frames lie on their side, so that 4:2:2 would become 4:4:0.
    """
    name = _FULL_RANGE.get(name, name)
    if size[0] % 2 or size[1] % 2:
        return "yuv444p"
    return name if name in KEPT_FORMATS and not (turned and name == "yuv422p") else "yuv420p"


def scaling() -> Any:
    """PyAV's way to convert: bicubic chroma, and rounding to the nearest value where the version offers that."""
    from av.video.reformatter import Interpolation

    flags: Any = Interpolation.BICUBIC
    for name in ("ACCURATE_RND", "FULL_CHR_H_INT", "FULL_CHR_H_INP"):
        if hasattr(Interpolation, name):
            flags |= getattr(Interpolation, name)
    return flags


def to_pixels(native: Any, colour: Colour) -> np.ndarray:
    """A frame in `work_format` -> uint8 RGB [H, W, 3]."""
    rgb = native.reformat(
        format="rgb24",
        src_colorspace=colour.matrix_name,
        src_color_range=colour.range,
        dst_color_range=FULL,
        interpolation=scaling(),
    )
    return np.asarray(rgb.to_ndarray(), np.uint8)


def from_pixels(pixels: np.ndarray, colour: Colour, format: str) -> Any:
    """uint8 RGB [H, W, 3] -> a frame of `format`."""
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    made = frame.reformat(
        format=format,
        dst_colorspace=colour.matrix_name,
        src_color_range=FULL,
        dst_color_range=colour.range,
        interpolation=scaling(),
    )
    colour.tag(made)
    return made


def planes(native: Any) -> list[np.ndarray]:
    """The planes of a frame in a kept format, uint8 [h, w] each, sharing its memory."""
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in native.planes
    ]


def keep_outside(made: Any, source: Any, box: tuple[int, int, int, int]) -> None:
    """Give `made`, in place, the exact values of `source` outside a box [left, top, right, bottom] of pixels."""
    for mine, theirs in zip(planes(made), planes(source), strict=True):
        x, y = source.width / mine.shape[1], source.height / mine.shape[0]
        left, top = int(box[0] // x), int(box[1] // y)
        right, bottom = int(-(-box[2] // x)), int(-(-box[3] // y))
        inside = mine[top:bottom, left:right].copy()
        mine[:] = theirs
        mine[top:bottom, left:right] = inside


def upright(native: Any, quarters: int, format: str) -> Any:
    """A frame turned by quarter turns against the clock, in `format`. Time stamps are kept."""
    colour = Colour.of(native)
    frame = native
    if _FULL_RANGE.get(native.format.name, native.format.name) != format or native.format.name in _FULL_RANGE:
        frame = native.reformat(
            format=format,
            src_colorspace=colour.matrix_name,
            dst_colorspace=colour.matrix_name,
            src_color_range=colour.range,
            dst_color_range=colour.range,
            interpolation=scaling(),
        )
    if quarters:
        import av

        turned = [np.ascontiguousarray(np.rot90(plane, quarters)) for plane in planes(frame)]
        h, w = turned[0].shape
        frame = av.VideoFrame(w, h, format)
        for plane, values in zip(planes(frame), turned, strict=True):
            plane[:] = values
    frame.pts, frame.time_base = native.pts, native.time_base
    colour.tag(frame)
    return frame
