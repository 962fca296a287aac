"""The studio's server, in process: sessions, edits, history, downloads, and what it refuses."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra 'studio' is not installed")
from fastapi.testclient import TestClient

from padinv.runtime.editing import Direction
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.refining import Budget, Refined
from padinv.runtime.server.limits import Limits
from padinv.runtime.studio import session as sessions
from padinv.runtime.studio.app import Opened, create_app
from padinv.runtime.studio.history import MAX_STEPS, History

Pictures = Callable[..., Image.Image]
TOKEN = "the-token"
AUTH = {"authorization": f"Bearer {TOKEN}"}


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return Model.load(tiny_bundle)


class Studio:
    """A session of a studio, as its page uses it."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.base = f"/api/sessions/{client.post('/api/sessions').json()['session']}"

    def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = self.client.request(method, self.base + path, **options)
        assert answer.status_code == status, answer.text
        return answer

    def add(self, data: bytes, name: str = "a.png") -> dict[str, Any]:
        described: dict[str, Any] = self.ask("POST", "/photos", files={"photo": (name, data)}).json()
        return described

    def direction(self, data: bytes, name: str = "smile.safetensors") -> str:
        return str(self.ask("POST", "/directions", files={"direction": (name, data)}).json()["id"])

    def preview(self, pid: str, state: dict[str, Any]) -> np.ndarray:
        return _pixels(self.ask("POST", f"/photos/{pid}/preview", json=state).content)

    def set(self, pid: str, state: dict[str, Any], label: str = "edit") -> dict[str, Any]:
        body = {"state": state, "label": label}
        described: dict[str, Any] = self.ask("POST", f"/photos/{pid}/state", json=body).json()
        return described


@pytest.fixture
def client(model: Model) -> Iterator[TestClient]:
    app = create_app(model, token=TOKEN, limits=Limits(pixels=1_000_000, upload_bytes=1 << 20))
    with TestClient(app, base_url="http://127.0.0.1", headers=AUTH) as made:
        yield made


@pytest.fixture
def studio(client: TestClient) -> Studio:
    return Studio(client)


@pytest.fixture
def direction(model: Model, tmp_path: Path) -> bytes:
    spec = model.spec
    rings = {r: np.zeros(spec.ring_shape(r), np.float32) for r in spec.pad_resolutions}
    made = Direction(np.zeros(spec.wp_shape), np.full(spec.const_shape, 0.3), rings, model.generator_hash)
    made.info["space"] = "padding"
    made.save(tmp_path / "d.safetensors")
    return (tmp_path / "d.safetensors").read_bytes()


def test_a_photograph_is_inverted_as_the_library_does_it(studio: Studio, model: Model, picture: Pictures) -> None:
    described = studio.add(_png(picture(48, 40)))
    wanted = model.generate(model.invert([picture(48, 40)]))[0]
    assert described["size"] == [48, 40]
    assert set(described["metrics"]) == {"mse", "psnr", "ssim"}
    assert (studio.preview(described["id"], {}) == wanted).all()
    for name in ("shown.jpg", "thumb.jpg", "input.png", "plain.png"):
        assert studio.ask("GET", f"/photos/{described['id']}/{name}").content


def test_sliders_add_directions_and_zero_is_none(studio: Studio, direction: bytes, picture: Pictures) -> None:
    pid, did = studio.add(_png(picture()))["id"], studio.direction(direction)
    plain = studio.preview(pid, {}).astype(int)
    assert studio.preview(pid, {"directions": {did: 0.5}}).mean() > plain.mean() + 3
    assert (studio.preview(pid, {"directions": {did: 0}}) == plain).all()


