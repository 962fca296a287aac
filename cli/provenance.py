"""What edited pictures say about the command that made them; --no-provenance, and the C2PA signature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padinv.cli.common_options import add_options, settings
from padinv.runtime.errors import UsageError

if TYPE_CHECKING:
    from padinv.runtime.bundle import Bundle
    from padinv.runtime.provenance.command_text import Command
    from padinv.runtime.provenance.marking import Marking
    from padinv.runtime.provenance.signing import Signer

# The pictures that a command works on: each result names its own.
_INPUTS = frozenset({"paths", "a", "b", "targets", "target", "inversions", "seeds", "folder"})
# What decides no pixel, or only where and how fast it is made.
_LEFT_OUT = frozenset(
    {
        "out", "batch", "backend", "device", "threads", "workers", "ray_address", "engine", "shard", "sheet", "report",
        "as_json", "overwrite", "limit", "format", "vs", "save", "save_inversions", "frames", "edit", "interval",
    }
)  # fmt: skip


def _options(
    no_provenance: Annotated[
        bool,
        typer.Option(
            "--no-provenance",
            help="Write pictures without the XMP metadata that says they were edited or generated: IPTC digital source "
            "type, command, padinv's version, model and hash; and without a C2PA manifest.",
        ),
    ] = False,
    c2pa_certificate: Annotated[
        Path | None,
        typer.Option(
            "--c2pa-certificate",
            metavar="PEM",
            help="Sign pictures with this certificate chain (padinv[c2pa]); goes with --c2pa-key.",
        ),
    ] = None,
    c2pa_key: Annotated[
        Path | None, typer.Option("--c2pa-key", metavar="PEM", help="Private key of the certificate.")
    ] = None,
) -> None:
    """The options themselves; the function is never called."""


def add_provenance_options(command: Any) -> None:
    """Give a command that writes pictures the options of this module."""
    add_options(command, _options)


def remember(ctx: Any) -> None:
    """Keep the options of the running command; every command calls this before it runs."""
    for name in ("no_provenance", "c2pa_certificate", "c2pa_key"):
        setattr(settings, name, ctx.params.pop(name, None))
    settings.command = ctx


def marking(bundle: Bundle, verb: str | None = None, before: tuple[str, ...] = ()) -> Marking:
    """How the pictures of the running command are marked.

    Args:
        verb, before: in place of the command's own, where it does what another command does.

    Raises:
        UsageError: options that do not go together, or files that cannot sign. MissingPackageError: of c2pa-python.
    """
    from padinv.runtime.provenance.marking import Marking

    command = _command()
    if verb is not None:
        command = replace(command, verb=verb, before=before)
    return Marking.of(bundle, command, enabled=not settings.no_provenance, signer=signer())


def signer() -> Signer | None:
    """What signs the pictures of the command at hand, if anything does. Raises as `marking`."""
    certificate, key = settings.c2pa_certificate, settings.c2pa_key
    if (certificate is None) != (key is None):
        raise UsageError("--c2pa-certificate and --c2pa-key go together: give both; nothing was done")
    if certificate is None or key is None:
        return None
    if settings.no_provenance:
        raise UsageError("--no-provenance leaves out the signature, too: take one of the two; nothing was done")
    from padinv.runtime.provenance.signing import Signer

    return Signer.open(certificate, key)


def _command() -> Command:
    """The running command, without the pictures it works on and without what decides no pixel."""
    from padinv.runtime.provenance.command_text import Command

    ctx: Any = settings.command
    if ctx is None:
        return Command("")
    before: list[str] = []
    options: list[tuple[str, ...]] = []
    for param in ctx.command.params:
        name = str(param.name)
        source = ctx.get_parameter_source(name)
        if name in _INPUTS | _LEFT_OUT or name not in ctx.params or source is None or source.name == "DEFAULT":
            continue
        words = _words(param, ctx.params[name])
        if param.param_type_name == "argument":
            before += [word for one in words for word in one]
        else:
            options += words
    return Command(" ".join(ctx.command_path.split(" ")[1:]), tuple(before), tuple(options))


def _words(param: Any, value: Any) -> list[tuple[str, ...]]:
    """A parameter as it is typed, once for each of its values."""
    if value is None:
        return []
    flag = max(param.opts, key=len)
    if isinstance(value, bool):
        return [(flag if value else max(param.secondary_opts or param.opts, key=len),)]
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if param.name == "pair":  # A and A' follow one another
        return [(flag, str(a), str(b)) for a, b in zip(values[::2], values[1::2], strict=False)]
    argument = param.param_type_name == "argument"
    return [(str(one),) if argument else (flag, str(one)) for one in values]
