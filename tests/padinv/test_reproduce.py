"""The paper's tables on a tiny generator: what is trained, used again, measured and written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from json_document import json_document
from PIL import Image
from tiny_training import picture_bytes, write_generator, write_pictures

from padinv.checkpoints import load_encoder, load_generator
from padinv.checkpoints.native import save_generator
from padinv.reproduce.encoders import Variant, ablation_names
from padinv.reproduce.make import make_table
from padinv.reproduce.options import TableOptions
from padinv.reproduce.result import Result
from padinv.reproduce.table import Table
from padinv.reproduce.table3 import factor
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.locks import folder_lock
from padinv.runtime.spec import ModelSpec
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.run import Training
from padinv.training.loop import Outcome

TINY = TrainConfig(arch="fast", images=16, batch=4, lr=1e-3, per=0.0)
FOUR = ("ours", "wplus", "projector", "refined")


pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture
def options(tmp_path: Path) -> TableOptions:
    return TableOptions(
        generator=write_generator(tmp_path / "g.safetensors"),
        data=write_pictures(tmp_path / "data.zip"),
        val=write_pictures(tmp_path / "val.zip", 5),
        out=tmp_path / "tables",
        config=TINY,
        seeds=(0, 1),
        rows=("none", "p0-1"),
        steps=3,
        refine_steps=3,
        device="cpu",
        resamples=200,
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that trained at least one step."""
    names: list[str] = []
    step = Training.step

    def counted(self: Training, *given: Any, **more: Any) -> Any:
        names.append(self.folder.path.name)
        return step(self, *given, **more)

    monkeypatch.setattr(Training, "step", counted)
    return names


def rows_of(table: Result) -> dict[str, dict[str, Any]]:
    return {row.get("label", row.get("attribute")): row for row in table.to_dict()["rows"]}


