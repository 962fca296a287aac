"""Text from outside, made safe to show."""

from __future__ import annotations


def printable(text: object) -> str:
    """`text` in one line, without what could steer a terminal: file names and metadata may hold anything.

    Control characters, line breaks, direction marks and bytes that are not text become question marks. Every stream,
    page and log shows text from outside in this form.
    """
    return "".join(c if c.isprintable() else "?" for c in str(text))