def test_letting_go_of_a_slider_and_undo_draw_nothing_again_but_a_square_that_is_read_again_does(
    studio: Studio, model: Model, direction: bytes, picture: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, other, did = *(studio.add(_png(picture(seed=i)))["id"] for i in range(2)), studio.direction(direction)
    blend = {"blend": {"photo": other, "layers": [0, 1, 2]}}
    runs, generate = [], model.generate_float

    def counted(*args: Any) -> Any:
        runs.append(args)
        return generate(*args)

    monkeypatch.setattr(model, "generate_float", counted)
    first, _ = (studio.preview(pid, {"directions": {did: strength}}) for strength in (0.5, 1.0))
    studio.set(pid, {"directions": {did: 1.0}})
    assert (studio.preview(pid, {"directions": {did: 0.5}}) == first).all()
    borrowed = studio.preview(pid, blend)
    assert len(runs) == 3
    studio.ask("POST", f"/photos/{other}/placing", json={})
    assert (studio.preview(pid, blend) == borrowed).all()
    assert len(runs) == 4
    for strength in range(5):
        studio.preview(pid, {"directions": {did: strength / 10}})
    assert (studio.preview(pid, {"directions": {did: 0.5}}) == first).all()
    assert len(runs) == 9  # strength 0 is the plain picture; the first one was forgotten and drawn again


def test_a_preview_leaves_the_history_alone_and_undo_restores_the_picture(
    studio: Studio, direction: bytes, picture: Pictures
) -> None:
    pid, did = studio.add(_png(picture()))["id"], studio.direction(direction)
    studio.preview(pid, {"directions": {did: 2}})
    first = studio.set(pid, {"directions": {did: 0.5}}, "smile 0.5")
    second = studio.set(pid, {"directions": {did: -1}}, "smile -1")
    assert second["history"] == {"labels": ["opened", "smile 0.5", "smile -1"], "position": 2}
    undone = studio.ask("POST", f"/photos/{pid}/history/undo").json()
    assert undone["state"] == first["state"]
    assert studio.ask("POST", f"/photos/{pid}/history/redo").json()["state"] == second["state"]
    assert studio.ask("POST", f"/photos/{pid}/history/0").json()["state"]["directions"] == {}
    assert studio.ask("POST", f"/photos/{pid}/history/undo").json()["history"]["position"] == 0
    branched = studio.set(pid, {"directions": {did: 1}}, "smile 1")
    assert branched["history"]["labels"] == ["opened", "smile 1"]
    studio.ask("POST", f"/photos/{pid}/history/9", 400)
    studio.ask("POST", f"/photos/{pid}/history/x", 400)


def test_the_history_is_bounded_and_ignores_repetitions() -> None:
    history = History(0)
    for i in range(3 * MAX_STEPS):
        history.add("step", i // 2)
    assert len(history.steps) == MAX_STEPS
    assert history.now == 3 * MAX_STEPS // 2 - 1


def test_a_blend_borrows_from_the_second_photograph_under_the_paint(studio: Studio, picture: Pictures) -> None:
    a, b = (studio.add(_png(picture(seed=seed)), f"{seed}.png")["id"] for seed in (1, 2))
    blend = {"photo": b, "resolutions": [4, 8], "layers": []}
    whole = studio.preview(a, {"blend": blend}).astype(int)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 64, 32))
    made = studio.ask("POST", "/masks", files={"mask": ("m.png", _png(mask))}).json()
    assert made["share"] == 0.5
    half = studio.preview(a, {"blend": {**blend, "mask": made["id"]}}).astype(int)
    plain, other = studio.preview(a, {}).astype(int), studio.preview(b, {}).astype(int)
    assert np.abs(whole - other).mean() < np.abs(plain - other).mean() / 4
    assert np.abs(half - other)[:6].mean() < np.abs(plain - other)[:6].mean() / 2
    assert np.abs(half - plain)[10:].mean() < np.abs(half - plain)[:6].mean() / 3
    shown = _pixels(studio.ask("GET", f"/masks/{made['id']}").content)
    assert shown[..., 0].max() == 255
    assert shown[200:].max() == 0


def test_a_custom_edit_becomes_a_direction_with_its_evidence(studio: Studio, picture: Pictures) -> None:
    before = picture(64, 64, seed=3)
    after = before.copy()
    after.paste((255, 0, 0), (8, 8, 40, 30))
    pid = studio.add(_png(before))["id"]
    files = {"edited": ("a'.png", _png(after))}
    made = studio.ask("POST", f"/photos/{pid}/pair", files=files, data={"name": "red", "space": "padding"}).json()
    assert (made["name"], made["space"], made["origin"]) == ("red", "padding", "pair")
    assert set(made["evidence"]["pictures"]) == {"padding", "latent"}
    again = studio.ask("POST", f"/photos/{pid}/pair", files=files, data={"name": "red"}).json()
    assert again["name"] == "red 2"
    assert set(again["evidence"]["scores"]) == {"padding", "latent"}
    stored = studio.ask("GET", f"/directions/{made['id']}/file")
    assert "red.safetensors" in stored.headers["content-disposition"]
    moved = studio.preview(pid, {"directions": {made["id"]: 1}}).astype(int)
    assert np.abs(moved - studio.preview(pid, {})).mean() > 1
    studio.ask("POST", f"/photos/{pid}/pair", 422, files={"edited": ("same.png", _png(before))})


