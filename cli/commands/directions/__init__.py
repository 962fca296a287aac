"""`padinv directions`: make, import, list and show directions."""

from __future__ import annotations

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
command.command(name="list", cls=HelpCommand, context_settings=SETTINGS)(list_.command)
command.command(name="show", cls=HelpCommand, context_settings=SETTINGS)(show.command)
command.command(name="fit", cls=HelpCommand, context_settings=SETTINGS)(fit.command)
command.command(name="sefa", cls=HelpCommand, context_settings=SETTINGS)(sefa.command)
command.command(name="import", cls=HelpCommand, context_settings=SETTINGS)(import_.command)
