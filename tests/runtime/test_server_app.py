"""The REST service, in process, on a tiny model."""

from __future__ import annotations

import base64
import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
from fastapi.testclient import TestClient
from tiny_gallery import add_directions, random_direction

from padinv.runtime.editing import Direction, apply
from padinv.runtime.errors import BundleError
from padinv.runtime.inversion import Inversion
from padinv.runtime.model import Model
from padinv.runtime.server.app import create_app
from padinv.runtime.server.limits import Limits

Pictures = Callable[..., Image.Image]


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return Model.load(tiny_bundle)


@pytest.fixture
def direction(model: Model) -> Direction:
    spec = model.spec
    rings = {r: np.zeros(spec.ring_shape(r), np.float32) for r in spec.pad_resolutions}
    const = np.full(spec.const_shape, 0.5, np.float32)
    return Direction(np.zeros(spec.wp_shape), const, rings, model.generator_hash, {"space": "padding"})


@pytest.fixture
def client(model: Model, direction: Direction) -> Iterator[TestClient]:
    app = create_app(model, limits=Limits(pixels=1_000_000, images=5), directions={"lighter": direction})
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def _same_picture(one: str, other: str) -> bool:
    """Whether two base64 answers show the same; what they say about their requests may differ."""
    return bool((_pixels(base64.b64decode(one)) == _pixels(base64.b64decode(other))).all())


def test_inverting_gives_what_the_library_gives(client: TestClient, model: Model, picture: Pictures) -> None:
    data = _png(picture(48, 40))
    answer = client.post("/v1/invert", json={"image": _b64(data), "dtype": "float32"}).json()
    wanted = model.invert([picture(48, 40)])
    assert (_pixels(base64.b64decode(answer["image"])) == model.generate(wanted)[0]).all()
    assert set(answer["metrics"]) == {"mse", "psnr", "ssim"}
    assert answer["photo"] is None


def test_a_form_and_base64_give_the_same(client: TestClient, picture: Pictures) -> None:
    data = _png(picture())
    by_json = client.post("/v1/invert", json={"image": _b64(data), "paste_back": True, "feather": 0.2}).json()
    form = {"paste_back": "true", "feather": "0.2"}
    by_form = client.post("/v1/invert", files={"image": ("a.png", data)}, data=form).json()
    assert by_form == by_json
    assert _pixels(base64.b64decode(by_form["photo"])).shape == (40, 40, 3)


def test_the_picture_or_the_inversion_alone_on_request(
    client: TestClient, model: Model, picture: Pictures, tmp_path: Path
) -> None:
    data = _png(picture())
    alone = client.post("/v1/invert", files={"image": data}, headers={"accept": "image/png"})
    assert alone.headers["content-type"] == "image/png"
    assert _pixels(alone.content).shape == (16, 16, 3)
    stored = client.post("/v1/invert", files={"image": data}, headers={"accept": "application/octet-stream"})
    (tmp_path / "a.safetensors").write_bytes(stored.content)
    assert Inversion.load(tmp_path / "a.safetensors").generator_hash == model.generator_hash


def test_an_edit_adds_a_named_direction_and_a_file(
    client: TestClient, direction: Direction, picture: Pictures, tmp_path: Path
) -> None:
    direction.save(tmp_path / "d.safetensors")
    files = {"image": _png(picture()), "direction": (tmp_path / "d.safetensors").read_bytes()}
    by_name = client.post("/v1/edit", files={"image": files["image"]}, data={"directions": '{"lighter": 0.5}'})
    by_file = client.post("/v1/edit", files=files, data={"strength": "0.5"})
    assert by_name.status_code == 200
    assert _same_picture(by_file.json()["image"], by_name.json()["image"])
    plain = client.post("/v1/invert", files={"image": files["image"]}).json()
    shown, before = (_pixels(base64.b64decode(one["image"])).astype(float) for one in (by_name.json(), plain))
    assert shown.mean() > before.mean() + 10


def test_an_inversion_spares_the_photograph_in_edits_and_blends(client: TestClient, picture: Pictures) -> None:
    a, b = (_png(picture(seed=seed)) for seed in (1, 2))
    options = {"dtype": "float32"}
    stored = [client.post("/v1/invert", files={"image": x}, data=options).json()["inversion"] for x in (a, b)]
    blended = client.post("/v1/blend", json={"a": _b64(a), "b": _b64(b), "layers": "1-", "strength": 0.5})
    same = client.post(
        "/v1/blend", json={"a_inversion": stored[0], "b_inversion": stored[1], "layers": "1-", "strength": 0.5}
    )
    assert blended.status_code == 200
    assert same.json()["image"] == blended.json()["image"], "the inversion is exact in float32"