def test_the_square_comes_back_as_it_was_given_out(studio: Studio, picture: Pictures) -> None:
    """Untouched, it is no edit: it was neither aligned again nor resampled."""
    pid = studio.add(_png(picture(64, 48)))["id"]
    square = studio.ask("GET", f"/photos/{pid}/input.png").content
    answer = studio.ask("POST", f"/photos/{pid}/pair", 422, files={"edited": ("s.png", square)})
    assert "differ" in answer.json()["error"]


def test_the_way_between_two_photographs_as_frames_and_as_an_animation(studio: Studio, picture: Pictures) -> None:
    a, b = (studio.add(_png(picture(seed=seed)))["id"] for seed in (1, 2))
    strip = _pixels(studio.ask("GET", f"/photos/{a}/way.png?photo={b}&steps=5").content)
    assert strip.shape == (16, 80, 3)
    assert (strip[:, :16] == studio.preview(a, {})).all()
    assert (strip[:, 64:] == studio.preview(b, {})).all()
    animation = studio.ask("GET", f"/photos/{a}/way.webp?photo={b}&steps=5").content
    assert Image.open(io.BytesIO(animation)).n_frames == 8  # type: ignore[attr-defined]
    studio.ask("GET", f"/photos/{a}/way.png?photo={b}&steps=5000", 400)
    studio.ask("GET", f"/photos/{a}/way.png?photo={b}&space=../../etc", 400)


def test_downloads_hold_what_is_shown(
    studio: Studio, model: Model, direction: bytes, picture: Pictures, tmp_path: Path
) -> None:
    pid, did = studio.add(_png(picture(64, 48)), "me.png")["id"], studio.direction(direction)
    studio.set(pid, {"directions": {did: 0.5}})
    shown = studio.preview(pid, {"directions": {did: 0.5}})
    names = {}
    for what in ("picture", "photo", "inversion", "edit"):
        answer = studio.ask("GET", f"/photos/{pid}/export/{what}")
        names[what] = answer.headers["content-disposition"].split("UTF-8''")[1]
        (tmp_path / names[what]).write_bytes(answer.content)
    assert names == {
        "picture": "me.png.png", "photo": "me.png.photo.png", "inversion": "me.png.safetensors",
        "edit": "me.png.edit.safetensors",
    }  # fmt: skip
    assert (_pixels((tmp_path / names["picture"]).read_bytes()) == shown).all()
    assert _pixels((tmp_path / names["photo"]).read_bytes()).shape == (48, 64, 3)
    assert (model.generate(Inversion.load(tmp_path / names["inversion"]))[0] == shown).all()
    studio.ask("GET", f"/photos/{pid}/export/landmarks", 400)
    studio.ask("GET", f"/photos/{pid}/export/secrets", 400)


def test_a_state_that_cannot_be_applied_does_not_enter_the_history(studio: Studio, picture: Pictures) -> None:
    a, b = (studio.add(_png(picture(seed=seed)))["id"] for seed in (1, 2))
    for blend in (
        {"photo": b, "layers": [60]},
        {"photo": b, "resolutions": [512]},
        {"photo": b, "resolutions": [4], "mask": "0" * 32},
        {"photo": "0" * 32, "resolutions": [4]},
    ):
        answer = studio.client.post(f"{studio.base}/photos/{a}/state", json={"state": {"blend": blend}})
        assert answer.status_code in (400, 404, 422), answer.text
        assert "\n" not in answer.json()["error"]
    labels = studio.client.get(studio.base).json()["photos"][0]["history"]["labels"]
    assert labels == ["opened"]


def test_what_is_in_use_cannot_be_removed(studio: Studio, direction: bytes, picture: Pictures) -> None:
    a, b = (studio.add(_png(picture(seed=seed)), f"{seed}.png")["id"] for seed in (1, 2))
    did = studio.direction(direction)
    studio.set(a, {"directions": {did: 1}, "blend": {"photo": b, "resolutions": [4]}})
    assert "borrows from 2.png" in studio.ask("DELETE", f"/photos/{b}", 400).json()["error"]
    assert "uses this direction" in studio.ask("DELETE", f"/directions/{did}", 400).json()["error"]
    studio.set(a, {})
    studio.ask("DELETE", f"/photos/{b}")
    studio.ask("DELETE", f"/directions/{did}")
    studio.ask("GET", f"/photos/{b}/plain.png", 404)


