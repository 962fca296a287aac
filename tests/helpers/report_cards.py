"""What a report shows: the data that its script turns into cards."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any


class Reader(HTMLParser):
    """The tags and the text of a page, and the JSON of its cards."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._json: str | None = None
        self.feed(text)
        self.data: dict[str, Any] = json.loads(self._json or "{}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][1].get("id") == "data" and self._json is None:
            self._json = data
        else:
            self.text += data


def cards(text: str) -> list[dict[str, Any]]:
    """Each card, with its pictures' addresses in place of their numbers; a picture that is missing fails here."""
    data = Reader(text).data
    shown = []
    for card in data["cards"]:
        sides = {side: data["pictures"][card[side]] for side in "ab" if side in card}
        shown.append({**card, **sides, "s": [[label, data["pictures"][k]] for label, k in card.get("s", [])]})
    return shown


def pictures(text: str) -> list[str]:
    """The addresses of all pictures in the page."""
    found: list[str] = Reader(text).data["pictures"]
    return found
