from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_cards import Reader, cards, pictures

from padinv.runtime.batch.engine import Skipped
from padinv.runtime.reports.cards import Card, Column, address, cards_page, verdict
from padinv.runtime.reports.html import data_uri, escape, page, render, write_page
from padinv.runtime.reports.inversion_report import LIMIT, report_html

HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\n\udcff.png"


def record(name: str, mse: float = 0.02, **more: Any) -> dict[str, Any]:
    return {"name": name, "mse": mse, "psnr": 23.0, "ssim": None, "seconds": 0.05, **more}


def noise(seed: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def build(records: list[dict[str, Any]], **more: Any) -> str:
    seeds = {one["name"]: seed for seed, one in enumerate(records)}
    pieces = report_html(
        sorted(records, key=lambda r: str(r["name"])),
        lambda r: noise(seeds[r["name"]]),
        lambda r: noise(9_000 + seeds[r["name"]]),
        {"Model": HOSTILE},
        **more,
    )
    return "".join(pieces)


def test_the_page_is_self_contained_and_holds_every_picture() -> None:
    text = build([record("b.png"), record("a.png")])
    assert len(pictures(text)) == 4
    assert all(src.startswith("data:image/png;base64,") for src in pictures(text))
    assert "http://" not in text
    assert "https://" not in text
    reader = Reader(text)
    outside = ("link", "iframe", "object", "img")
    assert not any(tag in outside or "src" in attrs or "href" in attrs for tag, attrs in reader.tags)
    first, second = cards(text)
    assert (first["n"], second["n"]) == ("a.png", "b.png")
    assert first["a"] == data_uri(noise(1))
    assert first["b"] == data_uri(noise(9_001))
    assert first["v"] == [0.02, 23.0, None]
    assert "0.0200" in reader.text


def test_names_and_sentences_are_escaped() -> None:
    text = build([record(HOSTILE, note=HOSTILE)], skipped=[Skipped(HOSTILE, f"{HOSTILE} is bad")])
    assert text.count("<script>") == 1  # its own
    assert "alert(1)</script>" not in text
    assert "\x1b" not in text
    assert "is bad" in Reader(text).text
    assert cards(text)[0]["n"].startswith(
        "<script>alert(1)</script>"
    )  # text, which the script of the page shows as text
    text.encode("utf-8")


def test_a_template_escapes_what_nobody_escaped_before() -> None:
    assert "<b>&amp;" not in render("page.html", title="<b>&", body="<i>", style="")
    assert "&lt;i&gt;" in render("page.html", title="", body="<i>", style="")


def test_the_verdict_counts_what_is_good_and_says_why_the_rest_is_not() -> None:
    skipped = [Skipped("a", "a has no face", code="no-face")] * 3 + [Skipped("b", "b is odd")]
    assert verdict(27, skipped) == "27 good, 3 without a face, 1 skipped"
    assert verdict(1_200, [], 2) == "1,200 good, 2 with a warning"
    assert verdict(0, skipped[:1]) == "1 without a face"
    text = build([record("a.png"), record("b.png")], skipped=skipped)
    assert "2 good, 3 without a face, 1 skipped" in Reader(text).text


def test_a_card_warns_of_a_small_photograph_and_of_what_the_run_said() -> None:
    few = record("few.png", size=[40, 300])
    said = record("said.png", size=[300, 300], note="said.png shows 2 faces")
    text = build([few, said, record("fine.png", size=[300, 300])], size=256)
    warnings = {card["n"]: card.get("w", []) for card in cards(text)}
    assert warnings["few.png"] == ["enlarged: the photograph has 40×300 px, the model takes 256"]
    assert warnings["said.png"] == ["said.png shows 2 faces"]
    assert warnings["fine.png"] == []
    assert "1 good, 2 with a warning" in Reader(text).text


def test_beyond_the_limit_the_page_links_to_the_files(tmp_path: Path) -> None:
    def one(i: int) -> dict[str, Any]:
        source, output = tmp_path / "in" / f"{i:05d} ä#?.png", {"file": f"{i:05d} ä#?.png.png"}
        return record(f"{i:05d}.png", source=str(source), transform=None, outputs={"image": output})

    text = build([one(i) for i in range(LIMIT + 5)], folder=tmp_path / "out")
    shown = cards(text)
    assert len(shown) == LIMIT + 5
    assert len(pictures(text)) == 2 * LIMIT
    assert "fa" not in shown[0]
    assert shown[-1]["fa"] == f"../in/{LIMIT + 4:05d}%20%C3%A4%23%3F.png"
    assert shown[-1]["fb"] == f"{LIMIT + 4:05d}%20%C3%A4%23%3F.png.png"
    assert f"the first {LIMIT} by name are in this page" in Reader(text).text


@pytest.mark.parametrize("name", ["javascript:alert(1)", "http://elsewhere/a.png", "a?b#c%2e.png", "a\udcff.png"])
def test_a_file_name_cannot_become_another_address(tmp_path: Path, name: str) -> None:
    made = address(tmp_path / name, tmp_path)
    assert made is not None
    assert not set(made) & set(":?#\\ ")


def test_a_lost_picture_is_known_to_the_page() -> None:
    text = "".join(report_html([record("a.png")], lambda r: None, lambda r: None, {}))
    assert pictures(text) == []
    assert not {"a", "b", "fa", "fb"} & set(cards(text)[0])


def test_a_picture_that_many_cards_show_is_in_the_page_once() -> None:
    shared = noise(1)
    made = [Card(f"{i}", noise(10 + i), noise(50 + i), beside={"A": shared}) for i in range(20)]
    text = "".join(cards_page("t", made, ("Before", "After"), facts={}))
    assert len(pictures(text)) == 2 * 20 + 1
    assert {card["s"][0][1] for card in cards(text)} == {data_uri(shared)}


def test_two_hundred_edits_of_1024_px_keep_to_the_budget() -> None:
    grain = noise(0, 64).repeat(16, 0).repeat(16, 1)
    made = [Card(f"{i}", np.roll(grain, 16 * i, 0), np.roll(grain, 16 * i, 1)) for i in range(30)]
    text = "".join(cards_page("t", made, ("Before", "After"), facts={}, budget=2_000_000))
    assert len(text) < 2_200_000
    assert len(pictures(text)) == 59  # the first card shows one picture twice
    few = "".join(cards_page("t", made[1:2], ("Before", "After"), facts={}))
    assert len(pictures(few)[0]) > 2 * len(pictures(text)[1])  # alone, it is shown larger


def test_a_hundred_thousand_cards_are_made_in_seconds() -> None:
    started = time.process_time()
    made = [Card(f"{i:06d}.png", first_file=f"../in/{i:06d}.png", second_file=f"{i:06d}.png.png",
                 values=[0.02, 23.0, 0.7]) for i in range(100_000)]  # fmt: skip
    text = "".join(
        cards_page("t", made, ("A", "B"), facts={}, columns=[Column(label) for label in ("MSE", "PSNR", "SSIM")])
    )
    assert time.process_time() - started < 30
    assert len(text) < 15_000_000
    assert len(json.loads(text.split('id="data">')[1].split("</script>")[0])["cards"]) == 100_000


def test_large_pictures_are_embedded_as_jpeg() -> None:
    assert data_uri(np.zeros((256, 256, 3), np.uint8)).startswith("data:image/jpeg;base64,")


def test_escape() -> None:
    assert escape('<a href="x">\'&') == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;"


def test_a_foreign_page_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("<h1>mine</h1>")
    assert not write_page(path, page("t", "b"))
    assert path.read_text() == "<h1>mine</h1>"
    assert write_page(path, page("t", "b"), overwrite=True)
    assert write_page(path, page("t", "c"))
    assert "<body>\nc" in path.read_text()