def test_html_in_a_file_name_stays_a_name(studio: Studio, picture: Pictures) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    described = studio.add(_png(picture()), name)
    assert described["name"] == name
    answer = studio.ask("GET", f"/photos/{described['id']}/export/picture")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<" not in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.png", "..\\..\\x.png", "/abs/x.png", "..", "a\nb.png", "\u202e.png"]
)
def test_names_are_reduced_to_a_last_part(studio: Studio, picture: Pictures, name: str) -> None:
    shown = studio.add(_png(picture()), name)["name"]
    assert "/" not in shown
    assert "\\" not in shown
    assert shown.isprintable()
    assert shown not in ("..", ".")


@pytest.mark.parametrize("thing", ["photos/{}/plain.png", "masks/{}", "directions/{}/file", "photos/{}/export/edit"])
@pytest.mark.parametrize("evil", ["%2e%2e", "..%2f..%2fetc%2fpasswd", "0" * 32, "x'y", "%00"])
def test_identifiers_reach_no_file(studio: Studio, thing: str, evil: str) -> None:
    answer = studio.client.get(f"{studio.base}/{thing.format(evil)}")
    assert answer.status_code in (404, 405), answer.text


def test_page_files_are_served_by_name_alone(client: TestClient) -> None:
    assert client.get("/web/main.js").headers["content-type"].startswith("text/javascript")
    for path in (
        "/web/../app.py",
        "/web/%2e%2e/app.py",
        "/web/..%2fapp.py",
        "/web/nothing.js",
        "/web/",
        "/openapi.json",
    ):
        assert client.get(path).status_code == 404, path


def test_the_page_asks_for_nothing_from_elsewhere(client: TestClient) -> None:
    from importlib.resources import files

    for part in files("padinv.runtime.studio").joinpath("web").iterdir():
        text = part.read_text()
        found = [
            word
            for word in ("http://", "https://", "innerHTML", "outerHTML", "eval(", "document.write")
            if word in text
        ]
        assert set(found) <= ({"http://"} if "www.w3.org" in text else set()), (part.name, found)
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")


def test_the_start_address_sets_a_cookie_that_opens_the_rest(model: Model) -> None:
    with TestClient(create_app(model, token=TOKEN), base_url="http://127.0.0.1") as client:
        assert client.get("/").status_code == 401
        assert client.get("/?token=wrong").status_code == 403
        assert client.get("/web/main.js").status_code == 401
        assert client.post("/api/sessions").status_code == 401
        answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "text/html" in client.get("/").headers["content-type"]
        assert client.post("/api/sessions").status_code == 200
        assert client.post("/api/sessions", headers={"origin": "https://evil.example"}).status_code == 403
        assert client.post("/api/sessions", headers={"host": "evil.example"}).status_code == 421


