"""Options made from the fields of a configuration: name, type, range, choices, help and default are the field's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Annotated, Any, Literal, get_type_hints

import typer

from padinv.cli.option_groups import with_parameters
from padinv.runtime.errors import UsageError


def with_settings(*configs: type, leave_out: frozenset[str] = frozenset()) -> Callable[[Callable[..., None]], Any]:
    """Give a command one option for each field of some dataclasses whose fields were made by `setting`.

    The command takes them as `settings`, a dictionary of those that were given on the command line.

    Args:
        configs: the dataclasses.
        leave_out: fields that the command sets by other options.
    """
    parts = [part for config in configs for part in fields(config) if part.metadata and part.name not in leave_out]
    hints = {name: hint for config in configs for name, hint in get_type_hints(config).items()}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        kept = [p for p in own.parameters.values() if p.name != "settings"]
        options = [_parameter(part, hints[part.name]) for part in parts]

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            settings = {part.name: _parsed(part, given.pop(part.name)) for part in parts}
            command(**given, settings={name: value for name, value in settings.items() if value is not None})

        return with_parameters(wrapper, [*kept, *options])

    return decorate


def _parameter(part: Field[Any], hint: Any) -> inspect.Parameter:
    facts = part.metadata
    name = f"--{part.name.replace('_', '-')}"
    kinds = {kind for kind in getattr(hint, "__args__", (hint,)) if kind is not type(None)}
    settings: dict[str, Any] = {"help": _help(part), "show_default": False}
    kind: Any = str
    flags = [name]
    if bool in kinds:
        kind, flags = bool, [f"{name}/--no-{name[2:]}"]
    elif facts["choices"] is not None and facts["prefix"] is None:
        kind = Literal[tuple(facts["choices"])]  # type: ignore[misc]
    elif kinds & {int, float} and not _is_tuple(hint):
        kind = float if float in kinds else int
        settings |= {"min": facts["low"], "max": facts["high"]}
    if facts["metavar"] is not None:
        settings["metavar"] = facts["metavar"]
    annotation = Annotated[kind | None, typer.Option(*flags, **settings)]
    return inspect.Parameter(part.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(part: Field[Any]) -> str:
    default = part.default
    if default is None:
        return str(part.metadata["help"])
    shown = {True: "on", False: "off"}.get(default) if isinstance(default, bool) else None
    return f"{part.metadata['help']} [default: {shown or default}]"


def _is_tuple(hint: Any) -> bool:
    return any(getattr(kind, "__origin__", None) is tuple for kind in getattr(hint, "__args__", (hint,)))


def _parsed(part: Field[Any], value: Any) -> Any:
    """Lists are written with commas."""
    if value is None or not isinstance(value, str) or part.metadata["choices"] is not None:
        return value
    try:
        return tuple(int(number) for number in value.split(",") if number.strip())
    except ValueError:
        name = part.name.replace("_", "-")
        raise UsageError(f"--{name} takes sizes separated by commas, such as 4,8,16, not {value!r}") from None
