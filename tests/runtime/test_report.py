from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

from padinv.runtime.reports.html import data_uri, escape, page, write_page
from padinv.runtime.reports.inversion_report import LIMIT, report_html

HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\n\udcff.png"


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def record(name: str, mse: float = 0.02) -> dict:
    return {"name": name, "mse": mse, "psnr": 23.0, "ssim": None, "seconds": 0.05}


def build(records, **more) -> tuple[str, Reader]:
    pixels = np.zeros((8, 8, 3), np.uint8)
    text = report_html(records, lambda r: pixels, lambda r: pixels, {"Model": HOSTILE}, **more)
    reader = Reader()
    reader.feed(text)
    return text, reader


def test_the_page_is_self_contained_and_holds_every_picture():
    text, reader = build([record("b.png"), record("a.png")])
    images = [attrs["src"] for tag, attrs in reader.tags if tag == "img"]
    assert len(images) == 4
    assert all(src.startswith("data:image/png;base64,") for src in images)
    assert "http://" not in text
    assert "https://" not in text
    assert not any(tag in ("link", "iframe") or "onload" in attrs for tag, attrs in reader.tags)
    figures = [attrs for tag, attrs in reader.tags if tag == "figure"]
    assert [f["data-name"] for f in figures] == ["a.png", "b.png"]
    assert figures[0]["data-ssim"] == ""
    assert "0.0200" in reader.text


def test_names_and_sentences_are_escaped():
    text, reader = build([record(HOSTILE)], skipped=[(HOSTILE, f"{HOSTILE} is bad")])
    assert text.count("<script>") == 1  # its own
    assert "\x1b" not in text
    assert "is bad" in reader.text
    text.encode("utf-8")


def test_a_long_list_is_cut_and_says_so():
    _, reader = build([record(f"{i}.png") for i in range(LIMIT + 5)])
    assert sum(tag == "figure" for tag, _ in reader.tags) == LIMIT
    assert f"The first {LIMIT} by name are shown" in reader.text


def test_a_lost_picture_is_said():
    text = report_html([record("a.png")], lambda r: None, lambda r: None, {})
    assert "original not found" in text
    assert "reconstruction not found" in text


def test_large_pictures_are_embedded_as_jpeg():
    assert data_uri(np.zeros((256, 256, 3), np.uint8)).startswith("data:image/jpeg;base64,")


def test_escape():
    assert escape('<a href="x">\'&') == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;"


def test_a_foreign_page_is_not_overwritten(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("<h1>mine</h1>")
    assert not write_page(path, page("t", "b"))
    assert path.read_text() == "<h1>mine</h1>"
    assert write_page(path, page("t", "b"), overwrite=True)
    assert write_page(path, page("t", "c"))
    assert "<body>\nc" in path.read_text()
