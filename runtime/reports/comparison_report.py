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
        before, after: uint8 RGB [H, W, 3] of one aspect ratio, and what they are called.
        beside: label -> further pictures, shown small (the picture whose latents were taken, ...).
        file: address of the result at full size, relative to the page (see `padinv.runtime.reports.cards.address`).
        warnings: sentences.
    """

    name: str
    before: np.ndarray
    after: np.ndarray
    labels: tuple[str, str] = ("Before", "After")
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    file: str | None = None
    warnings: Sequence[str] = ()


def compare_html(
    title: str,
    comparisons: Sequence[Comparison],
    facts: Mapping[str, str],
    lines: Iterable[str] = (),
    skipped: Iterable[Problem] = (),
    *,
    budget: int = BUDGET,
) -> str:
    """The page: pictures inside, and nothing loaded from elsewhere but the results beside it.

    Args:
        title: plain text.
        comparisons: in the order of their names.
        facts: label -> value, in the footer.
        lines: sentences below the title.
        skipped: inputs that gave nothing.
        budget: bytes of the pictures in the page.
    """
    labels = comparisons[0].labels if comparisons else ("Before", "After")
    cards = [
        Card(
            one.name,
            one.before,
            one.after,
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
    return cards_page(
        title, cards, labels, facts=facts, lines=[*lines, hint], skipped=skipped, slider=True, budget=budget
    )
