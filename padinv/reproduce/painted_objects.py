"""Painted objects in front of aligned faces: hats, hands and microphones, as in the paper's figures.

`paint_object(face, name, seed)` returns the picture and the object's mask, so that a reconstruction can be judged
inside the object alone. The training photographs show few such things, so that these are a test of what an encoder can
carry beyond faces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

OBJECTS = ("hat", "hand", "microphone")

_FINE = 4  # Everything is drawn at this multiple and averaged down.
_Colour = tuple[int, int, int, int]
_Painter = Callable[[ImageDraw.ImageDraw, int, np.random.Generator, np.ndarray], None]


def paint_object(face: Image.Image, name: str, seed: int = 0) -> tuple[Image.Image, np.ndarray]:
    """Draw one of `OBJECTS` in front of a face that is aligned to the template 'faces'.

    Args:
        face: RGB, of any square size; it is left as it is.
        name: one of `OBJECTS`.
        seed: chooses colour and place within what the object allows.

    Returns:
        The picture, and the object's mask: float64 [S, S] in [0, 1].

    Raises:
        KeyError: for another name.
    """
    painter, side = _PAINTERS[name], face.width
    layer = Image.new("RGBA", (side * _FINE, side * _FINE))
    skin = np.median(np.asarray(face.convert("RGB"))[side // 2 : side * 5 // 8, side // 3 : side * 2 // 3], axis=(0, 1))
    painter(ImageDraw.Draw(layer), layer.width, np.random.default_rng(seed), skin)
    small = layer.filter(ImageFilter.GaussianBlur(_FINE / 2)).convert("RGBa").reduce(_FINE).convert("RGBA")
    picture = Image.alpha_composite(face.convert("RGBA"), small).convert("RGB")
    return picture, np.asarray(small.getchannel("A"), np.float64) / 255


def _shade(colour: np.ndarray, by: float) -> _Colour:
    red, green, blue = (int(value) for value in np.clip(colour * by, 0, 255))
    return red, green, blue, 255


def _hat(draw: ImageDraw.ImageDraw, s: int, rng: np.random.Generator, skin: np.ndarray) -> None:
    """Crown, ribbon and a brim that leaves the picture on both sides."""
    colour, ribbon = rng.uniform(40, 220, 3), rng.uniform(20, 235, 3)
    low, tilt = rng.uniform(0.13, 0.18), rng.uniform(-0.03, 0.03)
    draw.rectangle((0.10 * s, -s, 0.90 * s, low * s), _shade(colour, 0.9))
    draw.rectangle((0.10 * s, (low - 0.09) * s, 0.90 * s, (low - 0.02) * s), _shade(ribbon, 1.0))
    brim = [
        (-0.02, low + tilt),
        (0.5, low + 0.035),
        (1.02, low - tilt),
        (1.02, low - tilt - 0.04),
        (-0.02, low + tilt - 0.04),
    ]
    draw.polygon([(x * s, y * s) for x, y in brim], _shade(colour, 1.1))
    draw.line([(x * s, y * s) for x, y in brim[:3]], _shade(colour, 0.5), round(0.012 * s))


def _hand(draw: ImageDraw.ImageDraw, s: int, rng: np.random.Generator, skin: np.ndarray) -> None:
    """Four fingers from below against the cheek at one side, in the face's own skin colour."""
    mirror, lean = rng.random() < 0.5, rng.uniform(-0.03, 0.03)
    for k in range(4):
        root, tip = (0.02 + 0.085 * k, 1.03), (0.07 + 0.07 * k + lean, 0.60 + 0.03 * abs(k - 1.5))
        ends = [(1 - x if mirror else x, y) for x, y in (root, tip)]
        for wide, colour in ((0.088, _shade(skin, 0.55)), (0.072, _shade(skin, 1.02 - 0.03 * k))):
            draw.line([(x * s, y * s) for x, y in ends], colour, round(wide * s))
            x, y, r = ends[1][0] * s, ends[1][1] * s, wide * s / 2
            draw.ellipse((x - r, y - r, x + r, y + r), colour)
        x, y = ends[1][0] * s, (ends[1][1] - 0.006) * s
        draw.ellipse((x - 0.02 * s, y - 0.022 * s, x + 0.02 * s, y + 0.018 * s), _shade(skin, 1.2))


def _microphone(draw: ImageDraw.ImageDraw, s: int, rng: np.random.Generator, skin: np.ndarray) -> None:
    """A dark ball with a light grille below the mouth, on a handle that leaves the picture."""
    x, y, r = rng.uniform(0.36, 0.64), rng.uniform(0.84, 0.88), 0.095
    grey = rng.uniform(25, 70) * np.ones(3)
    draw.line([(x * s, y * s), ((x + rng.uniform(-0.1, 0.1)) * s, 1.1 * s)], _shade(grey, 0.7), round(0.085 * s))
    draw.ellipse(((x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s), _shade(grey, 1.0))
    for k in range(-3, 4):
        half = (r**2 - (0.026 * k) ** 2) ** 0.5
        draw.line(
            [((x - half) * s, (y + 0.026 * k) * s), ((x + half) * s, (y + 0.026 * k) * s)],
            _shade(grey, 2.6),
            round(0.006 * s),
        )
    draw.rectangle(((x - r) * s, (y + 0.07) * s, (x + r) * s, (y + 0.095) * s), (196, 196, 204, 255))


_PAINTERS: dict[str, _Painter] = {"hat": _hat, "hand": _hand, "microphone": _microphone}
