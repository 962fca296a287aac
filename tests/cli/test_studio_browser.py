"""A person's session in `padinv studio`, in a real Chromium.

PADINV_SCREENSHOTS=FOLDER keeps the pictures that docs/studio.md shows.
"""

from __future__ import annotations

import io
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, drop_file, find_chromium, serious_findings, watch_requests
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra 'studio' is not installed")

from padinv.runtime.editing import difference
from padinv.runtime.editing.gallery import gallery_names
from padinv.runtime.model import Model
from padinv.runtime.server.limits import Limits
from padinv.runtime.server.running import make_server, open_socket
from padinv.runtime.studio.app import create_app

# Absolute, because the tests work in folders of their own.
SCREENSHOTS = Path(os.environ["PADINV_SCREENSHOTS"]).resolve() if "PADINV_SCREENSHOTS" in os.environ else None
SIZES = {"wide": (1400, 900), "narrow": (390, 844)}


@dataclass
class Running:
    """A studio that answers, and the directions that its page offers or must load."""

    origin: str
    token: str
    model: Model


@pytest.fixture(scope="module")
def studio() -> Iterator[Running]:
    model = Model.load()
    limits = Limits()
    token = "browser-token"
    listening = open_socket("127.0.0.1", 0)
    started = threading.Event()
    server = make_server(create_app(model, token=token, limits=limits), limits, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    assert started.wait(30)
    yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", token, model)
    server.should_exit = True
    thread.join(20)
    listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two public-domain portraits by NASA and the US Navy, in the current folder."""
    import matplotlib
    import skimage.data

    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.astronaut()).save("eileen-collins.jpg", quality=95)
    navy = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    navy.save("grace-hopper.png")
    return {name: tmp_path / name for name in ("eileen-collins.jpg", "grace-hopper.png")}


def _open(browser: Any, studio: Running, width: int, height: int, scheme: str = "light") -> tuple[Any, list[str]]:
    """A page of the studio; also what it asked of other addresses, and its errors."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    wrong = watch_requests(context, studio.origin)
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda line: line.type == "error" and wrong.append(f"console: {line.text}"))
    page.set_default_timeout(90_000)  # machines that run tests are often busy
    page.goto(f"{studio.origin}/?token={studio.token}")
    page.wait_for_selector("body[data-ready]")
    assert studio.token not in page.url
    return page, wrong


def _sliders(page: Any, studio: Running, folder: Path) -> list[Any]:
    """Two direction sliders: the gallery's, or two files where the model has no gallery."""
    if len(gallery_names(studio.model.bundle)) < 2:
        for number in range(2):
            ends = studio.model.sample([10 + number, 20 + number], 0.5)
            direction = difference(ends[0], ends[1])
            direction.info.update(name=f"drawn-{number}", space="latent")
            direction.save(folder / f"drawn-{number}.safetensors")
            page.set_input_files("#body-directions input[type=file]", folder / f"drawn-{number}.safetensors")
            page.wait_for_selector(f"#body-directions label:text-is('drawn-{number}')")
    wanted = [name for name in ("smile", "age") if name in gallery_names(studio.model.bundle)]
    if len(wanted) == 2:
        return [page.get_by_label(name, exact=True) for name in wanted]
    found = page.locator("#body-directions input[type=range]")
    return [found.nth(0), found.nth(1)]


def _steps(page: Any, count: int) -> None:
    """Wait until the history holds this many edits."""
    page.wait_for_selector(f"body[data-steps='{count}']")


