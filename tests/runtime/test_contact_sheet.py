from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from report_cards import cards, pictures

from padinv.runtime.batch.engine import Skipped
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.errors import UsageError
from padinv.runtime.images.png_metadata import save_png
from padinv.runtime.reports.animation import save_animation, strip
from padinv.runtime.reports.comparison_report import Comparison, compare_html
from padinv.runtime.reports.contact_sheet import MAX_ROWS, contact_sheet

RED = np.full((96, 96, 3), (255, 0, 0), np.uint8)
BLUE = np.full((96, 96, 3), (0, 0, 255), np.uint8)


def count(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(axis=-1).sum())


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_every_picture_is_on_the_sheet(n):
    sheet = contact_sheet([(f"result {i}", [RED, BLUE]) for i in range(n)], ["before", "after"], "title")
    assert count(sheet, (255, 0, 0)) == count(sheet, (0, 0, 255)) == n * 96 * 96
    h, w, _ = sheet.shape
    if n > 6:
        assert 0.5 < w / h < 3.5


def test_small_and_oblong_pictures_and_odd_names():
    small = np.zeros((16, 16, 3), np.uint8)
    oblong = np.zeros((50, 200, 3), np.uint8)
    sheet = contact_sheet([("ä\x1b[31m 日本 " + "x" * 500, [small, oblong])], ["", ""], "🙂" * 300)
    assert sheet.shape[1] < 600
    assert count(sheet, (0, 0, 0)) > 96 * 96


def test_a_long_list_is_cut_and_says_so():
    rows = [(str(i), [RED]) for i in range(MAX_ROWS + 5)]
    assert count(contact_sheet(rows, ["face"], "t"), (255, 0, 0)) == MAX_ROWS * 96 * 96
    with pytest.raises(UsageError):
        contact_sheet([], ["face"], "t")
    with pytest.raises(UsageError):
        contact_sheet([("a", [RED])], ["before", "after"], "t")


def test_strips_and_animations(tmp_path):
    frames = np.stack([np.full((20, 20, 3), 40 * i, np.uint8) for i in range(5)])
    row = strip(frames)
    assert row.shape == (20, 5 * 20 + 4 * 2, 3)
    for i in range(5):
        assert (row[:, 22 * i : 22 * i + 20] == 40 * i).all()
    save_animation(tmp_path / "a.webp", frames, 50)
    with Image.open(tmp_path / "a.webp") as image:
        assert image.format == "WEBP"
        assert image.n_frames == 8  # there and back, ends once
        assert image.info["loop"] == 0
        image.seek(4)
        assert abs(np.asarray(image.convert("RGB")).mean() - 160) < 4


def test_the_page_is_self_contained_and_safe():
    name = "<script>alert(1)</script>\"'.png"
    compared = [Comparison(name, RED, BLUE, beside={"A": RED}, file="a.png.png", warnings=[name])]
    html = compare_html("2 edits", compared, {"Model": "<b>"}, ["said"], [Skipped("bad", "<i>bad")])
    assert "<script>alert" not in html
    (card,) = cards(html)
    assert card["n"] == name
    assert card["w"] == [name]
    assert card["fb"] == "a.png.png"
    assert "<b>" not in html.split("<footer>")[1].split("</footer>")[0]
    assert "&lt;i&gt;bad" in html
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "http" not in html.replace("http-equiv", "")
    assert card["s"] == [["A", card["a"]]]  # one picture, in the page once
    assert len(pictures(html)) == 2


def test_the_verdict_counts_results_that_the_page_does_not_show():
    text = compare_html("edits", [Comparison("a", RED, BLUE)], {}, total=300)
    assert "300 good" in text
    assert "The first 1 of 300 are shown; the others are files beside this page." in text


def test_contact_sheets_are_no_input(tmp_path, picture):
    picture().save(tmp_path / "a.png")
    save_png(tmp_path / "contact-sheet.png", RED, {"sheet": True})
    assert [found.name for found in gather([tmp_path]).files] == ["a.png"]
    picture().save(tmp_path / "contact-sheet.png")  # somebody's own picture
    assert [found.name for found in gather([tmp_path]).files] == ["a.png", "contact-sheet.png"]