def test_padding_is_borrowed_in_a_region_and_a_saved_edit_does_the_same(
    client: TestClient, model: Model, picture: Pictures, tmp_path: Path
) -> None:
    from padinv.runtime.editing.saved_edit import Borrowed, SavedEdit

    a, b = (_png(picture(seed=seed)) for seed in (1, 2))
    files = {"a": a, "b": b}
    named = client.post("/v1/blend", files=files, data={"region": "top", "resolutions": "[4]"}).json()
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 32, 16))
    painted = client.post("/v1/blend", files={**files, "mask": _png(mask)}, data={"resolutions": "[4]"}).json()
    assert _same_picture(painted["image"], named["image"])
    top = np.zeros((16, 16), np.float32)
    top[:8] = 1
    other = model.invert([picture(seed=2)])
    edit = SavedEdit.of(model.generator_hash, Borrowed(inversion=other, resolutions=(4,), mask=top), [])
    edit.save(tmp_path / "e.safetensors")
    saved = client.post("/v1/edit", files={"image": a, "saved_edit": (tmp_path / "e.safetensors").read_bytes()})
    shown, wanted = (_pixels(base64.b64decode(one["image"])).astype(int) for one in (saved.json(), named))
    assert np.abs(shown - wanted).max() <= 1
    plain = _pixels(base64.b64decode(client.post("/v1/invert", files={"image": a}).json()["image"])).astype(int)
    assert np.abs(shown - plain)[:6].mean() > 3 * np.abs(shown - plain)[10:].mean()


def test_seeds_and_inversions_are_generated_in_order(client: TestClient, model: Model) -> None:
    made = client.post("/v1/generate", json={"seeds": [3, 1, 2], "truncation": 0.5}).json()
    wanted = model.generate(model.sample([3, 1, 2], 0.5))
    assert [(_pixels(base64.b64decode(one)) == wanted[i]).all() for i, one in enumerate(made["images"])] == [True] * 3
    again = client.post("/v1/generate", json={"inversion": made["inversion"]}).json()
    assert all(map(_same_picture, again["images"], made["images"]))


def test_concurrent_requests_share_runs_and_each_gets_its_own_answer(
    client: TestClient, model: Model, picture: Pictures
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pictures = [picture(seed=seed) for seed in range(24)]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda one: client.post("/v1/invert", files={"image": _png(one)}).json(), pictures))
    for one, answer in zip(pictures, answers, strict=True):
        wanted = model.generate(model.invert([one]))[0].astype(int)
        assert np.abs(_pixels(base64.b64decode(answer["image"])).astype(int) - wanted).max() <= 1


def _huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 16), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_of_30000_x_30000_is_refused_from_its_header(client: TestClient) -> None:
    started = time.perf_counter()
    answer = client.post("/v1/invert", files={"image": ("big.png", _huge_png(30_000, 30_000))})
    assert time.perf_counter() - started < 0.5
    assert answer.status_code == 422
    assert "more than the limit of 1 million, so it was not read" in answer.json()["error"]


