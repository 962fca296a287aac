"""`report.html` of an edit: each result over what it was made from, with a slider between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from padinv.runtime.reports.cards import BUDGET, Card, Problem, cards_page


@dataclass
class Comparison:
    """One result and what it is compared with.

    Attributes:
        name: shown below.
        before, after: uint8 RGB [H, W, 3] of one aspect ratio; None where the page is to read their files.
        labels: what the two are called.
        beside: label -> further pictures, shown small (the picture whose latents were taken, ...).
        file: address of the result at full size, relative to the page (see `padinv.runtime.reports.cards.address`).
        before_file: address of what it was made from.
        warnings: sentences.
    """

    name: str
    before: np.ndarray | None
    after: np.ndarray | None
    labels: tuple[str, str] = ("Before", "After")
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    file: str | None = None
    before_file: str | None = None
    warnings: Sequence[str] = ()


def compare_html(
    title: str,
    comparisons: Sequence[Comparison],
    facts: Mapping[str, str],
    lines: Iterable[str] = (),
    skipped: Iterable[Problem] = (),
    *,
    total: int | None = None,
    budget: int = BUDGET,
) -> str:
    """The page: pictures inside, and nothing loaded from elsewhere but the results beside it.

    Args:
        title: plain text.
        comparisons: in the order of their names.
        facts: label -> value, in the footer.
        lines: sentences below the title.
        skipped: inputs that gave nothing.
        total: how many results there are, where `comparisons` holds only the first of them.
        budget: bytes of the pictures in the page.
    """
    labels = comparisons[0].labels if comparisons else ("Before", "After")
    cards = [
        Card(
            one.name,
            one.before,
            one.after,
            first_file=one.before_file,
            second_file=one.file,
            labels=one.labels,
            warnings=one.warnings,
            beside=one.beside,
        )
        for one in comparisons
    ]
    hint = (
        "Drag across a picture, or use the arrow keys, to compare. ⤢ enlarges it: space flips, D shows the difference."
    )
    pieces = cards_page(
        title,
        cards,
        labels,
        facts=facts,
        lines=[*lines, hint],
        skipped=skipped,
        slider=True,
        total=total,
        budget=budget,
    )
    return "".join(pieces)
