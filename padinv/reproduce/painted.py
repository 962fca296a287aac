"""Painted attributes on aligned faces: edits whose true result is known for every face.

`paint(face, attribute)` draws the same thing at the same place on any face that is aligned to the template 'faces', so
(A, paint(A)) is a pair that defines an edit, and paint(B) is the true picture of that edit on B.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from padinv.runtime.alignment.templates import FACES

SPATIAL = ("glasses", "bangs", "wide jaw", "narrow jaw")  # what the paper moves through padding
STYLE = ("lipstick", "brows")  # what it moves through latents
ATTRIBUTES = SPATIAL + STYLE
MORE = ("beard",)  # painted as well, for recipes/directions.py; no attribute of the paper's tables

_FINE = 4  # everything is drawn at this multiple and averaged down
(_RX, _RY), (_LX, _LY), _NOSE, (_MX, _MY), (_NX, _NY) = FACES


def paint(face: Image.Image, attribute: str) -> Image.Image:
    """Draw an attribute onto an aligned RGB face of any size; the face is left as it is."""
    if attribute.endswith("jaw"):
        return _jaw(face, 0.16 if attribute == "wide jaw" else -0.16)
    side = face.width
    layer = Image.new("RGBA", (side * _FINE, side * _FINE))
    painters = {"glasses": _glasses, "bangs": _bangs, "lipstick": _lipstick, "brows": _brows, "beard": _beard}
    painters[attribute](layer)
    if attribute in STYLE:  # make-up has no hard edge
        layer = layer.filter(ImageFilter.GaussianBlur(0.012 * layer.width))
    small = layer.convert("RGBa").reduce(_FINE).convert("RGBA")
    return Image.alpha_composite(face.convert("RGBA"), small).convert("RGB")


def _box(layer: Image.Image, x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
    s = layer.width
    return ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)


def _glasses(layer: Image.Image) -> None:
    draw, s = ImageDraw.Draw(layer), layer.width
    frame, width = (25, 22, 24, 255), round(0.026 * s)
    for x, y in ((_RX, _RY), (_LX, _LY)):
        draw.ellipse(_box(layer, x, y + 0.01, 0.135, 0.115), outline=frame, width=width)
    bridge = _RY - 0.005
    draw.line([(s * (_RX + 0.13), s * bridge), (s * (_LX - 0.13), s * bridge)], frame, width)
    for edge, start in ((0.0, _RX - 0.13), (1.0, _LX + 0.13)):
        draw.line([(s * edge, s * (_RY - 0.03)), (s * start, s * (_RY - 0.01))], frame, width)


def _bangs(layer: Image.Image) -> None:
    draw, s = ImageDraw.Draw(layer), layer.width
    rng = np.random.default_rng(7)
    for _ in range(420):
        x = rng.uniform(0.04, 0.96)
        reach = 0.215 - 0.10 * (2 * x - 1) ** 2 + rng.uniform(-0.02, 0.02)
        bend = rng.uniform(-0.03, 0.03)
        shade = int(rng.uniform(-16, 22))
        colour = (58 + shade, 38 + shade, 26 + shade, 255)
        points = [((x - 0.3 * bend) * s, -0.02 * s), (x * s, 0.5 * reach * s), ((x + bend) * s, reach * s)]
        draw.line(points, colour, max(1, round(0.012 * s)))


def _lipstick(layer: Image.Image) -> None:
    draw, s = ImageDraw.Draw(layer), layer.width
    colour = (176, 18, 62, 165)
    middle = (_MX + _NX) / 2
    upper = [
        (_MX, _MY), (middle - 0.09, _MY - 0.042), (middle - 0.03, _MY - 0.055), (middle, _MY - 0.045),
        (middle + 0.03, _MY - 0.055), (middle + 0.09, _MY - 0.042), (_NX, _NY),
    ]  # fmt: skip
    lower = [(middle + 0.1, _MY + 0.055), (middle, _MY + 0.075), (middle - 0.1, _MY + 0.055)]
    draw.polygon([(x * s, y * s) for x, y in upper + lower], colour)


def _brows(layer: Image.Image) -> None:
    draw, s = ImageDraw.Draw(layer), layer.width
    colour = (150, 74, 22, 200)
    for x, y in ((_RX, _RY), (_LX, _LY)):
        draw.arc(_box(layer, x, y + 0.03, 0.135, 0.14), 205, 335, colour, round(0.05 * s))


def _beard(layer: Image.Image) -> None:
    """Short hairs on cheeks, chin and upper lip; the lips stay free."""
    draw, s = ImageDraw.Draw(layer), layer.width
    rng = np.random.default_rng(11)
    middle, mouth = (_MX + _NX) / 2, (_MY + _NY) / 2
    for _ in range(2600):
        x, y = rng.uniform(0.16, 0.84), rng.uniform(0.56, 0.99)
        across, down = (x - middle) / 0.34, (y - 0.60) / 0.39
        on_face = across**2 + max(down, 0) ** 4 < 1 and y > 0.60 + 0.10 * (1 - across**2) * (abs(across) > 0.62)
        cheek = y < mouth + 0.05 and 0.33 < abs(across) < 0.72 and y < 0.58 + 0.16 * (1 - abs(across))
        lips = ((x - middle) / 0.17) ** 2 + ((y - mouth - 0.008) / 0.058) ** 2 < 1
        if not on_face or cheek or lips:
            continue
        shade = int(rng.uniform(-14, 20))
        length = rng.uniform(0.012, 0.028) * s
        bend = rng.uniform(-0.4, 0.4) + 0.5 * across
        colour = (52 + shade, 40 + shade, 32 + shade, 205)
        draw.line([(x * s, y * s), (x * s + bend * length, y * s + length)], colour, max(1, round(0.008 * s)))


def _jaw(face: Image.Image, amount: float) -> Image.Image:
    """Widen (amount above 0) or narrow the lower half of the face by a smooth warp that leaves the border alone."""
    side = face.width
    centre = (np.arange(side) + 0.5) / side
    u, v = np.meshgrid(centre, centre)
    low = np.clip((v - 0.42) / 0.3, 0, 1)
    low = low * low * (3 - 2 * low)
    span = np.abs(u - 0.5) / 0.5
    reach = np.clip(1 - span**4, 0, 1) * span  # none at the middle line, most at the cheeks, none at the border
    bottom = np.clip((1 - v) / 0.08, 0, 1)
    source = u - np.sign(u - 0.5) * amount * 0.5 * low * reach * bottom
    return Image.fromarray(_sampled_columns(np.asarray(face, np.float64), source * side - 0.5))


def _sampled_columns(pixels: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Rows re-sampled linearly at the column positions x [H, W]."""
    x = np.clip(x, 0, pixels.shape[1] - 1)
    left = np.minimum(np.floor(x).astype(int), pixels.shape[1] - 2)
    part = (x - left)[..., None]
    rows = np.arange(pixels.shape[0])[:, None]
    blended = pixels[rows, left] * (1 - part) + pixels[rows, left + 1] * part
    result: np.ndarray = np.rint(blended).astype(np.uint8)
    return result
