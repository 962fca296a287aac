"""Self-contained HTML pages: one file with its style, script and pictures inside, safe to open anywhere."""

from __future__ import annotations

import base64
import html
import io
import os
from functools import cache
from pathlib import Path

import numpy as np

from padinv.runtime.files import open_regular, write_text
from padinv.runtime.images import array_to_image
from padinv.runtime.text import printable

_FOLDER = Path(__file__).resolve().parent / "assets"
_MARK = '<meta name="generator" content="padinv">'
_LOSSLESS_SIDE = 128  # pictures up to this side are embedded as PNG; larger ones as JPEG of quality 92


def escape(text: object) -> str:
    """Text for HTML, attributes included. Bytes of a file name that are no UTF-8, and control characters, show as ?."""
    return html.escape(printable(text), quote=True)


def data_uri(pixels: np.ndarray) -> str:
    """uint8 RGB [H, W, 3] -> a data: URI to put into `src`."""
    buffer = io.BytesIO()
    image = array_to_image(pixels)
    if max(image.size) <= _LOSSLESS_SIDE:
        image.save(buffer, "PNG", compress_level=6)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=92, subsampling=0)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def page(title: str, body: str, script: str = "", style: str = "") -> str:
    """A whole HTML document.

    Args:
        title: plain text. body: HTML, already escaped.
        script: name of a file in `assets/` to inline. style: CSS added to the common style sheet.
    """
    css, js = _asset("page.css"), _asset(script) if script else ""
    # The policy lets nothing in from outside and nothing out: file names and metadata come from strangers.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{_MARK}\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}{style}</style>\n</head>\n<body>\n{body}\n"
        f"<script>\n{js}</script>\n</body>\n</html>\n"
    )


@cache
def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def write_page(path: Path, text: str, overwrite: bool = False) -> bool:
    """Write a page unless a file that is not padinv's stands there; whether it was written.

    Raises:
        OutputError: not writable.
    """
    if not overwrite and os.path.lexists(path) and not _is_own_page(path):
        return False
    write_text(path, text)
    return True


def _is_own_page(path: Path) -> bool:
    """Whether a page of padinv's stands there; what cannot be read (a folder, a pipe, a private file) is not one."""
    try:
        with open_regular(path) as file:
            return _MARK.encode() in file.read(4096)
    except OSError:
        return False
