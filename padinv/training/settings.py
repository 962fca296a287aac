"""Settings as dataclass fields that carry their help, their range and their choices.

The command line is made from them (`padinv.cli.config_options`), and so is the check of their values: nothing is said
twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field, fields
from typing import Any

from padinv.runtime.errors import UsageError

MAX_SEED = (1 << 32) - 1  # what every random generator takes


def setting(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | None = None,
    metavar: str | None = None,
    prefix: str | None = None,
) -> Any:
    """A field of a configuration.

    Args:
        default: its value where nothing is said.
        text: one sentence of help.
        low, high: smallest and largest value.
        below: every value is smaller than this.
        choices: what a text may be.
        metavar: how a value looks, for the help.
        prefix: a text beside `choices` that begins with this is possible, too.
    """
    return field(
        default=default,
        metadata={
            "help": text,
            "low": low,
            "high": high,
            "below": below,
            "choices": choices,
            "metavar": metavar,
            "prefix": prefix,
        },
    )


def check_settings(config: Any) -> None:
    """Compare the values of a configuration with what its fields allow.

    Raises:
        UsageError: a value that is not possible.
    """
    for part in fields(config):
        value, facts = getattr(config, part.name), part.metadata
        if value is None or not facts:
            continue
        prefix = facts["prefix"]
        if facts["choices"] is not None and value not in facts["choices"] and not (prefix and value.startswith(prefix)):
            possible = [*facts["choices"], *([f"{prefix}NAME"] if prefix else [])]
            raise UsageError(f"{part.name} is one of {', '.join(possible)}, not {value!r}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            _check_number(part.name, value, facts)


def _check_number(name: str, value: float, facts: Any) -> None:
    low, high, below = facts["low"], facts["high"], facts["below"]
    fits = math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
    if fits and (below is None or value < below):
        return
    if below is not None:
        limits = f"at least {low or 0:g} and below {below:g}"
    elif high is not None:
        limits = f"from {low or 0:g} to {high:g}"
    else:
        limits = f"a number from {low:g} up"
    raise UsageError(f"{name} must be {limits}, not {value!r}")