def _download(page: Any, selector: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.click(selector)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def _picture(page: Any) -> bytes:
    data: str = page.evaluate("document.querySelector('#picture').toDataURL()")
    return data.encode()


def test_a_person_edits_a_photograph_and_the_printed_command_gives_the_same(
    browser: Any, studio: Running, photos: dict[str, Path], run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    page, wrong = _open(browser, studio, *SIZES["wide"])
    name = "eileen-collins.jpg"
    drop_file(page, name, photos[name].read_bytes(), "image/jpeg")
    page.wait_for_selector(f"#strip button[title='{name}'][aria-current]")
    _steps(page, 0)
    plain = _picture(page)

    one, two = _sliders(page, studio, tmp_path)
    one.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    _steps(page, 1)
    box = two.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.42, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    _steps(page, 2)
    assert _picture(page) != plain

    page.keyboard.press("3")
    page.set_input_files("#body-blend .thumbs input[type=file]", photos["grace-hopper.png"])
    _steps(page, 3)
    page.click("#paint")
    box = page.locator("#brush").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.12, steps=8)
    page.mouse.up()
    _steps(page, 4)
    painted = _picture(page)
    page.click("#body-blend .brush button:text-is('Bottom')")
    _steps(page, 5)
    assert _picture(page) != painted
    page.locator("#tab-blend").focus()
    page.keyboard.press("Control+z")
    _steps(page, 4)
    assert _picture(page) == painted

    page.keyboard.press("p")
    page.wait_for_selector("#whole:not(.hidden)")
    page.keyboard.down("x")
    page.wait_for_selector("#opened:not(.hidden)")
    page.keyboard.up("x")
    page.wait_for_selector("#whole:not(.hidden)")
    page.click("#tab-save")
    command = page.text_content("#command")
    saved = _download(page, "#save-photo", tmp_path / "downloads")
    edit = _download(page, "#save-edit", tmp_path)
    words = shlex.split(command)
    assert words[:4] == ["padinv", "edit", edit.name, name]
    result = run_cli(*words[1:])
    assert result.code == 0, result.err
    made = np.asarray(Image.open(Path("padinv-out/studio") / f"{name}.photo.png"))
    downloaded = np.asarray(Image.open(saved))
    assert downloaded.shape == (512, 512, 3)
    assert (made == downloaded).all()
    assert (made != np.asarray(Image.open(photos[name]))).any()
    assert wrong == []
    page.context.close()


# Both sizes and both schemes in two runs; all four where their pictures are wanted.
LOOKS = [("wide", "light"), ("narrow", "dark")]
if SCREENSHOTS is not None:
    LOOKS += [("wide", "dark"), ("narrow", "light")]


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_the_page_is_usable_by_everybody(
    browser: Any, studio: Running, photos: dict[str, Path], tmp_path: Path, size: str, scheme: str
) -> None:
    page, wrong = _open(browser, studio, *SIZES[size], scheme)
    assert serious_findings(page) == []
    page.set_input_files("#first", list(photos.values()))
    page.wait_for_selector("#strip li:nth-child(2)")
    page.wait_for_selector("body[data-steps='0']")
    one, _ = _sliders(page, studio, tmp_path)
    one.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    _steps(page, 1)
    page.keyboard.press("c")
    page.locator("#grip").focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#grip", "aria-valuenow") == "48"
    _keep(page, f"{size}-{scheme}-directions")
    for tab in ("photo", "directions", "blend", "custom", "interpolate", "save"):
        page.click(f"#tab-{tab}")
        if tab == "blend":
            page.click("#body-blend .thumbs > button")
            _steps(page, 2)
            page.click("#paint")
            page.click("#body-blend .brush button:text-is('Top')")
            _steps(page, 3)
            _keep(page, f"{size}-{scheme}-blend")
        if tab == "interpolate":
            page.select_option("#target", index=1)
            page.wait_for_selector("#scrubber:not([disabled])")
        assert serious_findings(page) == [], tab
    page.click("#tab-photo")
    covered = """() => {
        const field = document.querySelector('#body-photo input[type=range]');
        window.scrollTo(0, document.body.scrollHeight);
        field.focus();
        const box = field.getBoundingClientRect();
        return !field.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
    }"""
    assert not page.evaluate(covered), "what has the focus must not lie under the picture or the film strip"
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, "the page must not scroll sideways"
    page.click("#help")
    assert serious_findings(page) == []
    assert wrong == []
    page.context.close()


def test_the_check_for_accessibility_can_fail(browser: Any, studio: Running) -> None:
    page, _ = _open(browser, studio, *SIZES["wide"])
    page.evaluate("document.querySelector('#welcome').append(new Image(), document.createElement('select'))")
    found = " ".join(serious_findings(page))
    assert "image-alt" in found
    assert "select-name" in found
    page.context.close()


def _keep(page: Any, name: str) -> None:
    if SCREENSHOTS is not None:
        page.wait_for_timeout(400)
        shown = Image.open(io.BytesIO(page.screenshot()))
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        shown.convert("RGB").save(SCREENSHOTS / f"studio-{name}.webp", quality=82)


def test_the_brush_and_everything_else_work_from_the_keyboard(
    browser: Any, studio: Running, photos: dict[str, Path]
) -> None:
    page, wrong = _open(browser, studio, *SIZES["wide"])
    page.set_input_files("#first", list(photos.values()))
    page.wait_for_selector("#strip li:nth-child(2)")
    page.wait_for_selector("body[data-steps='0']")
    page.keyboard.press("3")
    page.locator("#body-blend .thumbs > button").focus()
    page.keyboard.press("Enter")
    _steps(page, 1)
    before = _picture(page)
    page.locator("#paint").focus()
    page.keyboard.press("Enter")
    page.locator("#brush").focus()
    for key in ("Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowUp", "]", "Space"):
        page.keyboard.press(key)
    _steps(page, 2)
    assert _picture(page) != before
    page.keyboard.press("Tab")
    page.keyboard.down("x")
    flipped = _picture(page)
    page.keyboard.up("x")
    assert flipped != _picture(page)
    page.keyboard.press("d")
    assert page.get_attribute("button:text-is('Difference')", "aria-pressed") == "true"
    page.keyboard.press("Control+z")
    _steps(page, 1)
    slider = page.locator("#body-blend input[type=range]").first
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Control+z")  # undoes the movement that had not ended
    _steps(page, 1)
    assert slider.input_value() == "1"
    page.keyboard.press("Control+Shift+z")
    _steps(page, 2)
    page.keyboard.press(".")
    page.wait_for_selector("#strip li:nth-child(2).current")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] >> text=Undo, redo")
    page.reload()  # the session and its history stay
    page.wait_for_selector("#strip li:nth-child(2)")
    page.wait_for_selector("body[data-steps='2']")
    assert wrong == []
    page.context.close()


