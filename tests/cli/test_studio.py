"""`padinv studio`, and that the commands it prints give the pictures it shows, bit for bit."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra 'studio' is not installed")
from fastapi.testclient import TestClient
from tiny_gallery import add_directions, random_direction

from padinv.runtime.demo_pictures import demo_folder
from padinv.runtime.editing import difference
from padinv.runtime.model import Model
from padinv.runtime.provenance.record import provenance_of
from padinv.runtime.studio.app import create_app

BLEND = {"layers": [0, 3], "latents": 0.6, "padding": 0.8, "resolutions": [4, 16]}


@pytest.fixture(scope="module")
def model() -> Model:
    """The built-in model: bit-equality is asked of real graphs."""
    return Model.load()


@pytest.fixture
def client(model: Model) -> Iterator[TestClient]:
    headers = {"authorization": "Bearer t"}
    with TestClient(create_app(model, token="t"), base_url="http://127.0.0.1", headers=headers) as made:
        yield made


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two photographs in the current folder: one larger than its face, saved as JPEG, and one aligned."""
    monkeypatch.chdir(tmp_path)
    face = Image.open(demo_folder() / "eileen-collins.png").convert("RGB")
    wide = Image.new("RGB", (420, 360), (90, 120, 150))
    wide.paste(face.resize((260, 260)), (110, 60))
    wide.save("me.jpg", quality=92)
    Image.open(demo_folder() / "grace-hopper.png").convert("RGB").save("other.png")
    return {name: Path(name).read_bytes() for name in ("me.jpg", "other.png")}


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def _mask() -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").save(out, "PNG")
    return out.getvalue()


def test_one_of_several_faces_is_chosen(
    client: TestClient, photos: dict[str, bytes], run_cli: Callable[..., Any]
) -> None:
    two = Image.new("RGB", (800, 380), (90, 120, 150))
    two.paste(Image.open("me.jpg"), (0, 10))  # its face has a side of 260
    two.paste(Image.open("other.png").resize((150, 150)), (540, 100))
    two.save("two.png")
    base = f"/api/sessions/{client.post('/api/sessions').json()['session']}/photos"
    opened = client.post(base, files={"photo": ("two.png", Path("two.png").read_bytes())}).json()
    assert len(opened["faces"]) == 2
    assert "choose which one" in opened["note"]
    chosen = client.post(f"{base}/{opened['id']}/placing", json={"face": 2}).json()
    assert chosen["note"] is None
    assert chosen["square"] != opened["square"]
    command = chosen["commands"]["photo"]
    assert "--face 2" in command["text"]
    assert run_cli(*shlex.split(command["text"])[1:]).code == 0
    downloaded = _pixels(client.get(f"{base}/{opened['id']}/export/photo").content)
    assert (_pixels(Path(command["result"]).read_bytes()) == downloaded).all()
    assert client.post(f"{base}/{opened['id']}/placing", json={"face": 3}).status_code == 400


