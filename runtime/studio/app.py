"""The studio's web application: its page, and the calls that the page makes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse

from padinv.runtime.editing.gallery import gallery_directions
from padinv.runtime.model import Model
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.server.app import add_error_answers
from padinv.runtime.server.gate import LOOPBACK_NAMES, Gate
from padinv.runtime.server.limits import Limits
from padinv.runtime.studio.refining import MakeRefiner, Refinements
from padinv.runtime.studio.routes import add_routes
from padinv.runtime.studio.session import NamedDirection, NotFoundError, Sessions
from padinv.runtime.studio.workbench import Workbench

KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Opened:
    """A photograph named on the command line."""

    name: str
    path: str
    data: bytes


def create_app(
    model: Model,
    *,
    token: str,
    limits: Limits | None = None,
    hosts: tuple[str, ...] | None = LOOPBACK_NAMES,
    photos: Sequence[Opened] = (),
    model_option: str | None = None,
    version: str = "",
    marking: Marking | None = None,
    make_refiner: MakeRefiner | None = None,
) -> Gate:
    """The studio for a model, as an ASGI application.

    Args:
        token: what the start address carries; the page then holds it in a cookie that no script can read.
        limits: see `Limits`.
        hosts: names in the Host header that are served; None: any.
        photos: opened in every new session.
        model_option: what `--model` said, for the commands that the studio prints.
        marking: how pictures that are saved are marked; None: with the command that makes the same.
        make_refiner: a refiner for a budget, such as `padinv.Refiner`, which needs torch; None: none is offered.
    """
    limits = limits or Limits()
    bench = Workbench(model, limits, marking)
    sessions = Sessions(_gallery(model))
    cookie = f"padinv_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    app = FastAPI(title="padinv studio", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.service = bench
    app.state.sessions = sessions
    add_error_answers(app)
    _add_page(app, token, cookie)
    refinements = Refinements(model, make_refiner)
    add_routes(app, bench, sessions, refinements, photos=photos, model_option=model_option, version=version)

    @app.exception_handler(NotFoundError)
    async def not_found(request: Request, error: NotFoundError) -> Response:
        return JSONResponse({"error": str(error)}, 404)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 400)

    return Gate(app, limits, token=token, cookie=cookie, hosts=hosts, open_paths=frozenset({"/"}))


def _gallery(model: Model) -> dict[str, NamedDirection]:
    """The directions that the model ships, by identifiers made from their names."""
    found = {}
    for name, direction in gallery_directions(model.bundle).items():
        note = direction.info.get("unit")
        identifier = hashlib.sha256(name.encode()).hexdigest()[:16]
        found[identifier] = NamedDirection(name, direction, "gallery", note if isinstance(note, str) else None)
    return found


def _add_page(app: FastAPI, token: str, cookie: str) -> None:
    """The page and its parts. They are read once, by name: no address reaches the file system."""
    folder = files("padinv.runtime.studio").joinpath("web")
    parts = {part.name: part.read_bytes() for part in folder.iterdir() if part.name[part.name.rfind(".") :] in KINDS}

    @app.get("/")
    def start(request: Request) -> Response:
        given = request.query_params.get("token")
        if given is not None:
            if not hmac.compare_digest(given.encode(), token.encode()):
                return PlainTextResponse("The token is wrong; it changes with every start.", 403)
            answer = RedirectResponse("/", 303)
            answer.set_cookie(cookie, token, httponly=True, samesite="strict", path="/")
            return answer
        if not hmac.compare_digest(request.cookies.get(cookie, "").encode(), token.encode()):
            return PlainTextResponse("Open the address that padinv studio printed: it carries a token.", 401)
        return Response(parts["index.html"], media_type=KINDS[".html"])

    @app.get("/web/{name}")
    def part(name: str) -> Response:
        if name not in parts:
            raise HTTPException(404, "there is no such file")
        return Response(parts[name], media_type=KINDS[name[name.rfind(".") :]])

    @app.get("/api/alive")
    def alive() -> dict[str, Any]:
        return {"status": "ok"}
