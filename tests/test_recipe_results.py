"""The parts of recipes/results_page.py that turn measurements into words and tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


@pytest.fixture(autouse=True)
def _recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(RECIPES))
    for name in ("card_figures", "group_figures", "photograph_facts", "paper_comparison"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def columns(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0.4, 0.6, count) for name in ("mse", "psnr", "ssim", "lpips_squeeze", "identity")}


def test_a_group_that_differs_is_named_with_its_interval_and_others_are_not() -> None:
    from group_figures import group_facts, group_lines

    names = [f"{k}.jpg" for k in range(200)]
    ages = ["20-29" if k % 2 else "60-69" for k in range(200)]
    labels = {
        n: {"apparent_gender": "Female" if k % 4 < 2 else "Male", "apparent_age": age}
        for k, (n, age) in enumerate(zip(names, ages, strict=True))
    }
    values = columns(200)
    values["identity"] = np.where([age == "60-69" for age in ages], 0.3, 0.5) + 0.01 * values["mse"]
    facts = group_facts(names, values, labels)
    old = facts["age 60-69"]
    assert old["images"] == 100
    assert old["difference"]["identity"]["value"] == pytest.approx(-0.2, abs=0.01)
    text = "\n".join(group_lines(facts))
    (sentence,) = [line for line in text.splitlines() if line.startswith("- identity differs")]
    assert "age 60-69 by -0.2" in sentence
    assert "worse" in sentence.partition("age 60-69")[2]
    assert "gender" not in sentence
    assert not group_facts(names[:20], {m: v[:20] for m, v in values.items()}, labels)  # too few to say anything


def test_words_mark_the_outer_tenth_and_faces_that_are_not_found() -> None:
    from photograph_facts import FACTS, NO_FACE, words_of

    facts = [dict.fromkeys(FACTS, 0.5 + 0.001 * k) for k in range(21)]
    facts[0]["turn"] = float("nan")
    words = words_of(facts)
    assert "dark" in words[0]
    assert NO_FACE in words[0]
    assert words[10] == []
    assert {"bright", "head turned", "lit from one side"} <= set(words[20])


def test_the_place_of_the_largest_error_is_named() -> None:
    from photograph_facts import where_it_is_wrong

    photograph = np.zeros((128, 128, 3), np.uint8)
    wrong = photograph.copy()
    wrong[85:95, 50:80] = 200
    assert where_it_is_wrong(photograph, wrong).startswith("the mouth, ")
    assert where_it_is_wrong(photograph, photograph + 9) == "everywhere alike"


def test_rows_and_columns_of_models_that_were_not_measured_again_stay() -> None:
    from card_figures import earlier_rows, put_between, readme_table, section

    card = "# m\n\n## Figures\n\n| | MSE |\n|---|---|\n| m | 1 |\n| old | 2 |\n\n### By group\n\n| x | 3 |\n"
    assert earlier_rows(card, {"m"}) == ["| old | 2 |"]
    figures = {"m": (["a.jpg"] * 50, columns(50))}
    text = section("m", figures, ["groups"], None, old=card)
    assert "| old | 2 |" in text
    assert text.count("| m |") == 1
    page = "<!-- figures -->\n| 9 photographs | m | old |\n|---|---|---|\n| MSE | 1 | 7 |\n<!-- /figures -->"
    table = readme_table(figures, "m", page)
    mean = figures["m"][1]["mse"].mean()
    assert f"| MSE | {mean:.4g} | 7 |" in table
    assert put_between(page, table).count("| MSE |") == 1


def test_the_comparison_with_the_paper_says_which_signs_agree(tmp_path: Path) -> None:
    from paper_comparison import comparison_lines

    assert comparison_lines(tmp_path) == ["No result file of `padinv reproduce` yet."]
    rows: list[dict[str, Any]] = [
        {"attribute": "glasses", "means": {"out_p": 4.0, "out_s": 1.0}},
        {"attribute": "lipstick", "means": {"out_p": 4.0, "out_s": 1.0}},
        {"attribute": "my own", "means": {"out_p": 4.0, "out_s": 1.0}},
    ]
    (tmp_path / "reproduce-table3.json").write_text(json.dumps({"rows": rows}))
    text = "\n".join(comparison_lines(tmp_path))
    assert "same sign as in the paper: glasses 4.00:1 (paper 5.83:1)" in text
    assert "other way round than in the paper: lipstick 4.00:1 (paper 1:13.73)" in text
