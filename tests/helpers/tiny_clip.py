"""Small clips, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

SIZE = (48, 32)
TICKS = 600  # time stamps per second


def picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth picture that drifts from frame to frame, uint8 RGB [H, W, 3]."""
    coarse = np.random.default_rng(5).integers(30, 226, (6, 6, 3), dtype=np.uint8)
    w, h = size
    large = Image.fromarray(coarse).resize((2 * w, 2 * h), Image.Resampling.BICUBIC)
    return np.asarray(large.crop((index, index // 2, index + w, index // 2 + h)), np.uint8)


def write_clip(
    path: Path,
    count: int = 12,
    *,
    stamps: Sequence[int] | None = None,
    sound: bool = True,
    full_range: bool = False,
    size: tuple[int, int] = SIZE,
) -> Path:
    """A clip with a tone. `stamps` are the frames' times in 1/600 s; 25 per second if left out."""
    stamps = [24 * i for i in range(count)] if stamps is None else stamps
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as out:
        video = out.add_stream("libvpx-vp9" if path.suffix == ".webm" else "libx264", rate=25)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.options = {"crf": "4", "preset": "ultrafast"}
        video.codec_context.time_base = video.time_base = Fraction(1, TICKS)
        video.codec_context.color_range = 2 if full_range else 1
        tone = out.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48_000, layout="mono")
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_color_range=2 if full_range else 1)
            frame.pts, frame.time_base = stamp, Fraction(1, TICKS)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        samples = 0.2 * np.sin(np.arange(48_000 * (stamps[-1] + 24) // TICKS if sound else 960) / 20)
        for start in range(0, len(samples), 960):
            part = av.AudioFrame.from_ndarray(samples[None, start : start + 960].astype(np.float32), "fltp", "mono")
            part.sample_rate, part.pts, part.time_base = 48_000, start, Fraction(1, 48_000)
            out.mux(tone.encode(part))
        out.mux(tone.encode())
    return path


def read_clip(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Seconds and uint8 RGB pixels of the frames, as a player shows them without turning."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [float(frame.time) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def sound_packets(path: Path) -> list[tuple[float, bytes]]:
    """Time and bytes of each packet of sound."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.dts is not None]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]
