"""Reading a request as JSON or as a multipart form, and answering in the form that was asked for."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException

from padinv.runtime.errors import UsageError
from padinv.runtime.server import schemas

Form = TypeVar("Form", bound=BaseModel)
MAX_FIELDS = 64

JSON = "application/json"
MULTIPART = "multipart/form-data"


def described(form: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's description of a request body that comes in either form."""
    schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}, MULTIPART: {"schema": schema}}}}


async def parsed(request: Request, form: type[Form]) -> Form:
    """The body of a request as `form`.

    In a multipart form, files come as files; lists and objects (`seeds`, `directions`) as JSON text.

    Raises:
        UsageError: a body of another kind, a field that does not exist, or a value out of range.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        fields = await _form_fields(request, form)
    elif kind == JSON:
        try:
            fields = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise UsageError("the body is not valid JSON") from error
        if not isinstance(fields, dict):
            raise UsageError("the body must be a JSON object")
    else:
        raise UsageError(f"send {JSON} or {MULTIPART}, not {kind[:60] or 'a body without a type'}")
    return checked(form, fields)


def checked(form: type[Form], fields: dict[str, Any]) -> Form:
    """`fields` as `form`.

    Raises:
        UsageError: the sentence names the first field that is wrong.
    """
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"]) or "the request"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(f"{where}: {message[0].lower()}{message[1:]}") from error


async def _form_fields(request: Request, form: type[BaseModel]) -> dict[str, Any]:
    try:
        sent = await request.form(max_files=8, max_fields=MAX_FIELDS)
    except StarletteHTTPException as error:
        raise UsageError(f"the form cannot be read: {error.detail}") from error
    except ValueError as error:  # older versions of Starlette let the parser's own error through
        raise UsageError(f"the form cannot be read: {str(error)[:160]}") from error
    fields: dict[str, Any] = {}
    for name, value in sent.multi_items():
        if name in fields:
            raise UsageError(f"{name[:60]} was sent more than once")
        if isinstance(value, UploadFile):
            fields[name] = await value.read()
        elif value[:1] in "[{" and value:
            try:
                fields[name] = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{name[:60]}: this is not valid JSON") from error
        else:
            fields[name] = value
    return fields


def answered(request: Request, answer: schemas.Answer) -> Response:
    """JSON, or the picture or the inversion alone where the client asks for that."""
    wanted = request.headers.get("accept", "")
    if "image/png" in wanted and JSON not in wanted:
        return Response(answer.photo or answer.image, media_type="image/png")
    if "application/octet-stream" in wanted and JSON not in wanted:
        return Response(answer.inversion, media_type="application/octet-stream")
    return JSONResponse(answer.model_dump(mode="json"))