def test_a_picture_over_the_services_own_limit_is_refused_with_its_size(client: TestClient) -> None:
    answer = client.post("/v1/invert", files={"image": _huge_png(1001, 1000)})
    assert answer.status_code == 422
    assert "1001 x 1000 pixels, more than the limit of 1 million" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("invert", {}, 400, "image: field required"),
        ("invert", {"image": "AAAA"}, 422, "is not a PNG, JPEG"),
        ("invert", {"image": "*"}, 400, "image: this is not valid base64"),
        ("invert", {"image": "AAAA", "faces": 1}, 400, "faces: extra inputs are not permitted"),
        ("invert", {"image": "AAAA", "face": 0}, 400, "face: "),
        ("invert", {"image": "AAAA", "align": "../../etc/passwd"}, 400, "align: "),
        ("edit", {"image": "AAAA"}, 400, "give directions"),
        ("edit", {"image": "AAAA", "directions": {"../../x": 1}}, 400, "no direction '../../x'; it has: lighter"),
        ("edit", {"directions": {"lighter": 1}}, 400, "give either image"),
        ("edit", {"inversion": "AAAA", "directions": {"lighter": 1}}, 422, "image cannot be read as an inversion"),
        ("edit", {"directions": {"lighter": 1e9}}, 400, "directions.lighter: "),
        ("blend", {"a": "AAAA"}, 400, "give either b"),
        ("edit", {"image": "AAAA", "saved_edit": "AAAA", "directions": {"lighter": 1}}, 400, "a saved edit alone"),
        ("blend", {"a": "AAAA", "b": "AAAA", "region": "middle"}, 400, "region: "),
        ("generate", {}, 400, "give either seeds or an inversion"),
        ("generate", {"seeds": [-1]}, 400, "seeds.0: "),
        ("generate", {"seeds": [0] * 6}, 400, "may generate 5 pictures, not 6"),
        ("generate", {"seeds": [0], "truncation": 1e30}, 400, "truncation: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(
    client: TestClient, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = client.post(f"/v1/{path}", json=body)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert "\n" not in answer.json()["error"]
    assert "/tmp" not in answer.text


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"{", "application/json", "not valid JSON"),
        (b"[" * 100_000, "application/json", "not valid JSON"),
        (b"[1]", "application/json", "must be a JSON object"),
        (b"", "application/json", "not valid JSON"),
        (b"x", "text/plain", "not text/plain"),
        (b"x", "multipart/form-data", "the form cannot be read"),
        (b"x", "multipart/form-data; boundary=y", "the form cannot be read"),
    ],
)
def test_damaged_bodies_are_refused(client: TestClient, data: bytes, kind: str, words: str) -> None:
    answer = client.post("/v1/invert", content=data, headers={"content-type": kind})
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_a_zip_bomb_is_refused_unopened_whatever_it_is_called(client: TestClient, tmp_path: Path) -> None:
    bomb = tmp_path / "model.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", bytes(1 << 25))  # 32 MiB of zeros in 32 KiB
    with pytest.raises(BundleError, match="is a file, not a folder"):
        Model.load(bomb)
    sent, seed = _b64(bomb.read_bytes()), {"seeds": [0]}
    for path, body in (
        ("invert", {"image": sent}),
        ("edit", {"inversion": sent, "directions": {"lighter": 1}}),
        ("edit", {"inversion": client.post("/v1/generate", json=seed).json()["inversion"], "direction": sent}),
        ("generate", {"inversion": sent}),
    ):
        tracemalloc.start()
        answer = client.post(f"/v1/{path}", json=body)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.status_code == 422, answer.text
        assert most < 1 << 24


def test_paths_reach_no_file(client: TestClient) -> None:
    for path in (
        "/../pyproject.toml",
        "/docs/../../app.py",
        "/docs/%2e%2e/app.py",
        "/docs/page.css/../../app.py",
        "/x",
    ):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert "import" not in answer.text


def test_the_openapi_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/docs", "/docs/page.js", "/docs/page.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "//" not in answer.text.replace("// Shows", "")
    described = client.get("/openapi.json").json()
    assert {"/v1/invert", "/v1/edit", "/v1/blend", "/v1/generate", "/health"} <= set(described["paths"])
    body = described["paths"]["/v1/invert"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}


def test_health_model_and_metrics(client: TestClient, picture: Pictures) -> None:
    assert client.get("/health").json() == {"status": "ok", "backend": "cpu"}
    assert client.get("/v1/model").json()["directions"] == ["lighter"]
    client.post("/v1/invert", files={"image": _png(picture())})
    client.post("/v1/invert", json={})
    text = client.get("/metrics").text
    assert 'padinv_requests_total{path="/v1/invert",status="200"} 1.0' in text
    assert 'padinv_requests_total{path="/v1/invert",status="400"} 1.0' in text
    assert 'padinv_batch_size_count{graph="reconstruct"} 1.0' in text
    assert "padinv_requests_in_progress 0.0" in text


def test_the_models_own_directions_are_known_by_name(tiny_bundle: Path, picture: Pictures) -> None:
    names = {"smile": random_direction(1, "latent", "smile"), "pose": random_direction(2, "padding", "pose")}
    model = Model.load(add_directions(tiny_bundle, names))
    with TestClient(create_app(model), base_url="http://127.0.0.1") as client:
        assert client.get("/v1/model").json()["directions"] == ["pose", "smile"]
        body = {"image": _b64(_png(picture())), "directions": {"smile": 0.5}}
        shown = _pixels(base64.b64decode(client.post("/v1/edit", json=body).json()["image"])).astype(int)
    wanted = model.generate(apply(model.invert([picture()]), names["smile"], "latent", 0.5))[0]
    assert np.abs(shown - wanted).max() <= 1


def test_the_token_guards_everything_but_health_and_the_description(model: Model) -> None:
    with TestClient(create_app(model, token="secret"), base_url="http://127.0.0.1") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/docs").status_code == 200
        for path in ("/metrics", "/v1/model"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer no"}).status_code == 403
            assert client.get(path, headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.post("/v1/generate", json={"seeds": [0]}).status_code == 401


def test_an_answer_that_takes_too_long_is_given_up(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(model, limits=Limits(answer_seconds=0.05))
    slow = model.generate_float
    monkeypatch.setattr(model, "generate_float", lambda *args: (time.sleep(0.3), slow(*args))[1])
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post("/v1/generate", json={"seeds": [0]})
    assert (answer.status_code, answer.json()["error"]) == (504, "no answer within 0.05 seconds")
