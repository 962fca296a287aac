"""A page of cards: two pictures of each result, with search, sort, pages of 48, and an enlarged view.

The cards travel as JSON in the page, and its script shows a part of them, so 100,000 results stay usable. A picture
that several cards show is in the page once. How large the pictures are follows from how many there are: the page keeps
to a budget, and the enlarged view takes the file beside the page where there is one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import numpy as np

from padinv.runtime.images import array_to_image
from padinv.runtime.reports.html import LOSSLESS_SIDE, data_uri, json_markup, render_pieces
from padinv.runtime.spilled import Spilled
from padinv.runtime.text import printable

if TYPE_CHECKING:
    from markupsafe import Markup

BUDGET = 24_000_000  # bytes of the pictures in one page
SIDES = (1024, 512, 256, 128)  # px: the largest that keeps to the budget is taken
THUMBNAIL = 128  # px, of the further pictures of a card
_JPEG_BYTES, _PNG_BYTES = 0.6, 3.2  # a pixel, in base64: more than most photographs take
_WORDS = {
    "no-face": "without a face",
    "missing": "missing",
    "unreadable": "unreadable",
    "empty": "empty",
    "not-an-image": "not an image",
    "damaged": "damaged",
    "too-large": "too large",
    "exists": "not replaced",
}


class Problem(Protocol):
    """An input that gave nothing; `padinv.runtime.batch.engine.Skipped` is one."""

    @property
    def reason(self) -> str:
        """A sentence."""

    @property
    def code(self) -> str:
        """Short name of the reason."""


@dataclass
class Card:
    """One result.

    Attributes:
        name: shown below, and searched.
        first, second: uint8 RGB [H, W, 3] of one aspect ratio; None where the picture is not in the page.
        first_file, second_file: addresses relative to the page (see `address`), of the same pictures at full size.
        labels: what the two pictures are called, where they differ from the page's.
        values: of the page's columns, in their order; None where one was not measured; further ones are not shown.
        warnings: sentences.
        beside: label -> further pictures, shown small.
    """

    name: str
    first: np.ndarray | None = None
    second: np.ndarray | None = None
    first_file: str | None = None
    second_file: str | None = None
    labels: tuple[str, str] | None = None
    values: Sequence[float | None] = ()
    warnings: Sequence[str] = ()
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A figure that cards show and are sorted by; `worst` is 'high' or 'low'."""

    label: str
    digits: int = 3
    unit: str = ""
    worst: str = "high"


def address(path: Path, folder: Path) -> str | None:
    """The address of a file, relative to a page in `folder`; None where there is none (another drive of Windows)."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:
        return None
    # A name is quoted whole, so that none of its characters can start a scheme, a query or a fragment.
    return quote(os.fsencode(relative.replace(os.sep, "/")), safe="/")


def verdict(good: int, skipped: Iterable[Problem], warned: int = 0) -> str:
    """What came out, in one line: '27 good, 2 with a warning, 3 without a face'."""
    counts = Counter(_WORDS.get(one.code, "skipped") for one in skipped)
    parts = [f"{good:,} good"] if good or not (counts or warned) else []
    parts += [f"{warned:,} with a warning"] if warned else []
    return ", ".join([*parts, *(f"{count:,} {word}" for word, count in counts.most_common())])


def cards_page(
    heading: str,
    cards: Iterable[Card],
    labels: tuple[str, str],
    *,
    facts: Mapping[str, str],
    columns: Sequence[Column] = (),
    figures: Sequence[tuple[str, str]] = (),
    lines: Iterable[str] = (),
    skipped: Iterable[Problem] = (),
    slider: bool = False,
    total: int | None = None,
    budget: int = BUDGET,
) -> Iterator[str]:
    """The page, as pieces of HTML, so that one of 100,000 cards is never in memory as a whole.

    Args:
        heading: plain text on top.
        cards: in the order of their names; pictures of the first ones only, see `Spilled`.
        labels: what the two pictures of a card are called.
        facts: label -> value, in the footer.
        columns: what `Card.values` holds.
        figures: (value, label) below the heading.
        lines: sentences below the verdict.
        skipped: the inputs that gave nothing.
        slider: show the second picture over the first, with a slider between them, instead of beside it.
        total: how many results there are, where the page shows only the first of them.
        budget: bytes of the pictures in the page.
    """
    problems, shown = list(skipped), cards if isinstance(cards, Sequence) else Spilled(cards)
    warned = sum(bool(card.warnings) for card in shown)
    total, lines = total or len(shown), list(lines)
    if total > len(shown):
        lines.append(f"The first {len(shown):,} of {total:,} are shown; the others are files beside this page.")
    head = {
        "labels": [printable(label) for label in labels],
        "slider": slider,
        "columns": [column.label for column in columns],
        "digits": [column.digits for column in columns],
        "units": [column.unit for column in columns],
        "worst": [column.worst for column in columns],
    }
    return render_pieces(
        "cards.html",
        title=f"{heading} · padinv",
        heading=heading,
        verdict=verdict(total - warned, problems, warned),
        attention=bool(problems or warned),
        warned=warned,
        lines=lines,
        figures=figures,
        columns=head["columns"],
        slider=slider,
        cards=len(shown),
        data=_data(head, shown, labels, budget),
        linked=any(card.first_file or card.second_file for card in shown),
        side=320 if slider else 208,  # px: three pairs beside each other at 1400 px, two at 1000
        skipped=[one.reason for one in problems],
        footer=" · ".join([*(f"{label} {value}" for label, value in facts.items()), time.strftime("%Y-%m-%d %H:%M")]),
    )


def _data(head: Mapping[str, Any], cards: Iterable[Card], labels: tuple[str, str], budget: int) -> Iterator[Markup]:
    """The pieces of the JSON that the page's script reads: `head`, the cards, and the pictures that they name."""
    from markupsafe import Markup

    columns, pictures = len(head["columns"]), _Pictures(_distinct(cards), budget)
    yield json_markup(head)[:-1] + Markup(',"cards":[')
    for place, card in enumerate(cards):
        yield Markup("," if place else "") + json_markup(_card(card, labels, pictures, columns))
    yield Markup('],"pictures":[')
    for place, picture in enumerate(pictures.addresses):
        yield Markup("," if place else "") + json_markup(picture)
    yield Markup("]}")


