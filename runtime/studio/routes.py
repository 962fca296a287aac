"""The calls that the studio's page makes. Things are named by identifiers; no call takes a path."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import FastAPI, File, Form, Request, Response, UploadFile

from padinv.runtime.editing.saved_edit import SavedEdit
from padinv.runtime.errors import UsageError
from padinv.runtime.server.requests import checked
from padinv.runtime.server.uploads import encode_png, encode_webp, safe_name, unpack_direction
from padinv.runtime.studio import exports
from padinv.runtime.studio.commands import Command, command
from padinv.runtime.studio.edit_state import EditState, Interpolation, Labelled, Pair, Placing, Refinement
from padinv.runtime.studio.photo import Photo
from padinv.runtime.studio.refining import Refinements
from padinv.runtime.studio.session import NamedDirection, NotFoundError, Session, Sessions
from padinv.runtime.studio.workbench import Workbench

if TYPE_CHECKING:
    from padinv.runtime.studio.app import Opened

SESSION = "/api/sessions/{sid}"
PHOTO = SESSION + "/photos/{pid}"
Sent = Annotated[UploadFile, File()]


class _Studio:
    """What the calls share."""

    def __init__(self, bench: Workbench, sessions: Sessions, model_option: str | None) -> None:
        self.bench, self.sessions, self.model_option = bench, sessions, model_option

    def found(self, sid: str, pid: str) -> tuple[Session, Photo]:
        """A session and one of its photographs."""
        session = self.sessions.get(sid)
        return session, session.photo(pid)

    def edit(self, session: Session, state: EditState) -> SavedEdit:
        """The controls as an edit."""
        return session.saved_edit(state, self.bench.model.generator_hash)

    def picture(self, session: Session, photo: Photo, state: EditState) -> np.ndarray:
        """uint8 RGB [R, R, 3]: the square in a state; those of the last states are not drawn again."""
        edit = self.edit(session, state)
        key = (state.model_dump_json(), None if state.blend is None else session.photo(state.blend.photo).version)
        pixels = photo.rendered(key)
        if pixels is None:
            pixels = self.bench.picture(photo, edit)
            photo.keep(key, pixels)
        return pixels

    def command(self, session: Session, photo: Photo, *, paste_back: bool) -> Command:
        """The command line for a photograph as it is now."""
        gallery = frozenset(one.name for one in session.gallery.values())
        edit = self.edit(session, photo.history.now)
        return command(photo, edit, gallery=gallery, model=self.model_option, paste_back=paste_back)

    def describe(self, session: Session, photo: Photo) -> dict[str, Any]:
        """A photograph for the page, with its commands."""
        commands = {
            name: {"text": one.text, "files": one.files, "result": one.result}
            for name, one in (
                ("picture", self.command(session, photo, paste_back=False)),
                ("photo", self.command(session, photo, paste_back=True)),
            )
        }
        return {**photo.describe(), "commands": commands}


def add_routes(
    app: FastAPI,
    bench: Workbench,
    sessions: Sessions,
    refinements: Refinements,
    *,
    photos: Sequence[Opened] = (),
    model_option: str | None = None,
    version: str = "",
) -> None:
    """Add all calls to the application."""
    studio = _Studio(bench, sessions, model_option)
    _add_sessions(app, studio, photos, version, refinements.available)
    _add_photos(app, studio)
    _add_edits(app, studio)
    _add_directions(app, studio, refinements)
    _add_downloads(app, studio)


def _add_sessions(app: FastAPI, studio: _Studio, photos: Sequence[Opened], version: str, refines: bool) -> None:
    spec = studio.bench.model.spec
    model = {
        "name": studio.bench.model.bundle.name,
        "resolution": spec.resolution,
        "layers": spec.num_layers,
        "padding": list(spec.pad_resolutions),
        "template": spec.template,
        "version": version,
        "refines": refines,
        "max_pixels": studio.bench.limits.pixels,
        "max_bytes": studio.bench.limits.upload_bytes,
    }

    def described(session: Session) -> dict[str, Any]:
        return {
            "session": session.id,
            "model": model,
            "directions": [_direction(identifier, one) for identifier, one in session.directions.items()],
            "photos": [studio.describe(session, photo) for photo in session.photos.values()],
        }

    @app.post("/api/sessions")
    def open_session() -> dict[str, Any]:
        session = studio.sessions.open()
        for one in photos:
            session.add_photo(studio.bench.open(one.data, one.name, path=one.path))
        return described(session)

    @app.get(SESSION)
    def resume(sid: str) -> dict[str, Any]:
        return described(studio.sessions.get(sid))

    @app.delete(SESSION)
    def end(sid: str) -> dict[str, Any]:
        studio.sessions.close(sid)
        return {"ended": True}


def _add_photos(app: FastAPI, studio: _Studio) -> None:
    @app.post(SESSION + "/photos")
    def add(sid: str, photo: Sent) -> dict[str, Any]:
        session = studio.sessions.get(sid)
        data = photo.file.read()
        session.check_room(len(data))
        opened = studio.bench.open(data, safe_name(photo.filename))
        session.add_photo(opened)
        return studio.describe(session, opened)

    @app.delete(PHOTO)
    def remove(sid: str, pid: str) -> dict[str, Any]:
        session, photo = studio.found(sid, pid)
        users = [
            one.name for one in session.photos.values()
            if one.history.now.blend is not None and one.history.now.blend.photo == pid
        ]  # fmt: skip
        if users:
            raise UsageError(f"{users[0]} borrows from {photo.name}; end the blend first")
        del session.photos[pid]
        studio.bench.forget(photo)
        return {"removed": pid}

    @app.post(PHOTO + "/placing")
    def place(sid: str, pid: str, placing: Placing) -> dict[str, Any]:
        session, photo = studio.found(sid, pid)
        again = studio.bench.open(photo.data, photo.name, placing, photo.path)
        again.id, again.history = photo.id, photo.history
        studio.bench.forget(photo)
        session.photos[pid] = again
        return studio.describe(session, again)

    @app.get(PHOTO + "/shown.jpg")
    def shown(sid: str, pid: str) -> Response:
        return Response(studio.found(sid, pid)[1].shown, media_type="image/jpeg")

    @app.get(PHOTO + "/thumb.jpg")
    def thumb(sid: str, pid: str) -> Response:
        return Response(studio.found(sid, pid)[1].thumb, media_type="image/jpeg")

    @app.get(PHOTO + "/input.png")
    def given(sid: str, pid: str) -> Response:
        return Response(encode_png(studio.found(sid, pid)[1].pixels), media_type=exports.PNG)

    @app.get(PHOTO + "/plain.png")
    def plain(sid: str, pid: str) -> Response:
        return Response(encode_png(studio.found(sid, pid)[1].image), media_type=exports.PNG)


def _add_edits(app: FastAPI, studio: _Studio) -> None:
    @app.post(PHOTO + "/preview")
    def preview(sid: str, pid: str, state: EditState) -> Response:
        session, photo = studio.found(sid, pid)
        started = time.perf_counter()
        data = encode_webp(studio.picture(session, photo, state))
        spent = f"model;dur={(time.perf_counter() - started) * 1000:.1f}"
        return Response(data, media_type=exports.WEBP, headers={"server-timing": spent})

    @app.post(PHOTO + "/state")
    def set_state(sid: str, pid: str, step: Labelled) -> dict[str, Any]:
        session, photo = studio.found(sid, pid)
        edit = studio.edit(session, step.state)
        studio.bench.edited(photo, edit)  # what cannot be applied must not enter the history
        with session.lock:
            photo.history.add(step.label, step.state)
        return studio.describe(session, photo)

    @app.post(PHOTO + "/history/{where}")
    def travel(sid: str, pid: str, where: str) -> dict[str, Any]:
        session, photo = studio.found(sid, pid)
        with session.lock:
            if where == "undo":
                photo.history.undo()
            elif where == "redo":
                photo.history.redo()
            elif where.isascii() and where.isdigit() and len(where) < 6:
                photo.history.go_to(int(where))
            else:
                raise UsageError("the history goes to undo, redo, or the number of a step")
        return studio.describe(session, photo)

    @app.post(SESSION + "/masks")
    def add_mask(sid: str, mask: Sent) -> dict[str, Any]:
        session = studio.sessions.get(sid)
        values = studio.bench.mask(mask.file.read())
        with session.lock:
            return {"id": session.add_mask(values), "share": float(values.mean())}

    @app.get(SESSION + "/masks/{mid}")
    def mask(sid: str, mid: str) -> Response:
        grey = (studio.sessions.get(sid).mask(mid) * 255).round().astype("uint8")
        return Response(encode_png(grey[..., None].repeat(3, axis=2)), media_type=exports.PNG)


def _add_directions(app: FastAPI, studio: _Studio, refinements: Refinements) -> None:
    def _added(session: Session, named: NamedDirection) -> dict[str, Any]:
        with session.lock:
            identifier = session.add_direction(named)
        return _direction(identifier, named)

    @app.post(SESSION + "/directions")
    def add(sid: str, direction: Sent) -> dict[str, Any]:
        session = studio.sessions.get(sid)
        name = safe_name(direction.filename, "direction").removesuffix(".safetensors")
        loaded = unpack_direction(direction.file.read(), studio.bench.model, name)
        if loaded.space is None:
            loaded.info["space"] = "both"
        return _added(session, NamedDirection(loaded.name or name, loaded, "file"))

    @app.post(PHOTO + "/pair")
    def learn(
        sid: str, pid: str, edited: Sent, name: Annotated[str, Form()] = "custom edit",
        space: Annotated[str, Form()] = "auto",
    ) -> dict[str, Any]:  # fmt: skip
        session, photo = studio.found(sid, pid)
        named, about = studio.bench.learn(photo, edited.file.read(), checked(Pair, {"name": name, "space": space}))
        pictures = {space: exports.data_url(pixels) for space, pixels in about.pop("pictures").items()}
        return {**_added(session, named), "evidence": {**about, "pictures": pictures}}

    @app.post(PHOTO + "/refine")
    def refine(sid: str, pid: str, how: Refinement) -> dict[str, Any]:
        session, photo = studio.found(sid, pid)
        return _added(session, refinements.refine(photo, how.steps))

    @app.get(PHOTO + "/refine")
    def progress(sid: str, pid: str) -> dict[str, Any]:
        return {"done": refinements.progress(studio.found(sid, pid)[1])}

    @app.delete(SESSION + "/directions/{did}")
    def remove(sid: str, did: str) -> dict[str, Any]:
        session = studio.sessions.get(sid)
        if did not in session.own_directions:
            raise NotFoundError("this direction is not one of your own")
        for photo in session.photos.values():
            if photo.history.now.directions.get(did):
                raise UsageError(f"{photo.name} uses this direction; set its slider to 0 first")
        del session.own_directions[did]
        return {"removed": did}

    @app.get(SESSION + "/directions/{did}/file")
    def download(sid: str, did: str) -> Response:
        session = studio.sessions.get(sid)
        if did not in session.directions:
            raise NotFoundError("this direction is not in the session")
        return _attached(exports.direction_file(session.directions[did]))


def _add_downloads(app: FastAPI, studio: _Studio) -> None:
    @app.get(PHOTO + "/export/{what}")
    def export(sid: str, pid: str, what: str) -> Response:
        session, photo = studio.found(sid, pid)
        how = studio.command(session, photo, paste_back=what == "photo")
        return _attached(exports.export(studio.bench, photo, studio.edit(session, photo.history.now), how, what))

    @app.get(PHOTO + "/way.png")
    def way(sid: str, pid: str, request: Request) -> Response:
        session, photo, wanted = _way(sid, pid, request)
        frames = studio.bench.frames(photo, session.photo(wanted.photo), wanted)
        return Response(exports.strip_png(frames), media_type=exports.PNG)

    @app.get(PHOTO + "/way.webp")
    def animation(sid: str, pid: str, request: Request) -> Response:
        session, photo, wanted = _way(sid, pid, request)
        return _attached(exports.animation(studio.bench, photo, session.photo(wanted.photo), wanted))

    def _way(sid: str, pid: str, request: Request) -> tuple[Session, Photo, Interpolation]:
        session, photo = studio.found(sid, pid)
        return session, photo, checked(Interpolation, dict(request.query_params))


def _direction(identifier: str, one: NamedDirection) -> dict[str, Any]:
    return {"id": identifier, "name": one.name, "origin": one.origin, "note": one.note, "space": one.direction.space}


def _attached(download: exports.Download) -> Response:
    headers = {"content-disposition": exports.attachment(download.name)}
    return Response(download.data, media_type=download.kind, headers=headers)
