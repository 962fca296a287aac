"""A clip with a known movement: a public-domain portrait that moves, turns and grows, with light noise and sound."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.alignment.crop import mirrored_region, sampled
from padinv.runtime.alignment.similarity import inverted

RATE = 25
SAMPLE_RATE = 48_000


def portrait(name: str = "collins") -> Image.Image:
    """Eileen Collins ('collins', of skimage) or Grace Hopper ('hopper', of matplotlib), in the public domain."""
    if name == "collins":
        from skimage import data

        return Image.fromarray(data.astronaut())
    from matplotlib.cbook import get_sample_data

    return Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")


def movement(index: int, count: int, size: tuple[int, int], centre: tuple[float, float]) -> np.ndarray:
    """The map [2, 3] from the portrait's pixels to those of frame `index` of `count`.

    The face swings around the middle of the frame by a tenth of its width, turns by 6 degrees either way, and grows to
    1.4 times its size.
    """
    t = index / max(count - 1, 1)
    zoom = (0.9 + 0.36 * t) * size[1] / 400
    angle = np.deg2rad(6) * np.sin(2 * np.pi * 1.3 * t)
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    matrix = np.array([[c, -s], [s, c]])
    place = np.array(size) * [0.5 + 0.1 * np.sin(2 * np.pi * t), 0.48 + 0.05 * np.cos(2 * np.pi * 1.7 * t)]
    return np.concatenate([matrix, (place - matrix @ np.array(centre))[:, None]], axis=1)


def frames(
    name: str, count: int, size: tuple[int, int] = (480, 360), *, noise: float = 1.5
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(uint8 RGB [H, W, 3], the map from the portrait's pixels to the frame's) of each frame.

    Args:
        noise: standard deviation in 8-bit steps, new in every frame, as a camera adds it.
    """
    image = portrait(name)
    centre = {"collins": (222.0, 120.0), "hopper": (258.0, 190.0)}[name]
    rng = np.random.default_rng(0)
    margin = 600
    w, h = image.size
    framed = mirrored_region(image, (-margin, -margin, w + margin, h + margin))
    for index in range(count):
        forward = movement(index, count, size, centre)
        backward = inverted(forward)
        backward[:, 2] += margin
        pixels = sampled(framed, backward, size) + rng.normal(0, noise, (size[1], size[0], 3))
        yield np.clip(np.rint(pixels), 0, 255).astype(np.uint8), forward


def write_clip(
    path: Path, count: int, name: str = "collins", size: tuple[int, int] = (480, 360), *, noise: float = 1.5
) -> list[np.ndarray]:
    """Write the clip as H.264 (VP9 in .webm) with a tone as AAC (Opus); the maps from the portrait to each frame."""
    import av

    webm = path.suffix == ".webm"
    transforms = []
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as out:
        video = out.add_stream("libvpx-vp9" if webm else "libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.options = {"crf": "15", "preset": "veryfast"} if not webm else {"crf": "15", "b": "0", "cpu-used": "8"}
        sound = out.add_stream("libopus" if webm else "aac", rate=SAMPLE_RATE)
        sound.layout = "mono"
        for index, (pixels, forward) in enumerate(frames(name, count, size, noise=noise)):
            transforms.append(forward)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE * count // RATE) / SAMPLE_RATE)
        for start in range(0, len(tone), 960):
            part = av.AudioFrame.from_ndarray(tone[None, start : start + 960].astype(np.float32), "fltp", "mono")
            part.sample_rate, part.pts, part.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            out.mux(sound.encode(part))
        out.mux(sound.encode())
    return transforms
