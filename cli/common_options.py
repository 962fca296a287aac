"""Options that every verb has: --config, --quiet, --verbose, and --open where there is a page to open."""

from __future__ import annotations

import logging
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.runtime.errors import UsageError


@dataclass
class Settings:
    """What the common options of the running command say.

    Attributes:
        quiet: print errors and skipped inputs only.
        verbose: also print what the library logs.
        open_report: show the page in a browser at the end.
        command: the context of the command, for what pictures say about it; see `padinv.cli.provenance`.
        no_provenance, c2pa_certificate, c2pa_key: options of that module.
        offline: nothing may be fetched.
        summary: print what came out at the end.
    """

    quiet: bool = False
    verbose: bool = False
    open_report: bool = False
    command: Any = None
    no_provenance: bool | None = None
    c2pa_certificate: Path | None = None
    c2pa_key: Path | None = None
    offline: bool = False
    summary: bool = True


settings = Settings()


def reset() -> None:
    """Forget the options of an earlier command in this process."""
    if settings.offline:
        _set_offline(False)
    for name, value in vars(Settings()).items():
        setattr(settings, name, value)


class _ToStderr(logging.Handler):
    """Shows the library's log as the commands show everything else; every sentence once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        from padinv.cli.console import say

        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            say(text)


def show_log() -> None:
    """Send the logger "padinv" to standard error, as far as --quiet and --verbose ask for it."""
    logger = logging.getLogger("padinv")
    for handler in [one for one in logger.handlers if isinstance(one, _ToStderr)]:
        logger.removeHandler(handler)
    logger.addHandler(_ToStderr())
    logger.setLevel(logging.ERROR if settings.quiet else logging.DEBUG if settings.verbose else logging.WARNING)


def _set_quiet(value: bool) -> bool:
    settings.quiet = settings.quiet or value
    show_log()
    return value


def _set_verbose(value: bool) -> bool:
    settings.verbose = settings.verbose or value
    show_log()
    return value


def _set_open(value: bool) -> bool:
    settings.open_report = settings.open_report or value
    return value


def _set_offline(value: bool) -> bool:
    from padinv.runtime.hub.network import forbid_network

    settings.offline = value
    forbid_network(value)
    return value


def _read_config(ctx: typer.Context, value: Path | None) -> Path | None:
    if value is not None:
        ctx.default_map = {**(ctx.default_map or {}), **config_values(value, ctx)}
    return value


def _everywhere(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.toml",
            is_eager=True,
            callback=_read_config,
            help="Read options from a TOML file; those on the command line win.",
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", callback=_set_quiet, help="Print errors and skipped inputs only."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", callback=_set_verbose, help="Also print what the library logs.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option("--offline", callback=_set_offline, help="Fetch nothing; take models of a hub from the cache."),
    ] = False,
    open_report: Annotated[
        bool, typer.Option("--open", callback=_set_open, help="Open the report in a browser at the end.")
    ] = False,
) -> None:
    """The options themselves; the function is never called."""


# Common options that make sense only beside another one.
_ONLY_WITH = {"open_report": {"--report"}, "offline": {"--model"}}


def add_common_options(command: Any) -> None:
    """Give a command, or every command of a group, the options of this module."""
    if hasattr(command, "commands"):
        for inner in command.commands.values():
            add_common_options(inner)
        return
    add_options(command, _everywhere, expose=False)


def add_options(command: Any, declared: Callable[..., None], *, expose: bool = True) -> None:
    """Give a command the options that a function declares, except those it has itself.

    Args:
        expose: whether the values stand in the context's parameters.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(declared)
    own = {name for param in command.params for name in param.opts}
    for param in typer.main.get_command(app).params:  # type: ignore[attr-defined]
        if own & set(param.opts) or not _ONLY_WITH.get(str(param.name), set()) <= own:
            continue
        param.expose_value = expose
        command.params.append(param)


def config_values(path: Path, ctx: Any) -> dict[str, Any]:
    """The options that a TOML file gives to the running command: parameter's name -> value.

    Keys are options without their hyphens in front (`paste-back = true`). Keys at the top hold for every verb that has
    such an option; a table like [invert] or [directions.fit] holds for that verb alone, and wins.

    Raises:
        UsageError: the file is missing or is not TOML, or the verb's table has a key that is not one of its options.
    """
    document = _read_toml(path)
    names = _option_names(ctx.command)
    values = {names[key]: value for key, value in document.items() if key in names}
    table: Any = document
    verb = ctx.command_path.split(" ")[1:]
    for part in verb:
        table = table.get(part, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [{'.'.join(verb)}] is not a table, so nothing was done")
    if not verb:
        table = {}
    for key, value in table.items():
        if key not in names:
            raise UsageError(f"{path}: {key!r} is not an option of padinv {' '.join(verb)}, so nothing was done")
        values[names[key]] = value
    everywhere = _all_option_names(ctx.find_root().command) if any(_is_stray(document, names)) else set()
    for key in _is_stray(document, names):
        if key not in everywhere:
            raise UsageError(f"{path}: {key!r} is not an option of any command, so nothing was done")
    return values


def _is_stray(document: dict[str, Any], names: dict[str, str]) -> list[str]:
    """Keys at the top that are neither tables nor options of the running command."""
    return [key for key, value in document.items() if key not in names and not isinstance(value, dict)]


def _read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read: {error.strerror or error}; nothing was done") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is not valid TOML ({error}); nothing was done") from error


def _option_names(command: Any) -> dict[str, str]:
    """Option without its hyphens -> parameter's name; --config itself is not one of them."""
    return {
        option.lstrip("-"): str(param.name)
        for param in command.params
        if param.param_type_name == "option" and param.name != "config"
        for option in param.opts
        if option.startswith("--")
    }


def _all_option_names(group: Any) -> set[str]:
    found: set[str] = set()
    for command in group.commands.values():
        found |= _all_option_names(command) if hasattr(command, "commands") else set(_option_names(command))
    return found


def open_in_browser(page: str) -> bool:
    """Show a page in the person's browser; whether that could be started."""
    return webbrowser.open(Path(page).resolve().as_uri())
