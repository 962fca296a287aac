"""`padinv directions`: make, import, list and show directions."""

from __future__ import annotations

from collections.abc import Callable

import typer

from padinv.cli.commands.directions import fit, import_, list_, sefa, show
from padinv.cli.help import HelpCommand

SETTINGS = {"help_option_names": ["-h", "--help"]}

command = typer.Typer(
    help="Make, import, list and show directions, which padinv edit applies to pictures.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=SETTINGS,
)
VERBS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (list_.command, "List the directions of a model, and those of files."),
    "show": (show.command, "Draw a strip per direction, and measure what it changes."),
    "fit": (fit.command, "Fit a direction to labelled pictures."),
    "sefa": (sefa.command, "Find directions from the generator's weights alone (SeFa)."),
    "import": (import_.command, "Import a direction of another project."),
}
for name, (function, line) in VERBS.items():
    command.command(name=name, cls=HelpCommand, short_help=line, context_settings=SETTINGS)(function)
