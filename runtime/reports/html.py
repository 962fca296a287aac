"""Self-contained HTML pages: one file with its style, script and pictures inside, safe to open anywhere.

The markup is in `assets/*.html` (Jinja2, which escapes every value). Jinja2 is imported when a page is written.
"""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.runtime.files import atomic_path, open_regular
from padinv.runtime.images import array_to_image
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_FOLDER = Path(__file__).resolve().parent / "assets"
_MARK = '<meta name="generator" content="padinv">'
LEFT_ALONE = "exists and is not padinv's, so it was left alone; --overwrite replaces it"
LOSSLESS_SIDE = 128  # pictures up to this side are embedded as PNG; larger ones as JPEG


def escape(text: object) -> str:
    """Text for HTML, attributes included. Bytes of a file name that are no UTF-8, and control characters, show as ?."""
    return html.escape(printable(text), quote=True)


def data_uri(pixels: np.ndarray, *, lossless: bool | None = None) -> str:
    """uint8 RGB [H, W, 3] -> a data: URI to put into `src`; without `lossless`, only small pictures are PNG."""
    buffer = io.BytesIO()
    image = array_to_image(pixels)
    if lossless if lossless is not None else max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, "PNG", compress_level=6)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=92, subsampling=0)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def render(template: str, **values: Any) -> str:
    """A whole page from a template in `assets/`.

    Args:
        values: what the template shows. Text is escaped and made printable; only a `Markup` is taken as HTML.
    """
    return "".join(render_pieces(template, **values))


def render_pieces(template: str, **values: Any) -> Iterator[str]:
    """What `render` joins; iterators among the values are read as the pieces are."""
    return _environment().get_template(template).generate(**values)


def json_markup(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(value, separators=(",", ":"))


def page(title: str, body: str, style: str = "") -> str:
    """A whole HTML document around a body that is HTML already, with values escaped by the caller.

    Args:
        title: plain text.
        style: CSS added to the common style sheet.
    """
    from markupsafe import Markup

    return render("page.html", title=title, body=Markup(body), style=Markup(style))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def asset(name: str) -> Markup:
        return Markup((_FOLDER / name).read_text(encoding="utf-8"))

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["asset"] = asset
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def write_page(path: Path, text: Iterable[str], overwrite: bool = False) -> bool:
    """Write a page, whole or in pieces, unless a file that is not padinv's stands there; whether it was written.

    Raises:
        OutputError: not writable.
    """
    if not overwrite and os.path.lexists(path) and not _is_own_page(path):
        return False
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", errors="replace", newline="") as file:
        file.writelines([text] if isinstance(text, str) else text)
    return True


def _is_own_page(path: Path) -> bool:
    """Whether a page of padinv's stands there; what cannot be read (a folder, a pipe, a private file) is not one."""
    try:
        with open_regular(path) as file:
            return _MARK.encode() in file.read(4096)
    except OSError:
        return False