def test_uploads_are_bounded(studio: Studio, picture: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    big = _png(Image.new("RGB", (1001, 1000)))
    assert (
        "more than the limit of 1 million"
        in studio.ask("POST", "/photos", 422, files={"photo": ("b.png", big)}).json()["error"]
    )
    assert studio.ask("POST", "/photos", 413, files={"photo": ("b.png", bytes(1 << 21))}).json()["error"]
    assert "is not a PNG" in studio.ask("POST", "/photos", 422, files={"photo": ("b.png", b"text")}).json()["error"]
    monkeypatch.setattr(sessions, "MAX_PHOTOS", 2)
    for _ in range(2):
        studio.add(_png(picture()))
    full = studio.ask("POST", "/photos", 400, files={"photo": ("c.png", _png(picture()))})
    assert "a session holds 2 photographs" in full.json()["error"]


class FakeRefiner:
    """Brightens the constant, as an optimisation might."""

    conditions: ClassVar[dict[str, Any]] = {}

    def __init__(self, budget: Budget, heard: list[Any], ask: Callable[[], Any]) -> None:
        self.budget, self.heard, self.ask = budget, heard, ask

    def check(self, model: Model) -> None:
        pass

    def refine(self, model: Model, inversion: Inversion, x: np.ndarray, progress: Any = None) -> Refined:
        progress(0.5)
        self.heard.append(self.ask())
        moved = {name: array + np.float32(0.25) * (name == "const") for name, array in inversion.arrays().items()}
        return Refined(Inversion.from_arrays(moved, inversion.generator_hash), [{"steps": self.budget.steps}])


def test_a_refinement_becomes_a_slider_and_says_how_far_it_is(model: Model, picture: Pictures) -> None:
    heard: list[Any] = []
    studio: Any = None

    def make(budget: Budget) -> FakeRefiner:
        def ask() -> Any:
            busy = studio.ask("POST", f"/photos/{pid}/refine", 400, json={"steps": 5}).json()["error"]
            return studio.ask("GET", f"/photos/{pid}/refine").json(), busy

        return FakeRefiner(budget, heard, ask)

    app = create_app(model, token=TOKEN, make_refiner=make)
    with TestClient(app, base_url="http://127.0.0.1", headers=AUTH) as client:
        assert client.post("/api/sessions").json()["model"]["refines"] is True
        studio = Studio(client)
        pid = studio.add(_png(picture()))["id"]
        made = studio.ask("POST", f"/photos/{pid}/refine", json={"steps": 20}).json()
        shown = studio.preview(pid, {"directions": {made["id"]: 1}})
        assert studio.ask("GET", f"/photos/{pid}/refine").json() == {"done": None}
    assert heard == [({"done": 0.5}, "a photograph is being refined; wait until it is done")]
    assert made["name"] == "refined a.png"
    assert made["note"].startswith("20 steps: MSE ")
    inversion = model.invert([picture()])
    refined = FakeRefiner(Budget(steps=1), [], list).refine(model, inversion, np.empty(0), lambda done: None).inversion
    wanted = model.generate(refined)[0].astype(int)
    assert np.abs(shown.astype(int) - wanted).max() <= 1


def test_without_torch_no_refinement_is_offered(studio: Studio, client: TestClient, picture: Pictures) -> None:
    assert client.post("/api/sessions").json()["model"]["refines"] is False
    pid = studio.add(_png(picture()))["id"]
    assert "needs torch" in studio.ask("POST", f"/photos/{pid}/refine", 400, json={}).json()["error"]


def test_ten_thousand_files_at_once_are_refused_before_any_is_read(studio: Studio) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\nx\r\n'
    body = part * 10_000 + b"--b--\r\n"
    assert len(body) < 1 << 20, "or the limit on bytes would refuse it"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = studio.ask("POST", "/photos", 400, content=body, headers=headers)
    assert "too many files" in answer.json()["error"].lower()


def test_sessions_do_not_see_each_other_and_are_bounded(
    client: TestClient, picture: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Studio(client), Studio(client)
    pid = one.add(_png(picture()))["id"]
    two.ask("GET", f"/photos/{pid}/plain.png", 404)
    one.ask("DELETE", "")
    one.ask("GET", "", 404)
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 1)
    assert "sessions are open" in client.post("/api/sessions").json()["error"]
    monkeypatch.setattr(sessions, "IDLE_SECONDS", 0.0)
    assert client.post("/api/sessions").status_code == 200
    two.ask("GET", "", 404)


def test_photographs_of_the_command_line_open_in_every_session(model: Model, picture: Pictures) -> None:
    opened = [Opened("me.png", "holiday pictures/me.png", _png(picture()))]
    app = create_app(model, token=TOKEN, photos=opened, model_option="my bundle")
    with TestClient(app, base_url="http://127.0.0.1", headers=AUTH) as client:
        for _ in range(2):
            (photo,) = client.post("/api/sessions").json()["photos"]
            assert photo["commands"]["picture"]["text"] == (
                "padinv invert 'holiday pictures/me.png' --model 'my bundle' --out padinv-out/studio"
            )


def test_eight_sessions_at_once_get_their_own_pictures(client: TestClient, direction: bytes, picture: Pictures) -> None:
    wrong: list[str] = []

    def work(seed: int) -> None:
        studio = Studio(client)
        rng = np.random.default_rng(seed)
        pid, did = studio.add(_png(picture(seed=seed)))["id"], studio.direction(direction)
        for _ in range(12):
            strength = float(rng.uniform(-1, 1))
            shown = studio.preview(pid, {"directions": {did: strength}})
            studio.set(pid, {"directions": {did: strength}})
            stored = _pixels(studio.ask("GET", f"/photos/{pid}/export/picture").content)
            if (shown != stored).any():
                wrong.append(f"session {seed}")
            if rng.random() < 0.3:
                studio.ask("POST", f"/photos/{pid}/history/undo")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


class RandomUser:
    """Asks whatever a page could ask, in any order, and much that it could not."""

    def __init__(self, studio: Studio, photos: list[str], direction: str, picture: Pictures) -> None:
        self.studio, self.photos, self.direction, self.picture = studio, photos, direction, picture
        self.rng = np.random.default_rng(0)
        self.masks = ["0" * 32]

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def state(self) -> dict[str, Any]:
        blend = {
            "photo": self.one_of(*self.photos),
            "layers": sorted({int(i) for i in self.rng.integers(0, 8, 2)}),
            "resolutions": [self.one_of(4, 8, 16)],
            "mask": self.one_of(None, *self.masks),
        }
        return {"directions": {self.direction: float(self.rng.normal())}, "blend": self.one_of(None, blend)}

    def request(self) -> tuple[str, str, dict[str, Any]]:
        photo = f"/photos/{self.one_of(*self.photos)}"
        square = {"right": float(self.rng.normal() / 4), "turn": float(self.rng.normal() * 20)}
        shade = Image.new("L", (int(self.rng.integers(1, 40)),) * 2, self.one_of(0, 255))
        fresh = _png(self.picture(seed=int(self.rng.integers(9))))
        what = self.one_of("picture", "photo", "edit", "inversion", "landmarks")
        query = f"photo={self.one_of(*self.photos)}&steps={self.rng.integers(1, 6)}"
        made: tuple[str, str, dict[str, Any]] = self.one_of(
            ("POST", f"{photo}/preview", {"json": self.state()}),
            ("POST", f"{photo}/state", {"json": {"state": self.state()}}),
            ("POST", f"{photo}/state", {"json": {"state": self.state(), "label": "x" * int(self.rng.integers(0, 99))}}),
            ("POST", f"{photo}/history/{self.one_of('undo', 'redo', '0', '3', 'x')}", {}),
            ("POST", f"{photo}/placing", {"json": {"face": int(self.rng.integers(0, 3)), "square": square}}),
            ("GET", f"{photo}/export/{what}", {}),
            ("GET", f"{photo}/way.png?{query}", {}),
            ("POST", "/masks", {"files": {"mask": _png(shade)}}),
            ("POST", "/photos", {"files": {"photo": ("x.png", fresh)}}),
        )
        return made

    def act(self) -> tuple[str, int]:
        """One request; its kind and status."""
        method, path, options = self.request()
        answer = self.studio.client.request(method, self.studio.base + path, **options)
        assert answer.status_code in (200, 400, 404, 422), (method, path, options, answer.text)
        if answer.status_code == 200 and path == "/masks":
            self.masks.append(answer.json()["id"])
        if answer.status_code == 200 and path == "/photos":
            self.studio.ask("DELETE", f"/photos/{answer.json()['id']}")
        return path.rsplit("/", 1)[-1], answer.status_code


def test_random_actions_are_answered_and_leave_nothing_behind(
    client: TestClient, direction: bytes, picture: Pictures
) -> None:
    """A small form of two hours of use: the answer is a result or a sentence, and nothing grows."""
    studio = Studio(client)
    photos = [studio.add(_png(picture(seed=seed)))["id"] for seed in range(2)]
    user = RandomUser(studio, photos, studio.direction(direction), picture)
    seen = {user.act() for _ in range(250)}
    assert len(seen) > 12
    assert len(client.get(studio.base).json()["photos"]) == 2
    assert threading.active_count() < 60


@pytest.mark.slow
def test_random_actions_for_minutes_without_growth(client: TestClient, direction: bytes, picture: Pictures) -> None:
    """The long form: `PADINV_RANDOM_MINUTES` (10 if unset; 120 for two hours) of use by four people at once."""
    minutes = float(os.environ.get("PADINV_RANDOM_MINUTES", "10"))
    until = time.monotonic() + 60 * minutes
    warm = time.monotonic() + 6 * minutes  # a tenth of the time, in which histories and caches fill
    counts, problems, memory = [0] * 4, [], []

    def use(number: int) -> None:
        studio = Studio(client)
        photos = [studio.add(_png(picture(seed=seed)))["id"] for seed in range(2)]
        user = RandomUser(studio, photos, studio.direction(direction), picture)
        user.rng = np.random.default_rng(number)
        while time.monotonic() < until and not problems:
            try:
                user.act()
            except Exception as error:
                problems.append(repr(error))
            user.masks = user.masks[-50:]
            counts[number] += 1
            if number == 0 and counts[0] % 50 == 0 and time.monotonic() > warm:
                memory.append(_resident_mib())

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tenth = max(1, len(memory) // 10)
    first, last = np.median(memory[:tenth]), np.median(memory[-tenth:])
    print(f"{sum(counts)} actions in {minutes:g} minutes; {first:.0f} MiB, {last:.0f} MiB at the end")
    assert problems == []
    assert last < first + 32, "memory grows with use"


def _resident_mib() -> float:
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) / 1024
