"""A picture of the padding space: how far each padding position of an image is from the generator's average image."""

from __future__ import annotations

import numpy as np
from PIL import Image

from padinv.runtime.editing.operations import average
from padinv.runtime.editing.region import ring_positions
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.reports.contact_sheet import contact_sheet

TILE = 192
# From nothing over orange to dark red, as RGB at 0, 1/3, 2/3 and 1.
_COLOURS = np.array([(250, 250, 248), (253, 190, 110), (224, 84, 44), (103, 12, 20)], np.float64)


def padding_distance(model: Model, inversion: Inversion) -> dict[str, np.ndarray]:
    """Root mean square, over channels, of what differs from the average image (zero rings, the learned constant).

    Args:
        inversion: one image.

    Returns:
        'const' -> [4, 4], 'pad_r' -> [4r+4] in a ring's order.
    """
    start = average(model.spec, model.constants(), model.generator_hash).arrays()
    return {
        name: np.sqrt(np.square(array[0] - start[name][0]).mean(axis=0))
        for name, array in inversion.without_spatial().arrays().items()
        if name != "wp"
    }


def padding_picture(model: Model, inversion: Inversion, title: str) -> np.ndarray:
    """The reconstruction, and beside it the constant and every ring as a heat map; each has a scale of its own.

    Args:
        inversion: one image.

    Returns:
        uint8 RGB [H, W, 3].
    """
    made = model.generate(inversion)[0]
    tiles, columns = [made], ["reconstruction"]
    for name, distance in padding_distance(model, inversion).items():
        most = float(distance.max())
        heat = _colour(distance / most if most > 0 else distance)
        tiles.append(_cells(heat) if name == "const" else _framed(heat, made))
        columns.append(f"constant 4 x 4, up to {most:.2g}" if name == "const" else f"ring {name[4:]}, up to {most:.2g}")
    return contact_sheet([("", tiles)], columns, title)


def _colour(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] of any shape -> uint8 RGB [..., 3]."""
    stops = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(values, stops, channel) for channel in _COLOURS.T], axis=-1).astype(np.uint8)


def _cells(heat: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(heat).resize((TILE, TILE), Image.Resampling.NEAREST))


def _framed(heat: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """A ring [4r+4, 3] around the picture that it belongs to, as uint8 [TILE, TILE, 3]."""
    r = len(heat) // 4 - 1
    cells = np.zeros((r + 2, r + 2, 3), np.uint8)
    rows, columns = ring_positions(r)
    cells[rows, columns] = heat
    framed = Image.fromarray(_cells(cells))
    # The picture covers the map inside the ring.
    edge = round(TILE / (r + 2))
    inner = Image.fromarray(np.ascontiguousarray(picture)).resize((TILE - 2 * edge,) * 2, Image.Resampling.BILINEAR)
    framed.paste(inner, (edge, edge))
    return np.asarray(framed)