def test_rows_of_table_2_go_to_one_level_beyond_the_default() -> None:
    spec = ModelSpec(64, (8, 8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2, max_pad_res=8)
    assert ablation_names(spec) == ("none", "p0", "p0-1", "p0-1-3", "p0-1-3-5")
    everything = ModelSpec(16, (8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2, max_pad_res=16)
    assert ablation_names(everything)[-1] == "p0-1-3-5"


@pytest.mark.parametrize(
    ("name", "padding", "const", "rings"),
    [("none", False, True, None), ("p0", True, True, ()), ("p0-1-3", True, True, (4, 8)), ("p5", True, False, (16,))],
)
def test_a_row_sets_the_padding_of_its_training(
    name: str, padding: bool, const: bool, rings: tuple[int, ...] | None
) -> None:
    config = Variant(name, 0.5, 7).config(TINY)
    assert (config.padding, config.const, config.pad_resolutions) == (padding, const, rings)
    assert (config.reg, config.seed, config.images, config.lr) == (0.5, 7, TINY.images, TINY.lr)


def test_table_2_has_every_row_with_and_without_regularisation_as_means_over_seeds_and_photographs(
    options: TableOptions, trained: list[str]
) -> None:
    table = make_table("table2", options)
    rows = rows_of(table)
    assert list(rows) == ["none, reg 0.003", "p0-1, reg 0.003", "none, reg 0", "p0-1, reg 0"]
    assert len(set(trained)) == 8
    encoder = load_encoder(options.out / "runs" / "p0-1-reg0-seed1-16" / "encoder.safetensors")
    assert (encoder.config.const, encoder.config.pad_resolutions) == (True, (4,))

    for row in rows.values():
        mse, seeds = row["metrics"]["mse"], [figures["mse"] for figures in row["seeds"].values()]
        assert len(seeds) == 2
        assert seeds[0] != seeds[1]
        assert mse["value"] == pytest.approx(np.mean(seeds), rel=1e-9)
        assert mse["low"] < mse["value"] < mse["high"]
        assert (mse["count"], row["pictures"]) == (5, 5)
    expected = rows["p0-1, reg 0"]["metrics"]["mse"]["value"] / rows["none, reg 0.003"]["metrics"]["mse"]["value"]
    assert rows["p0-1, reg 0"]["mse_ratio"]["value"] == pytest.approx(expected, rel=1e-9)
    assert rows["none, reg 0.003"]["mse_ratio"] is None


def test_a_second_call_trains_and_measures_nothing_and_gives_the_same_table(
    options: TableOptions, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, seeds=(0,), rows=("none",))
    first = make_table("table2", options)
    trained.clear()
    monkeypatch.setattr("padinv.evaluation.models.RunSubject.reconstruct", lambda *_: pytest.fail("measured again"))
    assert make_table("table2", options).to_dict() == first.to_dict()
    assert trained == []


def test_a_stopped_training_stops_the_table_and_the_next_call_resumes(
    options: TableOptions, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, seeds=(0,), rows=("none",))
    run = Training.run

    def stopped(self: Training, *given: Any) -> Outcome:
        return Outcome("interrupted", 4) if self.config.reg == 0 else run(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", stopped)
        with pytest.raises(KeyboardInterrupt):
            make_table("table2", options)
    assert set(trained) == {"none-reg0.003-seed0-16"}
    trained.clear()
    assert len(rows_of(make_table("table2", options))) == 2
    assert set(trained) == {"none-reg0-seed0-16"}


def test_another_budget_never_uses_the_encoders_of_the_first(options: TableOptions, trained: list[str]) -> None:
    options = replace(options, seeds=(0,), rows=("none",))
    make_table("table2", options)
    trained.clear()
    make_table("table2", replace(options, config=replace(TINY, images=8)))
    assert set(trained) == {"none-reg0.003-seed0-8", "none-reg0-seed0-8"}


def test_other_settings_in_the_same_folder_are_refused(options: TableOptions) -> None:
    options = replace(options, seeds=(0,), rows=("none",))
    make_table("table2", options)
    with pytest.raises(UsageError, match=r"lr 0\.001 -> 0\.002"):
        make_table("table2", replace(options, config=replace(TINY, lr=2e-3)))


def test_a_training_that_diverges_loses_its_row_only(options: TableOptions) -> None:
    table = make_table("table2", replace(options, seeds=(0,), rows=("none",), config=replace(TINY, reg=1e40)))
    assert list(rows_of(table)) == ["none, reg 0"]
    (sentence,) = table.skipped
    assert sentence.startswith("none, reg 1e+40, seed 0: ")
    assert sentence in table.markdown()


@pytest.mark.parametrize("rows", [("q1",), ("p0-15",)])
def test_a_wrong_row_is_refused_before_any_training(
    options: TableOptions, trained: list[str], rows: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError):
        make_table("table2", replace(options, rows=("none", *rows)))
    assert trained == []


def test_two_processes_do_not_work_in_one_folder(options: TableOptions) -> None:
    options.out.mkdir()
    with folder_lock(options.out), pytest.raises(UsageError, match="another process"):
        make_table("table2", options)


def write_outputs(folder: Path, seeds: dict[str, int]) -> Path:
    folder.mkdir()
    for name, seed in seeds.items():
        (folder / name).write_bytes(picture_bytes(seed))
    return folder


def test_table_1_has_all_its_rows_and_refinement_is_nearer_than_the_encoder(
    options: TableOptions, trained: list[str], tmp_path: Path
) -> None:
    perfect = write_outputs(tmp_path / "perfect", {f"p{k:03d}.png": k for k in range(5)})
    table = make_table("table1", replace(options, rows=FOUR, outputs={"perfect": perfect}))
    rows = rows_of(table)
    assert list(rows) == ["ours", "W+ only", "latent optimisation, 3 steps", "ours, refined in 3 steps", "perfect"]
    assert set(trained) == {"default-reg0.003-seed0-16", "none-reg0.003-seed0-16"}
    errors = {label: row["metrics"]["mse"]["value"] for label, row in rows.items()}
    assert errors["ours, refined in 3 steps"] < errors["ours"]
    assert errors["perfect"] == 0
    assert all(0 < rows[label]["metrics"]["ssim"]["value"] < 1 for label in list(rows)[:4])
    assert rows["perfect"]["seconds_per_image"] is None
    assert rows["ours, refined in 3 steps"]["seconds_per_image"] > rows["ours"]["seconds_per_image"] > 0


def test_outputs_are_matched_by_name_and_those_that_lack_are_counted(options: TableOptions, tmp_path: Path) -> None:
    folder = write_outputs(tmp_path / "other", {"p001.png": 1, "p003.png": 4, "unrelated.png": 2})
    Image.open(folder / "p001.png").save(folder / "p001.bmp")
    (folder / "p001.png").unlink()
    table = make_table("table1", replace(options, rows=FOUR, outputs={"other": folder}))
    assert isinstance(table, Table)
    row = table.rows[-1]
    assert row.names == ["p001.png", "p003.png"]
    assert row.columns["mse"][0] == 0
    assert row.columns["mse"][1] > 0
    assert table.skipped == [f"other: {folder} has no output for 3 of 5 photographs, which are left out there"]


@pytest.mark.parametrize(
    ("files", "message"),
    [({"a.png": 0}, "no output in .* belongs to a photograph"), ({"p000.png": 0, "p000.jpg": 0}, "not clear which")],
)
def test_outputs_that_cannot_be_matched_are_refused_before_any_training(
    options: TableOptions, trained: list[str], tmp_path: Path, files: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_table("table1", replace(options, rows=FOUR, outputs={"other": write_outputs(tmp_path / "o", files)}))
    assert trained == []


@pytest.fixture
def faces(options: TableOptions, tmp_path: Path) -> TableOptions:
    """Options whose generator is of aligned faces."""
    generator = load_generator(options.generator)
    generator.spec = replace(generator.spec, template="faces")
    save_generator(tmp_path / "faces.safetensors", generator)
    return replace(options, generator=tmp_path / "faces.safetensors", pairs=2, targets=3)


def test_table_3_measures_both_spaces_of_every_attribute_with_intervals_over_pairs(faces: TableOptions) -> None:
    table = make_table("table3", faces)
    rows = rows_of(table)
    assert list(rows) == ["glasses", "bangs", "wide jaw", "narrow jaw", "lipstick", "brows"]
    for row in rows.values():
        assert len(row["pairs"]) == 2
        assert row["pairs"][0] != row["pairs"][1]
        for key, value in row["means"].items():
            assert value == pytest.approx(np.mean([pair[key] for pair in row["pairs"]]), rel=1e-12)
            assert value > 0
        expected = row["means"]["out_p"] / row["means"]["out_s"]
        assert row["factor_out"]["value"] == pytest.approx(expected, rel=1e-9)
        assert row["factor_out"]["low"] <= expected <= row["factor_out"]["high"]
    cell = factor(rows["brows"]["means"]["out_p"], rows["brows"]["means"]["out_s"])
    assert f"| {cell} [" in next(line for line in table.markdown().splitlines() if line.startswith("| brows |"))


def test_table_3_refuses_other_alignments_and_too_few_faces_before_training(
    options: TableOptions, faces: TableOptions, trained: list[str]
) -> None:
    with pytest.raises(UsageError, match="template 'faces'"):
        make_table("table3", options)
    with pytest.raises(InputError, match="fewer --pairs"):
        make_table("table3", replace(faces, pairs=5))
    assert trained == []


@pytest.mark.parametrize(
    ("p", "s", "text"), [(2.0, 1.0, "2.00:1"), (1.0, 4.0, "1:4.00"), (1.0, 0.0, "∞:1"), (0.0, 0.0, "1:1")]
)
def test_a_factor_is_padding_to_style(p: float, s: float, text: str) -> None:
    assert factor(p, s) == text


def command_of(options: TableOptions, table: str, *more: object) -> list[object]:
    return [
        "reproduce", table, "--generator", options.generator, "--data", options.data, "--val", options.val,
        "--budget", 8, "--out", options.out, "--arch", "fast", "--train-batch", 4, "--per", 0, "--device", "cpu",
        "--resamples", 100, "--seeds", "3", *more,
    ]  # fmt: skip


def test_the_command_prints_and_saves_the_table(options: TableOptions, run_cli: Callable[..., Any]) -> None:
    result = run_cli(*command_of(options, "table2", "--rows", "none, p0"))
    assert result.code == 0, result.err
    assert (options.out / "table2.md").read_text() in result.out
    lines = [line for line in result.out.splitlines() if line.startswith("| p0, reg 0 |")]
    document = json.loads((options.out / "table2.json").read_text())
    value = next(row for row in document["rows"] if row["label"] == "p0, reg 0")["metrics"]["mse"]["value"]
    assert f"| {value:#.4g} [" in lines[0]
    assert document["conditions"]["seeds"] == [3]


def test_the_command_counts_what_was_left_out_as_exit_code_3_and_prints_json(
    options: TableOptions, run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    folder = write_outputs(tmp_path / "other", {"p001.png": 1})
    more = [
        "--rows",
        ",".join(FOUR),
        "--outputs",
        f"other={folder}",
        "--steps",
        2,
        "--refine-steps",
        2,
        "--limit",
        3,
        "--json",
    ]
    result = run_cli(*command_of(options, "table1", *more))
    assert result.code == 3, result.err
    document = json_document(result)
    assert "2 of 3 photographs" in document["skipped"][0]["reason"]
    assert [row["pictures"] for row in document["rows"]] == [3, 3, 3, 3, 1]


@pytest.mark.parametrize(
    ("table", "more", "words"),
    [
        ("table2", ["--outputs", "a=b"], "belongs to table1"),
        ("table3", ["--rows", "none"], "belongs to table1 and table2"),
        ("table1", ["--outputs", "folder"], "NAME=FOLDER"),
        ("table1", ["--seeds", "one"], "--seeds takes"),
        ("table1", ["--seeds", "1,1"], "given twice"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    options: TableOptions, run_cli: Callable[..., Any], table: str, more: list[str], words: str
) -> None:
    result = run_cli(*command_of(options, table, *more))
    assert result.code == 2
    assert words in result.err
    assert not os.path.exists(options.out)
