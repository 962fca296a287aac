"""What `padinv serve` and `padinv studio` share: the packages they need, addresses, and the run itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import typer

from padinv.cli.console import say
from padinv.runtime.errors import MissingPackageError

if TYPE_CHECKING:
    from padinv.runtime.model import Model
    from padinv.runtime.server.limits import Limits

PACKAGES = {  # import name -> name on the package index
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}


def require_server_packages(extra: str, what: str) -> None:
    """Refuse in one sentence where a package of the extra is missing.

    Raises:
        MissingPackageError
    """
    for name, package in PACKAGES.items():
        if find_spec(name) is None:
            raise MissingPackageError(package, extra, what)


def served_hosts(host: str, allowed: Sequence[str]) -> tuple[str, ...] | None:
    """Names that the Host header may carry; None: any, where the service listens to the world and names none."""
    from padinv.runtime.server.gate import LOOPBACK_NAMES, host_name, is_loopback

    names = tuple(host_name(name) for name in allowed)
    if is_loopback(host):
        return (*LOOPBACK_NAMES, *names)
    return (*LOOPBACK_NAMES, host, *names) if names else None


def announce_address(
    verb: str, host: str, *, open_to_all: bool, model: Model, suffix: str = ""
) -> Callable[[str], None]:
    """A function that prints the address once the service answers, with a warning where it is open to others."""
    from padinv.runtime.server.gate import is_loopback

    def announce(address: str) -> None:
        if not is_loopback(host):
            doubt = " and nobody needs a token" if open_to_all else ""
            say(
                f"warning: this address is reachable from other machines{doubt}, and the connection is not encrypted; "
                "put a proxy with TLS in front of it"
            )
        typer.echo(f"{verb} {model.bundle.name} at {address}{suffix}")
        typer.echo("stop it with Ctrl-C")

    return announce


def open_app(make: Callable[[], Any]) -> Any:
    """Make the application, and run its model once: a broken model is found before an address is printed."""
    app = make()
    app.app.state.service.warm_up()
    return app


def run_app(app: Any, host: str, port: int, limits: Limits, announce: Callable[[str], None]) -> None:
    """Serve until a signal comes; what was accepted is finished.

    Raises:
        OutputError: the address cannot be used.
    """
    from padinv.runtime.server.running import make_server, open_socket

    listening = open_socket(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    with listening:
        make_server(app, limits, lambda: announce(address)).run(sockets=[listening])
