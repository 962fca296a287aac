"""`padinv serve`: the same functions as a REST service."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from padinv.cli import options as opt
from padinv.cli.provenance import marking
from padinv.cli.server_common import announce_address, open_app, require_server_packages, run_app, served_hosts
from padinv.runtime.model import Model
from padinv.runtime.server.limits import MIB, Limits

DEFAULT_PORT = 8000
DEFAULTS = Limits()
MILLION = 1_000_000

HostOption = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; others than 127.0.0.1 are reachable "
                      "from elsewhere.")
]  # fmt: skip
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
MaxUploadOption = Annotated[int, typer.Option("--max-upload", min=1, metavar="MIB", help="Size of one request in MiB.")]
MaxPixelsOption = Annotated[
    int, typer.Option("--max-pixels", min=1, metavar="MILLIONS", help="Size of one picture in million pixels.")
]


def command(
    *,
    model: opt.ModelOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = DEFAULT_PORT,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="PADINV_TOKEN", help="Bearer token that requests must present."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Name under which the service is reached; may be repeated."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="ORIGIN", help="Web page that may ask, like https://example.org."),
    ] = None,
    max_requests: Annotated[
        int, typer.Option("--max-requests", min=1, help="Requests in progress; further ones are answered 429.")
    ] = DEFAULTS.requests,
    max_upload: MaxUploadOption = DEFAULTS.upload_bytes // MIB,
    max_pixels: MaxPixelsOption = DEFAULTS.pixels // MILLION,
    batch: opt.BatchOption = opt.DEFAULT_BATCH,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Time to answer one request.")
    ] = DEFAULTS.answer_seconds,
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    device: opt.DeviceOption = None,
    threads: opt.ThreadsOption = None,
) -> None:
    """Serve a model over HTTP: POST /v1/invert, /v1/edit, /v1/blend and /v1/generate; the API is described at /docs.

    Concurrent requests share runs of the model. SIGTERM and Ctrl-C end the service after the requests it has accepted.
    """
    require_server_packages("serve", "padinv serve")
    from padinv import __version__
    from padinv.runtime.server.app import create_app

    limits = Limits(
        upload_bytes=max_upload * MIB, pixels=max_pixels * MILLION, requests=max_requests,
        connections=4 * max_requests + 16, batch=batch, answer_seconds=timeout,
    )  # fmt: skip
    loaded = Model.load(model, backend, threads, precision, device)
    hosts = served_hosts(host, allow_host or [])
    app = open_app(
        lambda: create_app(
            loaded, limits=limits, token=token or None, hosts=hosts, origins=tuple(allow_origin or ()),
            version=__version__, marking=marking(loaded.bundle),
        )
    )  # fmt: skip
    announce = announce_address("serving", host, open_to_all=not token, model=loaded)
    run_app(app, host, port, limits, announce)
    raise typer.Exit(os.EX_OK)