@pytest.mark.parametrize("case", ["plain", "directions", "everything", "moved square"])
def test_the_printed_command_gives_the_downloaded_picture_bit_for_bit(
    client: TestClient, model: Model, photos: dict[str, bytes], run_cli: Callable[..., Any], case: str
) -> None:
    base = f"/api/sessions/{client.post('/api/sessions').json()['session']}"
    me, other = (
        client.post(f"{base}/photos", files={"photo": (name, data)}).json()["id"] for name, data in photos.items()
    )
    state: dict[str, Any] = {}
    if case in ("directions", "everything"):
        ends = model.sample([1, 2], 0.7)
        direction = difference(ends[0], ends[1])
        direction.info.update(name="drawn", space="latent")
        direction.save("drawn.safetensors")
        files = {"direction": ("drawn.safetensors", Path("drawn.safetensors").read_bytes())}
        state["directions"] = {client.post(f"{base}/directions", files=files).json()["id"]: 0.35}
    if case == "everything":
        mask = client.post(f"{base}/masks", files={"mask": ("m.png", _mask())}).json()["id"]
        state["blend"] = {**BLEND, "photo": other, "mask": mask}
    photo = f"{base}/photos/{me}"
    if case == "moved square":
        square = {"right": 0.07, "down": -0.03, "scale": 1.1, "turn": 4}
        assert client.post(f"{photo}/placing", json={"face": 1, "square": square}).status_code == 200
    described = client.post(f"{photo}/state", json={"state": state, "label": "edit"}).json()
    for what in ("picture", "photo"):
        command = described["commands"][what]
        for kind, name in command["files"].items():
            Path(name).write_bytes(client.get(f"{photo}/export/{kind}").content)
        words = shlex.split(command["text"])
        assert words[0] == "padinv"
        result = run_cli(*words[1:], "--overwrite")
        assert result.code == 0, result.err
        written, sent = Path(command["result"]).read_bytes(), client.get(f"{photo}/export/{what}").content
        assert provenance_of(sent) == provenance_of(written) is not None
        made, downloaded = _pixels(written), _pixels(sent)
        assert made.shape == downloaded.shape
        assert (made == downloaded).all(), f"{what}: {(made != downloaded).mean():.1%} of the values differ"


def test_a_gallery_direction_is_named_in_the_command(client: TestClient, photos: dict[str, bytes]) -> None:
    from padinv.runtime.editing.saved_edit import SavedEdit
    from padinv.runtime.studio.commands import command

    base = f"/api/sessions/{client.post('/api/sessions').json()['session']}"
    client.post(f"{base}/photos", files={"photo": ("-rf me.jpg", photos["me.jpg"])})
    sessions = client.app.app.state.sessions  # type: ignore[attr-defined]
    (photo,) = sessions.get(base.rsplit("/", 1)[1]).photos.values()
    edit = SavedEdit(generator_hash="", direction=object(), strengths={"age": -0.3, "smile": 0.8})  # type: ignore[arg-type]
    made = command(photo, edit, gallery=frozenset({"smile", "age", "pose"}), paste_back=False)
    assert made.text == "padinv edit age=-0.3,smile=0.8 './-rf me.jpg' --out padinv-out/studio"
    assert made.files == {}
    own = command(photo, edit, gallery=frozenset({"smile"}), paste_back=True)
    assert own.files == {"edit": "-rf me.jpg.edit.safetensors"}


def test_the_animation_is_that_of_the_command(
    client: TestClient, photos: dict[str, bytes], run_cli: Callable[..., Any]
) -> None:
    base = f"/api/sessions/{client.post('/api/sessions').json()['session']}/photos"
    me, other = (client.post(base, files={"photo": pair}).json()["id"] for pair in photos.items())
    animation = client.get(f"{base}/{me}/way.webp", params={"photo": other, "space": "latent", "steps": 5}).content
    result = run_cli("interpolate", "me.jpg", "other.png", "--space", "latent", "--steps", 5, "--out", "out")
    assert result.code == 0, result.err
    made, shown = (
        Image.open(io.BytesIO(data)) for data in (Path("out/me.jpg--other.png.webp").read_bytes(), animation)
    )
    assert made.n_frames == shown.n_frames == 8  # type: ignore[attr-defined]
    for frame in range(8):
        made.seek(frame)
        shown.seek(frame)
        assert (np.asarray(made) == np.asarray(shown)).all(), frame


