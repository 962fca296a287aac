"""`-` for standard input and output, and `--out FILE` for one picture.

The command runs as always, into a folder of its own that is removed afterwards; the one picture that it makes goes
where the user wants it. So the picture is the same as in a folder, pixel for pixel.
"""

from __future__ import annotations

import glob
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import typer

from padinv.cli.common_options import settings
from padinv.cli.console import say, shown_as
from padinv.cli.provenance import signer
from padinv.runtime.batch.converting import converted
from padinv.runtime.batch.file_identity import forget_standard_input, keep_standard_input
from padinv.runtime.batch.ownership import origin_of, read_origin
from padinv.runtime.batch.results_log import RESULTS
from padinv.runtime.errors import InputError, OutputError, UsageError
from padinv.runtime.files import parse_json, write_bytes
from padinv.runtime.images import MAX_FILE_BYTES

VERBS = frozenset({"invert", "blend", "edit", "custom-edit", "generate"})
SUFFIXES = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp"}
DASH = "-"
_INPUTS = ("paths", "a", "b", "pair", "target", "targets", "inversions")
# What makes more than one picture, or another use of standard output: option -> the values that do not.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "each": (False,),
    "style_mixing": (False,),
    "vs": (None,),
    "shard": (None,),
    "engine": ("local",),
    "save_inversions": (False,),
    "as_json": (False,),
}


def run(ctx: Any, invoke: Callable[[Any], Any]) -> Any:
    """Run a command; where it reads standard input or writes one picture, with both put into place."""
    shown_as.clear()  # not at the end: an error is said after that
    if ctx.info_name not in VERBS:
        return invoke(ctx)
    piped = [name for name in _INPUTS if DASH in _values(ctx, name)]
    target = _target(ctx, bool(piped))
    if not piped and target is None:
        return invoke(ctx)
    with tempfile.TemporaryDirectory(prefix="padinv-") as folder, _standard_input(ctx, piped, Path(folder)):
        if target is None:
            return invoke(ctx)
        return _one(ctx, invoke, target, Path(folder))


def _values(ctx: Any, name: str) -> list[str]:
    value = ctx.params.get(name)
    values = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return [str(one) for one in values]


def _target(ctx: Any, piped: bool) -> Path | None:
    """Where one picture goes, '-' being standard output; None: results go into a folder."""
    out = Path(ctx.params["out"])
    source = ctx.get_parameter_source("out")
    if str(out) == DASH or (piped and source is not None and source.name == "DEFAULT"):
        return Path(DASH)
    return out if out.suffix.lower() in SUFFIXES and not out.is_dir() else None


@contextmanager
def _standard_input(ctx: Any, piped: list[str], folder: Path) -> Iterator[None]:
    """Put a file with what comes through standard input in the place of '-'.

    Raises:
        UsageError: more than one '-', or nothing is piped in. InputError: nothing comes, or too much.
    """
    if not piped:
        yield
        return

    if sum(_values(ctx, name).count(DASH) for name in piped) > 1:
        raise UsageError("- is standard input, which can be read once; name the other pictures; nothing was done")
    path = keep_standard_input(_read_standard_input(), folder)
    shown_as[str(path)] = "standard input"
    for name in piped:
        value = ctx.params[name]
        several = isinstance(value, (list, tuple))
        made = [(type(one)(path) if str(one) == DASH else one) for one in (value if several else [value])]
        ctx.params[name] = made if several else made[0]
    try:
        yield
    finally:
        forget_standard_input(path)


def _read_standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "- reads a picture from standard input, which is a terminal here; pipe one in, like: cat me.jpg | padinv"
        )
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if not data:
        raise InputError("nothing came through standard input; nothing was done")
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"standard input is larger than {MAX_FILE_BYTES >> 20} MiB; nothing was done")
    return data


