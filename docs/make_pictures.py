"""Make docs/pictures/strip.webp and tiles.webp from the two public-domain portraits.

    python docs/make_pictures.py [--wplus BUNDLE]

BUNDLE is a model of the same generator without padding (recipes/faces128.sh leaves it in RUNS/wplus-model); it adds a
column. Everything else comes from the built-in model and from the sample data of matplotlib and scikit-image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.cbook
import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont, ImageOps

import padinv

PICTURES = Path(__file__).parent / "pictures"
SIDE, GAP, LABEL = 232, 10, 30


def portraits() -> tuple[Image.Image, Image.Image]:
    """Grace Hopper and Eileen Collins, as their packages carry them."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB")
    return hopper, Image.fromarray(skimage.data.astronaut())


def square(image: Image.Image) -> Image.Image:
    return ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.BICUBIC)


def head(photograph: Image.Image) -> Image.Image:
    """The square around the head: the two portraits differ in size."""
    box = (105, 40, 425, 360) if photograph.height == 600 else (100, 0, 350, 250)
    return photograph.crop(box)


def sheet(rows: list[list[tuple[Image.Image, str]]], path: Path) -> None:
    """Rows of squares, each with its words below."""
    columns = max(map(len, rows))
    font = ImageFont.load_default(15)
    canvas = Image.new("RGB", (columns * (SIDE + GAP) + GAP, len(rows) * (SIDE + LABEL + GAP) + GAP), (250, 250, 248))
    draw = ImageDraw.Draw(canvas)
    for r, row in enumerate(rows):
        for c, (image, words) in enumerate(row):
            x, y = GAP + c * (SIDE + GAP), GAP + r * (SIDE + LABEL + GAP)
            canvas.paste(square(image), (x, y))
            draw.text((x + SIDE / 2, y + SIDE + 7), words, fill=(40, 40, 40), font=font, anchor="ma")
    canvas.save(path, quality=86, method=6)


def first(images: list[Image.Image]) -> Image.Image:
    return images[0]


def strip(model: padinv.Model, wplus: padinv.Model | None) -> None:
    """Photograph, latents and padding, the spatial code besides, edited, pasted back."""
    rows = []
    for photograph, direction in zip(portraits(), ("smile=2", "age=1.5"), strict=True):
        inversion = model.invert(photograph)
        edited = padinv.edit(model, inversion, direction)
        codes = [] if wplus is None else [(first(wplus.invert(photograph).images()), "latent codes only")]
        rows.append(
            [
                (head(photograph), "photograph"),
                *codes,
                (first(inversion.without_spatial().images()), "latents and padding"),
                (first(inversion.images()), "with the spatial code"),
                (first(edited.images()), f"edited: {direction}"),
                (head(edited.paste_back()), "pasted back"),
            ]
        )
    sheet(rows, PICTURES / "strip.webp")


def painted(face: np.ndarray) -> np.ndarray:
    """The aligned face [S, S, 3] with round glasses painted at the template's eyes."""
    scale = 4
    image = Image.fromarray(face).resize((face.shape[1] * scale, face.shape[0] * scale), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    size = image.width
    radius, width = 0.105 * size, max(2, round(0.02 * size))
    eyes = [(0.3015 * size, 0.2962 * size), (0.6985 * size, 0.2962 * size)]
    for x, y in eyes:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(30, 30, 60), width=width)
    draw.line((eyes[0][0] + radius, eyes[0][1], eyes[1][0] - radius, eyes[1][1]), fill=(30, 30, 60), width=width)
    return np.asarray(image.resize((face.shape[1], face.shape[0]), Image.Resampling.LANCZOS))


def tiles(model: padinv.Model, direction: str = "age=1.5") -> None:
    """What the verbs make of the two portraits."""
    hopper, collins = portraits()
    a, b = model.invert([hopper, collins])
    sample = model.sample([7005], truncation=0.7)
    plain = model.generate(sample)[0]
    before, after = model.invert([plain, painted(plain)], align="never")
    carried = padinv.apply(b, padinv.difference(before, after), "padding")
    middle = padinv.interpolate(a, b, 3)
    sheet(
        [
            [
                (head(a.paste_back()), "invert"),
                (head(padinv.blend(a, b).paste_back()), "blend"),
                (head(padinv.edit(model, b, direction).paste_back()), f"edit {direction}"),
                (middle.images()[1], "interpolate"),
                (head(carried.paste_back()), "custom-edit"),
            ]
        ],
        PICTURES / "tiles.webp",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wplus", type=Path)
    arguments = parser.parse_args()
    model = padinv.load()
    strip(model, None if arguments.wplus is None else padinv.load(arguments.wplus))
    tiles(model)


if __name__ == "__main__":
    main()