def test_a_drawing_becomes_a_slider(browser: Any, studio: Running, photos: dict[str, Path]) -> None:
    page, wrong = _open(browser, studio, *SIZES["wide"])
    page.set_input_files("#first", photos["eileen-collins.jpg"])
    _steps(page, 0)
    page.click("#tab-custom")
    page.fill("#pair-name", "my lipstick")
    page.locator("#body-custom input[type=color]").fill("#b01030")
    box = page.locator(".drawing").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.38, box["y"] + box["height"] * 0.7)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.7, steps=4)
    page.mouse.up()
    page.click("text=Use the drawing")
    page.wait_for_selector(".evidence figure.chosen")
    _steps(page, 1)
    assert page.locator(".evidence figure").count() == 2
    page.click("#tab-directions")
    assert page.get_by_label("my lipstick", exact=True).input_value() == "1"
    assert wrong == []
    page.context.close()


def test_html_in_a_file_name_is_shown_as_text(browser: Any, studio: Running, photos: dict[str, Path]) -> None:
    page, wrong = _open(browser, studio, *SIZES["wide"])
    name = "<img src=x onerror=alert(1)><script>alert(2)<script>.jpg"
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    drop_file(page, name, photos["eileen-collins.jpg"].read_bytes(), "image/jpeg")
    page.wait_for_selector("#strip li")
    assert page.text_content("#strip li span") == name
    assert page.locator("img[src=x]").count() == 0
    assert wrong == []
    page.context.close()


def test_a_request_that_leaves_the_loopback_address_would_be_seen(browser: Any, studio: Running) -> None:
    page, wrong = _open(browser, studio, *SIZES["narrow"])
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'}))")
    page.wait_for_timeout(200)
    assert any("example.org" in one for one in wrong), "either the page's own policy or the test must refuse it"
    page.context.close()


def test_without_a_browser_these_tests_are_skipped_but_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("browser.shutil.which", lambda name: None)
    monkeypatch.delenv("PADINV_CHROMIUM", raising=False)
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        find_chromium()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Chromium was found"):
        find_chromium()
