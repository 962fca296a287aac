"""Groups of options that several commands take: each is declared once, as a field of a dataclass in `options.py`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of the option groups in its signature.

    A group is a parameter whose type is a dataclass; the command receives an instance of it. The fields carry Typer's
    `Annotated` options, and their defaults are the options' defaults.

    Example:
        @grouped
        def command(paths: Annotated[list[str], typer.Argument()], how: Reading) -> None: ...
    """
    own = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        one.name: one.annotation for one in own.parameters.values() if is_dataclass(one.annotation)
    }
    parameters: list[inspect.Parameter] = []
    for one in own.parameters.values():
        parameters += _options(groups[one.name]) if one.name in groups else [one]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    return with_parameters(wrapper, parameters)


def with_parameters(wrapper: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """Let Typer see these parameters, whatever the wrapper's own signature is."""
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    wrapper.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in keywords}
    return wrapper


def _options(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