def test_the_models_own_directions_need_no_file(
    tiny_bundle: Path, photos: dict[str, bytes], run_cli: Callable[..., Any]
) -> None:
    names = {"smile": random_direction(1, "latent", "smile"), "pose": random_direction(2, "padding", "pose")}
    bundle = add_directions(tiny_bundle, names)
    app = create_app(Model.load(bundle), token="t", model_option=str(bundle))
    with TestClient(app, base_url="http://127.0.0.1", headers={"authorization": "Bearer t"}) as client:
        opened = client.post("/api/sessions").json()
        known = {one["name"]: one["id"] for one in opened["directions"]}
        base = f"/api/sessions/{opened['session']}/photos"
        pid = client.post(base, files={"photo": ("me.jpg", photos["me.jpg"])}).json()["id"]
        state = {"directions": {known["smile"]: 0.7, known["pose"]: -1.25}}
        described = client.post(f"{base}/{pid}/state", json={"state": state}).json()
        command = described["commands"]["picture"]
        downloaded = _pixels(client.get(f"{base}/{pid}/export/picture").content)
    assert command["files"] == {}
    words = shlex.split(command["text"])
    assert words[1:4] == ["edit", "pose=-1.25,smile=0.7", "me.jpg"]
    assert run_cli(*words[1:]).code == 0
    assert (_pixels(Path(command["result"]).read_bytes()) == downloaded).all()


def test_a_saved_edit_takes_no_further_options(
    client: TestClient, photos: dict[str, bytes], run_cli: Callable[..., Any]
) -> None:
    base = f"/api/sessions/{client.post('/api/sessions').json()['session']}"
    pid = client.post(f"{base}/photos", files={"photo": ("me.jpg", photos["me.jpg"])}).json()["id"]
    Path("e.safetensors").write_bytes(client.get(f"{base}/photos/{pid}/export/edit").content)
    result = run_cli("edit", "e.safetensors", "me.jpg", "--strength", "0.5")
    assert (result.code, result.out) == (2, "")
    assert "a saved edit holds its own strengths" in result.err


def test_the_studio_starts_answers_and_stops(tiny_bundle: Path, tmp_path: Path, picture: Callable[..., Any]) -> None:
    picture().save(tmp_path / "a.png")
    script = "from padinv.cli.main import main; main()"
    command = [
        sys.executable, "-c", script, "studio", "--no-browser", "--model", str(tiny_bundle), str(tmp_path / "a.png"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        address, token = line.removeprefix("studio for tiny at ").split("?token=")
        assert address.startswith("http://127.0.0.1:")
        assert len(token) >= 24
        request = urllib.request.Request(f"{address}api/sessions", b"{}", {"authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert [photo["name"] for photo in json.load(answer)["photos"]] == ["a.png"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}api/alive", timeout=20)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        _, errors = process.communicate()
    assert errors == ""


@pytest.mark.parametrize("verb", ["studio", "serve"])
def test_another_address_is_warned_about_and_a_missing_package_named(
    verb: str, tiny_bundle: Path, run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from padinv.cli import server_common

    command = import_module(f"padinv.cli.commands.{verb}")
    monkeypatch.setattr(command, "run_app", lambda app, host, port, limits, announce: announce("http://x:1/"))
    options = ["--no-browser"] if verb == "studio" else []
    result = run_cli(verb, "--model", tiny_bundle, "--host", "0.0.0.0", *options)
    assert result.code == 0
    assert "warning: this address is reachable from other machines" in result.err
    assert ("nobody needs a token" in result.err) == (verb == "serve")
    assert "warning" not in run_cli(verb, "--model", tiny_bundle, *options).err
    monkeypatch.setattr(server_common, "find_spec", lambda name: None)
    result = run_cli(verb)
    assert result.code == 1
    assert f"padinv {verb} needs the package 'fastapi'; install it with: pip install 'padinv[{verb}]'" in result.err


@pytest.mark.parametrize("content", [None, b"text"])
def test_a_photograph_that_cannot_be_opened_is_one_sentence(
    content: bytes | None, tiny_bundle: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    result = run_cli("studio", "--no-browser", "--model", tiny_bundle, tmp_path / "a.png")
    assert (result.code, result.out) == (1, "")
    assert len(result.err.splitlines()) == 1
    assert "a.png" in result.err
