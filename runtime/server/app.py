"""The REST service of `padinv serve`: routes, errors as JSON, health, metrics, and a page of its own for OpenAPI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from padinv.runtime.editing.gallery import gallery_directions
from padinv.runtime.errors import BackendError, BundleError, InputError, MismatchError, PadInvError, UsageError
from padinv.runtime.model import Model
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.server import schemas
from padinv.runtime.server.batch_queue import ClosedError
from padinv.runtime.server.gate import LOOPBACK_NAMES, App, Gate
from padinv.runtime.server.limits import Limits
from padinv.runtime.server.prometheus import Metrics
from padinv.runtime.server.requests import answered, described, parsed
from padinv.runtime.server.service import Service

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Problem, "description": what}
    for status, what in {
        400: "The request itself is wrong.",
        401: "The token is missing.",
        403: "The token is wrong, or a page of another site asked.",
        408: "The request arrived too slowly.",
        413: "The request is too large.",
        422: "A file cannot be used: not a picture, damaged, too large, of another model.",
        429: "Too many requests are in progress; ask again after Retry-After seconds.",
        503: "The service is stopping.",
        504: "The answer took too long.",
    }.items()
}

# What says nothing about anybody's pictures, and what a browser without a token must reach.
OPEN_PATHS = frozenset({"/health", "/docs", "/docs/page.css", "/docs/page.js", "/openapi.json"})


def status_of(error: BaseException) -> int:
    """The HTTP status that says what kind of error this is."""
    if isinstance(error, UsageError):
        return 400
    if isinstance(error, ClosedError):
        return 503
    if isinstance(error, (InputError, MismatchError)):
        return 422
    return 500


def create_app(
    model: Model,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: tuple[str, ...] | None = LOOPBACK_NAMES,
    origins: tuple[str, ...] = (),
    directions: dict[str, Any] | None = None,
    version: str = "",
    marking: Marking | None = None,
) -> App:
    """The service for a model, as an ASGI application.

    Args:
        limits: see `Limits`.
        token: what every request must present, except /health; None: open to all who reach the address.
        hosts: names in the Host header that are served; None: any.
        origins: origins whose pages may ask, besides our own.
        directions: name -> Direction, what /v1/edit knows by name; None: those that the model ships.
        version: of padinv, which the API's description names.
        marking: how pictures are marked; None: with the request.
    """
    limits = limits or Limits()
    metrics = Metrics()
    known = gallery_directions(model.bundle) if directions is None else directions
    service = Service(model, limits=limits, directions=known, on_run=metrics.ran, marking=marking)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(
        title="padinv",
        version=version or "0",
        description="Invert photographs into latent codes and padding, edit them, and generate pictures.",
        docs_url=None,  # FastAPI's own page loads its scripts from another site
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    gate = Gate(app, limits, token=token, hosts=hosts, origins=origins, open_paths=OPEN_PATHS)
    gate.on_refused = lambda status: metrics.answered("(refused)", status)
    metrics.watch(lambda: gate.in_progress, lambda: len(service.queue))
    add_error_answers(app)
    _add_verbs(app, service, metrics, limits)
    _add_about(app, service, metrics, version)
    return gate


def add_error_answers(app: FastAPI) -> None:
    """Every error is a JSON object with one sentence, and no traceback."""

    @app.exception_handler(PadInvError)
    async def refuse(request: Request, error: PadInvError) -> Response:
        return JSONResponse({"error": str(error)}, status_of(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": f"something went wrong inside padinv ({type(error).__name__})"}, 500)


def _add_verbs(app: FastAPI, service: Service, metrics: Metrics, limits: Limits) -> None:
    async def run(path: str, work: Awaitable[Any]) -> Any:
        with metrics.timed(path):
            try:
                answer = await asyncio.wait_for(work, limits.answer_seconds)
            except asyncio.TimeoutError:
                metrics.answered(path, 504)
                raise HTTPException(504, f"no answer within {limits.answer_seconds:g} seconds") from None
            except PadInvError as error:
                metrics.answered(path, status_of(error))
                raise
            metrics.answered(path, 200)
            return answer

    def verb(
        name: str, form: type[schemas.Strict], work: Callable[[Any], Awaitable[schemas.Answer]], what: str
    ) -> None:
        path = f"/v1/{name}"

        @app.post(
            path, response_model=schemas.Answer, responses=PROBLEMS, openapi_extra=described(form), summary=what,
            operation_id=name,
        )  # fmt: skip
        async def answer(request: Request) -> Response:
            async def whole() -> schemas.Answer:
                return await work(await parsed(request, form))

            return answered(request, await run(path, whole()))

    verb("invert", schemas.InvertRequest, service.invert, "Invert a photograph")
    verb("edit", schemas.EditRequest, service.edit, "Add directions to a photograph or an inversion")
    verb("blend", schemas.BlendRequest, service.blend, "Latents of A with the padding of B")

    @app.post(
        "/v1/generate", response_model=schemas.Pictures, responses=PROBLEMS, summary="Sample or render pictures",
        openapi_extra=described(schemas.GenerateRequest), operation_id="generate",
    )  # fmt: skip
    async def generate(request: Request) -> Response:
        async def whole() -> schemas.Pictures:
            return await service.generate(await parsed(request, schemas.GenerateRequest))

        made: schemas.Pictures = await run("/v1/generate", whole())
        return JSONResponse(made.model_dump(mode="json"))


def _add_about(app: FastAPI, service: Service, metrics: Metrics, version: str) -> None:
    model = service.model

    @app.get("/health", summary="Whether the service can work")
    def health() -> dict[str, Any]:
        try:
            backend = model.session("generator").backend
        except (BundleError, BackendError) as error:
            raise HTTPException(503, str(error)) from error
        return {"status": "ok", "backend": backend}

    @app.get("/v1/model", summary="Which model is served, and what it can do")
    def about() -> dict[str, Any]:
        return {
            "name": model.bundle.name,
            "generator": model.generator_hash,
            "resolution": model.spec.resolution,
            "layers": model.spec.num_layers,
            "padding": list(model.spec.pad_resolutions),
            "template": model.spec.template,
            "directions": sorted(service.directions),
            "version": version,
        }

    @app.get("/metrics", include_in_schema=False)
    def prometheus() -> Response:
        return Response(metrics.text(), media_type=metrics.content_type)

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return _asset("index.html", "text/html")

    @app.get("/docs/page.css", include_in_schema=False)
    def style() -> Response:
        return _asset("page.css", "text/css")

    @app.get("/docs/page.js", include_in_schema=False)
    def script() -> Response:
        return _asset("page.js", "text/javascript")


def _asset(name: str, kind: str) -> Response:
    data = files("padinv.runtime.server").joinpath("openapi_page", name).read_bytes()
    return Response(data, media_type=kind)