def _card(card: Card, labels: tuple[str, str], pictures: _Pictures, columns: int) -> dict[str, Any]:
    """The JSON of a card; what is empty is left out, because a page may hold 100,000."""
    one: dict[str, Any] = {"n": printable(card.name)}
    for side, pixels, file in (("a", card.first, card.first_file), ("b", card.second, card.second_file)):
        if pixels is not None:
            one[side] = pictures.add(pixels)
        if file is not None:
            one[f"f{side}"] = file
    if card.labels is not None and card.labels != labels:
        one["l"] = [printable(label) for label in card.labels]
    if card.values:
        one["v"] = [None if value is None else round(value, 6) for value in card.values[:columns]]
    if card.warnings:
        one["w"] = [printable(sentence) for sentence in card.warnings]
    if card.beside:
        one["s"] = [[printable(label), pictures.add(pixels, THUMBNAIL)] for label, pixels in card.beside.items()]
    return one


def _distinct(cards: Iterable[Card]) -> list[tuple[int, int]]:
    """Height and width of each different picture that is shown large."""
    shown = [pixels for card in cards for pixels in (card.first, card.second) if pixels is not None]
    return list({_key(pixels): (pixels.shape[0], pixels.shape[1]) for pixels in shown}.values())


def _key(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(
        np.ascontiguousarray(pixels).tobytes(), digest_size=16, key=str(pixels.shape).encode()
    ).digest()


class _Pictures:
    """The pictures of a page, each once."""

    def __init__(self, sizes: Sequence[tuple[int, int]], budget: int) -> None:
        def area(side: int) -> float:
            """Pixels of all pictures when none is larger than `side`."""
            return sum(h * w * min(1.0, side / max(h, w)) ** 2 for h, w in sizes)

        self.side = next((side for side in SIDES if area(side) * _JPEG_BYTES <= budget), SIDES[-1])
        self.lossless = area(LOSSLESS_SIDE) * _PNG_BYTES <= budget
        self.addresses: list[str] = []
        self._places: dict[tuple[bytes, int], int] = {}

    def add(self, pixels: np.ndarray, side: int | None = None) -> int:
        """Place of a picture among `addresses`, no larger than `side`."""
        side = min(side or self.side, max(pixels.shape[:2]))
        key = (_key(pixels), side)
        if key not in self._places:
            self._places[key] = len(self.addresses)
            small = max(pixels.shape[:2]) <= LOSSLESS_SIDE
            self.addresses.append(data_uri(_reduced(pixels, side), lossless=small and self.lossless))
        return self._places[key]


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    if max(pixels.shape[:2]) <= side:
        return pixels
    image = array_to_image(pixels)
    image.thumbnail((side, side))
    return np.asarray(image)
