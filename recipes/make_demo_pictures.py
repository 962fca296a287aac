"""Make the pictures of runtime/demo/: two public-domain portraits and synthetic faces, half of them painted over.

    python recipes/make_demo_pictures.py [--model BUNDLE] [--out runtime/demo] [--truncation 0.7]

Needs matplotlib and scikit-image for the portraits (they carry them as sample data). The synthetic faces are samples of
the bundle's generator at the seeds below, kept for this; what is painted over them is drawn here. The same bundle and
seeds give the same pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from padinv.runtime.alignment.crop import crop_square
from padinv.runtime.alignment.similarity import similarity
from padinv.runtime.alignment.templates import FACES
from padinv.runtime.demo_pictures import INDEX
from padinv.runtime.files import atomic_path, write_json
from padinv.runtime.model import Model

PORTRAIT_SIDE = 128
PLAIN_SEEDS = tuple(range(7001, 7015))
PAINTED_SEEDS = tuple(range(7101, 7115))
FINE = 8  # things are drawn at this multiple of the picture's side and averaged down, as a camera would

# Landmarks in pixels (right eye, left eye, nose, mouth corners), found once with the YuNet detector.
PORTRAITS: dict[str, dict[str, Any]] = {
    "grace-hopper": {
        "landmarks": ((224.3, 197.3), (306.8, 195.6), (265.4, 238.9), (229.8, 274.0), (304.4, 272.3)),
        "source": "grace_hopper.jpg in matplotlib's sample data: Commodore Grace M. Hopper, US Navy, 1984",
        "licence": "public domain (work of the United States government)",
    },
    "eileen-collins": {
        "landmarks": ((203.4, 103.6), (247.5, 104.4), (224.1, 127.7), (204.0, 143.1), (242.9, 143.7)),
        "source": "skimage.data.astronaut() of scikit-image: Eileen Collins, NASA, 1999",
        "licence": "public domain (work of the United States government)",
    },
}

RIGHT_EYE, LEFT_EYE = FACES[:2]


def load_portraits() -> dict[str, Image.Image]:
    """The two photographs as their packages carry them."""
    import matplotlib.cbook
    import skimage.data

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB")
    return {"grace-hopper": hopper, "eileen-collins": Image.fromarray(skimage.data.astronaut())}


def aligning(landmarks: Sequence[Sequence[float]]) -> np.ndarray:
    """The transform [2, 3] from a photograph's pixels to fractions of its aligned square."""
    return similarity(np.asarray(landmarks), np.asarray(FACES))


