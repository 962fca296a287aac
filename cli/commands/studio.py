"""`padinv studio`: edit photographs in the browser, on this machine."""

from __future__ import annotations

import os
import secrets
import threading
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.provenance import marking
from padinv.cli.server_common import announce_address, open_app, require_server_packages, run_app, served_hosts
from padinv.runtime.errors import InputError
from padinv.runtime.model import Model
from padinv.runtime.server.limits import MIB, Limits

if TYPE_CHECKING:
    from padinv.runtime.refining import Budget, Refiner
    from padinv.runtime.studio.app import Opened
    from padinv.runtime.studio.refining import MakeRefiner


def command(
    *,
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="[PHOTO...]", help="Photographs to open; more can be dropped.")
    ] = None,
    model: opt.ModelOption = None,
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="Address to listen on; with others than 127.0.0.1 people on "
                     "other machines who know the token can come in."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in your browser.")] = True,
    max_upload: Annotated[int, typer.Option("--max-upload", min=1, metavar="MIB", help="Size of one file.")] = 64,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, metavar="MILLIONS", help="Size of one picture in million pixels.")
    ] = Limits().pixels // 1_000_000,
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
) -> None:  # fmt: skip
    """Edit photographs in the browser: directions, blends, a padding brush, custom edits, interpolation.

    Everything stays on this machine. The page is reachable from this machine alone, with the token in its address, and
    nothing is kept after the studio ends: save what you want to keep.
    """
    require_server_packages("studio", "padinv studio")
    from padinv import __version__
    from padinv.runtime.studio.app import create_app

    limits = Limits(upload_bytes=max_upload * MIB, pixels=max_pixels * 1_000_000)
    opened = [_read(path, max_upload) for path in photos or []]
    loaded = Model.load(model, backend, threads, precision, device)
    token = secrets.token_urlsafe(24)
    hosts = served_hosts(host, [])
    app = open_app(
        lambda: create_app(
            loaded, token=token, limits=limits, hosts=hosts, photos=opened,
            model_option=None if model is None else str(model), version=__version__, marking=marking(loaded.bundle),
            make_refiner=_refiner(loaded) if find_spec("torch") else None,
        )
    )  # fmt: skip
    for one in opened:  # a file that is not a picture is named now, not when the page asks for it
        app.app.state.service.open(one.data, one.name)
    announce = announce_address("studio for", host, open_to_all=False, model=loaded, suffix=f"?token={token}")

    def started(address: str) -> None:
        announce(address)
        if browser:
            _show(f"{address}?token={token}")

    run_app(app, host, port, limits, started)
    raise typer.Exit(os.EX_OK)


def _refiner(model: Model) -> MakeRefiner:
    """What refines photographs; torch is imported only when somebody asks for it."""

    def make(budget: Budget) -> Refiner:
        from padinv.refiner import Refiner as TorchRefiner
        from padinv.runtime.errors import InputError

        refiner = TorchRefiner(budget)
        try:
            refiner.check(model)
        except InputError:  # the weights of LPIPS were not fetched: the squared error alone needs none
            return TorchRefiner(budget, loss="pixel")
        return refiner

    return make


def _read(path: Path, max_upload: int) -> Opened:
    """A photograph of the command line; whether it is a picture is seen when it is opened.

    Raises:
        InputError: missing, or too large.
    """
    from padinv.runtime.studio.app import Opened as OpenedPhoto

    try:
        if path.stat().st_size > max_upload << 20:
            raise InputError(
                f"{path} is larger than {max_upload} MiB, so it was not opened; allow more with --max-upload"
            )
        return OpenedPhoto(path.name, str(path), path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _show(address: str) -> None:
    """Open the page, where there is a screen; the address is printed in any case."""
    # Some browsers block until they are closed; the server must run meanwhile.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
