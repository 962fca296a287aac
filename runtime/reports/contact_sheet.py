"""Contact sheets: results of a run on one picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from padinv.runtime.errors import UsageError
from padinv.runtime.files import write_bytes
from padinv.runtime.images.png_metadata import png_bytes, png_note
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.text import printable

MAX_ROWS = 120  # results on one sheet; more are in their own files
MAX_TILE = 192
MIN_TILE = 96
_PAPER, _INK, _SOFT = (250, 250, 248), (28, 28, 26), (110, 110, 104)
_GAP, _MARGIN = 4, 20


def contact_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str], title: str) -> np.ndarray:
    """Lay results out, one group of pictures a result, as many groups beside each other as makes a handy page.

    Args:
        rows: (caption, uint8 RGB pictures [H, W, 3]); every row has one picture a column.
        columns: what the pictures of a row are, shown once above each stack of groups.
        title: a line on top.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        UsageError: no rows, or a row of another length.
    """
    if not rows or any(len(pictures) != len(columns) for _, pictures in rows):
        raise UsageError(f"a contact sheet needs rows of {len(columns)} pictures")
    more = len(rows) - MAX_ROWS
    rows = rows[:MAX_ROWS]
    tallest = max(max(picture.shape[:2]) for _, pictures in rows for picture in pictures)
    tile = min(MAX_TILE, max(MIN_TILE, tallest))
    text = ImageFont.load_default(13)
    small = ImageFont.load_default(12)
    group = len(columns) * (tile + _GAP) - _GAP
    height = tile + 24
    stacks = max(1, min(len(rows), round(math.sqrt(len(rows) * height * 1.5 / (group + 24)))))
    lines = math.ceil(len(rows) / stacks)
    head = 58 if any(columns) else 40
    width = 2 * _MARGIN + stacks * group + (stacks - 1) * 24
    foot = 22 if more > 0 else 0
    sheet = Image.new("RGB", (width, 2 * _MARGIN + head + lines * height + foot), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), _fitted(title, text, width - 2 * _MARGIN), _INK, text)
    for i, (caption, pictures) in enumerate(rows):
        left = _MARGIN + (i % stacks) * (group + 24)
        top = _MARGIN + head + (i // stacks) * height
        for k, picture in enumerate(pictures):
            at = left + k * (tile + _GAP)
            if i < stacks:
                draw.text((at, top - 20), _fitted(columns[k], small, tile), _SOFT, small)
            sheet.paste(_tile(picture, tile), (at, top))
        draw.text((left, top + tile + 3), _fitted(caption, small, group), _INK, small)
    if more > 0:
        draw.text((_MARGIN, sheet.height - _MARGIN - 8), f"and {more} more beside this file", _SOFT, small)
    return np.asarray(sheet)


def write_sheet(path: Path, pixels: np.ndarray, overwrite: bool = False, marking: Marking | None = None) -> bool:
    """Write a contact sheet unless a picture that is not padinv's stands there; whether it was written.

    Args:
        pixels: uint8 RGB [H, W, 3].
        marking: of the results that it shows; None: it shows none.

    Raises:
        OutputError: not writable.
    """
    if not overwrite and os.path.lexists(path) and (png_note(path) or {}).get("sheet") is not True:
        return False
    data = png_bytes(pixels, {"sheet": True})
    write_bytes(path, data if marking is None else marking.sign(marking.mark(data)))
    return True


def _tile(picture: np.ndarray, side: int) -> Image.Image:
    """A picture fitted into a square; small ones are enlarged, so that faces of 64 px can be seen."""
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    fitted = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
    result = Image.new("RGB", (side, side), _PAPER)
    result.paste(fitted, ((side - size[0]) // 2, (side - size[1]) // 2))
    return result


def _fitted(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: float) -> str:
    """Text cut in its middle until it is no wider than `width`; what cannot be shown becomes ?."""
    clean = printable(text)[:400]
    try:
        font.getlength(clean)
    except UnicodeEncodeError:  # Pillow without FreeType has a Latin font only
        clean = clean.encode("latin-1", "replace").decode("latin-1")
    if font.getlength(clean) <= width:
        return clean
    keep = len(clean)
    while keep > 4:
        keep -= 1
        short = clean[: keep // 2] + "…" + clean[-(keep - keep // 2) :]
        if not _has_ellipsis(font):
            short = short.replace("…", "...")
        if font.getlength(short) <= width:
            return short
    return clean[:3]


def _has_ellipsis(font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> bool:
    return isinstance(font, ImageFont.FreeTypeFont)