class Canvas:
    """A transparent layer over a picture, in the template's coordinates (fractions of the side), drawn finely."""

    def __init__(self, picture: Image.Image, rng: np.random.Generator) -> None:
        self.picture = picture
        self.rng = rng
        self.side = picture.width * FINE
        self.layer = Image.new("RGBA", (self.side, self.side), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.layer)

    def scaled(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x * self.side, y * self.side) for x, y in points]

    def width(self, fraction: float) -> int:
        return max(1, round(fraction * self.side))

    def colour_at(self, x: float, y: float) -> tuple[int, int, int]:
        """Mean colour of the picture around a point."""
        pixels = np.asarray(self.picture)
        r = max(1, self.picture.width // 16)
        cx, cy = round(x * self.picture.width), round(y * self.picture.height)
        patch = pixels[max(0, cy - r) : cy + r + 1, max(0, cx - r) : cx + r + 1]
        red, green, blue = (int(v) for v in patch.reshape(-1, 3).mean(axis=0))
        return red, green, blue

    def composite(self, shadow: float, shift: tuple[float, float]) -> Image.Image:
        """The picture with the layer on it; the layer throws a soft shadow of the given strength."""
        alpha = self.layer.getchannel("A")
        cast = Image.new("L", alpha.size, 0)
        cast.paste(alpha, (self.width(shift[0]), self.width(shift[1])))
        cast = cast.filter(ImageFilter.GaussianBlur(self.side * 0.02)).point(lambda v: round(v * shadow))
        fine = self.picture.resize(alpha.size, Image.Resampling.BICUBIC)
        fine = Image.composite(Image.new("RGB", alpha.size, (20, 14, 12)), fine, cast)
        fine.paste(self.layer, (0, 0), self.layer)
        small = fine.reduce(FINE)
        touched = Image.eval(brighter(alpha, cast).reduce(FINE), lambda v: 255 if v else 0)
        return Image.composite(small, self.picture, touched)  # every other pixel stays as the generator made it


def brighter(a: Image.Image, b: Image.Image) -> Image.Image:
    """The brighter of two masks, pixel by pixel."""
    return Image.fromarray(np.maximum(np.asarray(a), np.asarray(b)))


def shade(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int, int]:
    red, green, blue = (min(255, max(0, round(c * factor))) for c in colour)
    return red, green, blue, 255


def paint_hat_brim(canvas: Canvas) -> Image.Image:
    """The brim of a hat seen from the front: a curved band across the forehead, darker underneath."""
    colour = ((46, 52, 70), (96, 66, 44), (40, 60, 48), (120, 30, 36))[canvas.rng.integers(4)]
    depth = 0.13 + 0.04 * canvas.rng.random()
    tilt = 0.05 * (canvas.rng.random() - 0.5)
    xs = np.linspace(-0.1, 1.1, 60)
    lower = depth + tilt * (xs - 0.5) - 0.16 * (xs - 0.5) ** 2
    crown = canvas.scaled((-0.1, -0.1), *[(x, y - 0.055) for x, y in zip(xs, lower, strict=True)], (1.1, -0.1))
    canvas.draw.polygon(crown, fill=shade(colour, 1.15))
    brim = [(x, y - 0.075) for x, y in zip(xs, lower, strict=True)] + [
        (x, y) for x, y in zip(xs[::-1], lower[::-1], strict=True)
    ]
    canvas.draw.polygon(canvas.scaled(*brim), fill=shade(colour, 0.8))
    edge = canvas.scaled(*zip(xs, lower - 0.006, strict=True))
    canvas.draw.line(edge, fill=shade(colour, 1.5), width=canvas.width(0.008), joint="curve")
    return canvas.composite(0.55, (0.0, 0.05))


def paint_hand(canvas: Canvas) -> Image.Image:
    """A hand laid on a cheek: palm from below, four fingers upwards, in the face's own colour."""
    skin = canvas.colour_at(0.5, 0.58)
    mirror = canvas.rng.random() < 0.5
    fingers = ((0.03, 0.50, 0.085), (0.10, 0.44, 0.09), (0.185, 0.46, 0.088), (0.265, 0.53, 0.08))

    def place(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return canvas.scaled(*[(1 - x, y) if mirror else (x, y) for x, y in points])

    def capsule(a: tuple[float, float], b: tuple[float, float], width: float, fill: tuple[int, int, int, int]) -> None:
        (ax, ay), (bx, by) = place(a, b)
        r = width * canvas.side / 2
        canvas.draw.line([(ax, ay), (bx, by)], fill=fill, width=round(2 * r))
        for x, y in ((ax, ay), (bx, by)):
            canvas.draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)

    capsule((0.10, 1.02), (0.16, 0.86), 0.34, shade(skin, 0.95))
    for x, top, width in fingers:
        lean = 0.10 + (x - 0.15) * 0.2
        capsule((x + 0.02, 0.86), (x + lean, top), width + 0.014, shade(skin, 0.62))
        capsule((x + 0.02, 0.86), (x + lean, top), width, shade(skin, 1.02))
        capsule((x + 0.014, 0.84), (x + lean - 0.012, top + 0.01), width * 0.45, shade(skin, 1.1))
        tip = (x + lean, top - width * 0.18)
        capsule(tip, (tip[0] + 0.004, tip[1] + 0.014), width * 0.45, shade(skin, 1.22))
    canvas.layer = canvas.layer.filter(ImageFilter.GaussianBlur(canvas.side * 0.004))
    return canvas.composite(0.45, (0.02 if not mirror else -0.02, 0.025))


def paint_microphone(canvas: Canvas) -> Image.Image:
    """A hand-held microphone in front of the chin: a wire-mesh ball and a handle that leaves the picture."""
    x, y = 0.5 + 0.22 * (canvas.rng.random() - 0.5), 0.83 + 0.03 * canvas.rng.random()
    lean = 0.3 * (canvas.rng.random() - 0.5)
    r = 0.115
    foot = (x + lean * 0.6, 1.15)
    canvas.draw.line(canvas.scaled((x, y), foot), fill=(24, 24, 27, 255), width=canvas.width(0.13))
    canvas.draw.line(
        canvas.scaled((x - 0.03, y), (foot[0] - 0.03, foot[1])), fill=(70, 70, 76, 255), width=canvas.width(0.025)
    )
    (cx, cy), radius = canvas.scaled((x, y))[0], r * canvas.side
    steps = 24
    for i in range(steps):  # a ball lit from the upper left
        f = 1 - i / steps
        grey = round(60 + 110 * (i / steps) ** 1.4)
        ox, oy = cx - radius * 0.35 * (1 - f), cy - radius * 0.35 * (1 - f)
        canvas.draw.ellipse(
            [ox - radius * f, oy - radius * f, ox + radius * f, oy + radius * f], fill=(grey, grey, grey + 4, 255)
        )
    mesh = Image.new("L", canvas.layer.size, 0)
    lines = ImageDraw.Draw(mesh)
    for offset in np.linspace(-2, 2, 25):
        for slope in (1, -1):
            a = (cx - 2 * radius, cy + offset * radius - slope * 2 * radius)
            b = (cx + 2 * radius, cy + offset * radius + slope * 2 * radius)
            lines.line([a, b], fill=110, width=canvas.width(0.006))
    ball = Image.new("L", canvas.layer.size, 0)
    ImageDraw.Draw(ball).ellipse([cx - radius, cy - radius, cx + radius, cy + radius], fill=255)
    dark = Image.new("RGBA", canvas.layer.size, (15, 15, 18, 255))
    canvas.layer.paste(dark, (0, 0), Image.composite(mesh, Image.new("L", mesh.size, 0), ball))
    band = canvas.scaled((x - r * 0.8, y + r * 0.62), (x + r * 0.8, y + r * 0.72))
    ImageDraw.Draw(canvas.layer).rectangle([*band[0], *band[1]], fill=(150, 150, 156, 255))
    return canvas.composite(0.4, (0.02, 0.03))


def paint_glasses(canvas: Canvas) -> Image.Image:
    """Spectacles: two rims, a bridge, arms to the picture's edge, a slight tint and a glint."""
    frame = ((22, 20, 22), (70, 40, 24), (30, 36, 66), (120, 96, 40))[canvas.rng.integers(4)]
    round_ones = canvas.rng.random() < 0.5
    dark = canvas.rng.random() < 0.35
    w, h = (0.135, 0.125) if round_ones else (0.15, 0.105)
    stroke = canvas.width(0.028)
    for ex, ey in (RIGHT_EYE, LEFT_EYE):
        box = [v for point in canvas.scaled((ex - w, ey - h + 0.015), (ex + w, ey + h + 0.015)) for v in point]
        tint = (28, 30, 36, 215) if dark else (225, 235, 245, 26)
        if round_ones:
            canvas.draw.ellipse(box, fill=tint, outline=(*frame, 255), width=stroke)
        else:
            canvas.draw.rounded_rectangle(
                box, radius=canvas.width(0.045), fill=tint, outline=(*frame, 255), width=stroke
            )
        glint = canvas.scaled((ex - 0.06, ey + 0.045), (ex + 0.005, ey - 0.05))
        shine = Image.new("RGBA", canvas.layer.size, (0, 0, 0, 0))
        ImageDraw.Draw(shine).line(glint, fill=(255, 255, 255, 95), width=canvas.width(0.025))
        canvas.layer.alpha_composite(shine.filter(ImageFilter.GaussianBlur(canvas.side * 0.004)))
    y = RIGHT_EYE[1]
    bridge = canvas.scaled((RIGHT_EYE[0] + w - 0.012, y - 0.005), (0.5, y - 0.03), (LEFT_EYE[0] - w + 0.012, y - 0.005))
    canvas.draw = ImageDraw.Draw(canvas.layer)
    canvas.draw.line(bridge, fill=(*frame, 255), width=stroke, joint="curve")
    for inner, outer in ((RIGHT_EYE[0] - w + 0.01, 0.0), (LEFT_EYE[0] + w - 0.01, 1.0)):
        canvas.draw.line(canvas.scaled((inner, y - 0.02), (outer, y - 0.035)), fill=(*frame, 255), width=stroke)
    return canvas.composite(0.3, (0.0, 0.02))


def paint_caption(canvas: Canvas) -> Image.Image:
    """A television caption: a translucent bar with a line of text along the bottom."""
    text = ("LIVE 20:15", "NEWS AT TEN", "WEATHER", "INTERVIEW")[canvas.rng.integers(4)]
    colour = ((16, 40, 110), (150, 20, 26), (20, 20, 24))[canvas.rng.integers(3)]
    top = 0.82
    box = [v for point in canvas.scaled((0, top), (1, 0.97)) for v in point]
    canvas.draw.rectangle(box, fill=(*colour, 225))
    canvas.draw.rectangle([box[0], box[1], box[2], box[1] + canvas.width(0.015)], fill=(240, 240, 240, 235))
    font = ImageFont.load_default(size=canvas.width(0.115))
    canvas.draw.text(
        canvas.scaled((0.5, (top + 0.985) / 2))[0], text, font=font, fill=(250, 250, 250, 255), anchor="mm"
    )
    return canvas.composite(0.0, (0.0, 0.0))


PAINTS: dict[str, Callable[[Canvas], Image.Image]] = {
    "hat-brim": paint_hat_brim,
    "hand": paint_hand,
    "microphone": paint_microphone,
    "glasses": paint_glasses,
    "caption": paint_caption,
}


def paint(picture: Image.Image, what: str, seed: int) -> Image.Image:
    """An aligned face with something painted over it; the same seed paints the same thing."""
    return PAINTS[what](Canvas(picture, np.random.default_rng(seed)))


def save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="model bundle; the built-in model if left out")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "runtime" / "demo")
    parser.add_argument("--truncation", type=float, default=0.7)
    arguments = parser.parse_args()
    model = Model.load(arguments.model)
    index: list[dict[str, object]] = []
    for name, photograph in load_portraits().items():
        facts = PORTRAITS[name]
        square = crop_square(photograph, aligning(facts["landmarks"]), PORTRAIT_SIDE)
        assert square is not None  # both faces lie inside their photographs
        save(Image.fromarray(square), arguments.out / f"{name}.png")
        index.append({"file": f"{name}.png", "kind": "photograph", **{k: facts[k] for k in ("source", "licence")}})
    kinds = list(PAINTS)
    wanted = [(seed, None) for seed in PLAIN_SEEDS]
    wanted += [(seed, kinds[i % len(kinds)]) for i, seed in enumerate(PAINTED_SEEDS)]
    pixels = model.generate(model.sample([seed for seed, _ in wanted], arguments.truncation))
    for number, ((seed, what), array) in enumerate(zip(wanted, pixels, strict=True), start=1):
        picture = Image.fromarray(array)
        name = f"synthetic-{number:02d}-{what or 'plain'}.png"
        save(paint(picture, what, seed) if what else picture, arguments.out / name)
        index.append(
            {
                "file": name,
                "kind": "synthetic",
                "source": "sample of the built-in generator: no such person exists",
                "licence": "CC0",
                "seed": seed,
                "truncation": arguments.truncation,
                "generator_hash": model.generator_hash,
                "painted": what,
            }
        )
    write_json(arguments.out / INDEX, {"pictures": index})
    print(f"{len(index)} pictures in {arguments.out}")


if __name__ == "__main__":
    main()