def _one(ctx: Any, invoke: Callable[[Any], Any], target: Path, folder: Path) -> Any:
    """Run the command for one picture and deliver it."""
    _check_use(ctx, target)
    kind = _kind(ctx, target)
    results = folder / "results"
    ctx.params.update(out=results)
    for name, value in (("sheet", False), ("report", False), ("format", "png")):
        if name in ctx.params:
            ctx.params[name] = value
    settings.open_report, settings.summary = False, False
    code = 0
    said = StringIO()  # standard output may be the picture's
    try:
        with redirect_stdout(said):
            invoke(ctx)
    except typer.Exit as stop:
        code = stop.exit_code
    for line in said.getvalue().splitlines():
        say(line)
    if code not in (0, 3):
        raise typer.Exit(code)
    data = _finished(_only_result(results, bool(ctx.params.get("paste_back"))), kind)
    if str(target) == DASH:
        _write_standard_output(data)
    else:
        _write(target, data, overwrite=bool(ctx.params.get("overwrite")))
        if not settings.quiet:
            say(f"wrote {target}")
    raise typer.Exit(code)


def _check_use(ctx: Any, target: Path) -> None:
    """Refuse what would make several pictures, before any work is done.

    Raises:
        UsageError
    """
    for name, allowed in _REFUSED.items():
        if name in ctx.params and ctx.params[name] not in allowed:
            option = "json" if name == "as_json" else name.replace("_", "-")
            raise UsageError(f"--out {target} is one picture; leave out --{option}, or give a folder of results")
    several = any(mark in str(ctx.params.get("strength") or "") for mark in ",:") or ctx.params.get("space") == "each"
    for name in ("paths", "b", "target", "targets", "inversions"):
        values = _values(ctx, name)
        several = several or len(values) > 1 or any(os.path.isdir(one) or _is_pattern(one) for one in values)
    if several or len(_values(ctx, "target") + _values(ctx, "targets")) > 1 or os.path.isdir(str(ctx.params.get("a"))):
        raise UsageError(f"--out {target} is one picture, and this makes several; give a folder, like --out results")
    if str(target) == DASH and sys.stdout.isatty():
        raise UsageError(
            "the picture would go to a terminal; redirect it into a file (> b.png), or name one with --out b.png"
        )
    if os.path.lexists(target) and not ctx.params.get("overwrite") and read_origin(target) is None:
        raise UsageError(f"{target} exists and is not padinv's, so nothing was done; replace it with --overwrite")


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not os.path.lexists(text)


def _kind(ctx: Any, target: Path) -> str:
    """'png', 'jpg' or 'webp'.

    Raises:
        UsageError: --format and the file's suffix disagree.
    """
    source = ctx.get_parameter_source("format") if "format" in ctx.params else None
    given = ctx.params["format"] if source is not None and source.name != "DEFAULT" else None
    if str(target) == DASH:
        return given or "png"
    kind = SUFFIXES[target.suffix.lower()]
    if given not in (None, kind):
        raise UsageError(f"--out {target} and --format {given} disagree; leave --format out")
    return kind


def _only_result(results: Path, pasted: bool) -> bytes:
    """The picture that the command made: with --paste-back, the whole photograph.

    Raises:
        InputError: there is none. UsageError: there are several.
    """
    log = results / RESULTS
    records = [parse_json(line) for line in log.read_bytes().splitlines()] if log.exists() else []
    files = [
        entry["file"]
        for record in records
        for kind, entry in record["outputs"].items()
        if kind != "inversion" and (kind == "photo") == pasted
    ]
    if len(files) > 1:
        raise UsageError(f"this makes {len(files)} pictures; give a folder for them, like --out results")
    if not files:
        raise InputError("no picture was made, so nothing was written")
    return (results / str(files[0])).read_bytes()


def _finished(data: bytes, kind: str) -> bytes:
    """A result of the command in another format, with all that it says about itself."""
    return data if kind == "png" else converted(data, kind, signer())


def _write(target: Path, data: bytes, *, overwrite: bool) -> None:
    """Write the picture, unless another one stands there.

    Raises:
        UsageError: it does. OutputError: it cannot be written.
    """
    if os.path.lexists(target) and not overwrite:
        found, mine = read_origin(target), origin_of(data)
        if found is None or mine is None or found.owner != mine.owner:
            raise UsageError(
                f"{target} exists and is not a result of the same command and input, so it was left alone; "
                "replace it with --overwrite"
            )
    write_bytes(target, data)


def _write_standard_output(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the picture could not be written to standard output: {error.strerror or error}") from error
