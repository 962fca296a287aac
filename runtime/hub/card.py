"""Model cards: Markdown with YAML front matter, and the fields that a card needs before a model is pushed.

---
license: mit
data: 12,965 photographs of FairFace (CC BY 4.0)
intended_use: Trying GAN inversion with padding space.
limits: Not for identifying or judging people.
figures:
  MSE: 0.0102
  LPIPS squeeze: 0.0788
---
# My model
...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from padinv.runtime.errors import InputError, MissingPackageError
from padinv.runtime.text import printable

# Field -> what it should say. `license` is spelled as the hub spells it.
FIELDS = {
    "license": "identifier of the licence of the weights, as the hub lists them: mit, cc-by-4.0, other, ...",
    "data": "what it was trained on, where that comes from, and under which licence",
    "intended_use": "what it is for",
    "limits": "what it does badly, and what it must not be used for",
    "figures": "what was measured, on what: a mapping like 'MSE: 0.0102'",
}
CARD = "MODEL_CARD.md"
BLANK = "TODO"
MAX_CARD = 1 << 20

_FRONT = re.compile(r"\A(?:\ufeff)?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_LICENCE = re.compile(r"""^license:[ \t]*["']?([^"'\r\n#]+)""", re.MULTILINE)


def licence_of(text: str) -> str:
    """The licence that a card names in its front matter, without a YAML reader; '' where it names none."""
    front = _FRONT.match(text)
    found = _LICENCE.search(front[1]) if front else None
    return printable(found[1].strip())[:60] if found else ""


def split_card(text: str, where: str = "the card") -> tuple[dict[str, Any], str]:
    """The front matter of a card, and the Markdown after it.

    Raises:
        InputError: front matter that is not a YAML mapping. MissingPackageError: no YAML reader.
    """
    front = _FRONT.match(text)
    if not front:
        return {}, text
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingPackageError("yaml", "hub", "reading a model card") from error
    try:
        metadata = yaml.safe_load(front[1])
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())[:160]
        raise InputError(f"{where} has front matter that is not YAML ({problem})", code="damaged") from error
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
        raise InputError(f"{where} has front matter that is not a list of 'field: value' lines", code="damaged")
    return metadata, text[front.end() :]


def missing_fields(metadata: Mapping[str, Any]) -> list[str]:
    """Required fields that are not there, are empty, or still say TODO."""
    return [name for name in FIELDS if _is_blank(metadata.get(name))]


def require_fields(metadata: Mapping[str, Any], where: str) -> None:
    """Refuse a card with missing fields; all are named at once.

    Raises:
        InputError: one sentence with what is missing and how to add it.
    """
    if missing := missing_fields(metadata):
        raise InputError(
            f"{where} lacks {_listed(missing)}, so nothing was uploaded; write a card to fill in with --init-card "
            "CARD.md, and give it with --card CARD.md",
            code="card",
        )


def write_card(metadata: Mapping[str, Any], body: str) -> str:
    """A card as text."""
    import yaml

    front = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{front}---\n{body if body.startswith(chr(10)) else chr(10) + body}"


def card_to_fill_in(metadata: Mapping[str, Any], body: str) -> str:
    """The card with a line for every missing field, each with a comment that says what belongs there."""
    known = {name: value for name, value in metadata.items() if not _is_blank(value)}
    text = write_card(known, body) if known else f"---\n---\n\n{body.lstrip()}"
    lines = [f"# {FIELDS[name]}\n{name}: {BLANK}\n" for name in missing_fields(metadata)]
    return text.replace("---\n", "---\n" + "".join(lines), 1)


def numbers_of(figures: Any) -> dict[str, float]:
    """The numbers among the figures, for the hub's table of results."""
    if not isinstance(figures, Mapping):
        return {}
    return {str(k): float(v) for k, v in figures.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _is_blank(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().rstrip(".").upper() in ("", BLANK, "UNKNOWN", "NONE", "N/A")
    if isinstance(value, (list, dict)):
        return not value or all(_is_blank(one) for one in (value.values() if isinstance(value, dict) else value))
    return value is None


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
