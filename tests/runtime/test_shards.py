"""Job arrays over one folder: shards share the work, and a last run puts them together as one local run would have."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from padinv.runtime import Model
from padinv.runtime.batch.engine import Done
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.folder_walk import is_output_folder
from padinv.runtime.batch.invert_files import Options, invert_files
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.shards import Shard, ShardLog
from padinv.runtime.errors import OutputError, UsageError


@pytest.fixture
def pictures(tmp_path: Path, picture: Callable[..., Image.Image]) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for k in range(9):
        picture(20, 20, seed=k).save(folder / ("sub" if k % 3 else ".") / f"p{k}.png")
    return folder


def shard_run(bundle: Path, pictures: Path, out: Path, shard: Shard | None) -> int:
    """One run; how many images it did."""
    model = Model.load(bundle, "cpu", 1)
    files = gather([pictures], out).files
    with ResultsLog(out) if shard is None else ShardLog(out, shard) as log:
        events = list(invert_files(model, files if shard is None else shard.of(files), log, Options(batch_size=2)))
    return sum(isinstance(event, Done) for event in events)


def everything(folder: Path) -> dict[str, Any]:
    """Every file's bytes; of the records, what does not depend on the clock."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "results.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[path.name] = [{k: v for k, v in record.items() if k != "seconds"} for record in records]
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_file_belongs_to_exactly_one_shard(pictures: Path, count: int) -> None:
    files = gather([pictures]).files
    parts = [Shard(k, count).of(files) for k in range(1, count + 1)]
    assert sorted(found.name for part in parts for found in part) == sorted(found.name for found in files)
    assert list(Shard(1, count).of(files[1:])) == [found for found in parts[0] if found is not files[0]]


def test_shards_are_about_equal() -> None:
    sizes = [sum(Shard(k, 4).has(f"photo-{n}.jpg") for n in range(4000)) for k in range(1, 5)]
    assert sum(sizes) == 4000
    assert min(sizes) > 880


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "a/b", "1", "1/2/3", "-1/4", "", "1/9999999"])
def test_shards_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError, match="--shard is I/N with I from 1 to N, such as 2/8"):
        Shard.parse(text)
    assert Shard.parse(" 2/8 ") == Shard(2, 8)


def test_joined_shards_are_what_one_run_makes(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert shard_run(tiny_bundle, pictures, alone, None) == 9
    done = [shard_run(tiny_bundle, pictures, together, Shard(k, 3)) for k in (2, 1, 3)]
    assert sum(done) == 9
    assert len(list(together.glob("results.shard-*"))) == sum(n > 0 for n in done)
    assert is_output_folder(together)  # never an input, also before it is joined
    assert shard_run(tiny_bundle, pictures, together, None) == 0
    assert everything(together) == everything(alone)


def test_shards_resume_and_the_last_run_does_what_is_missing(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = shard_run(tiny_bundle, pictures, out, Shard(1, 2))
    assert shard_run(tiny_bundle, pictures, out, Shard(1, 2)) == 0
    assert shard_run(tiny_bundle, pictures, out, None) == 9 - first
    assert shard_run(tiny_bundle, pictures, out, Shard(2, 2)) == 0  # results.jsonl says that they are done
    assert not list(out.glob("results.shard-*"))
    shard_run(tiny_bundle, pictures, tmp_path / "alone", None)
    assert everything(out) == everything(tmp_path / "alone")


def test_a_shard_that_was_killed_loses_no_finished_record(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = shard_run(tiny_bundle, pictures, out, Shard(1, 2))
    log = out / "results.shard-1-of-2.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-20])  # the last line is torn
    assert shard_run(tiny_bundle, pictures, out, Shard(1, 2)) == 1
    shard_run(tiny_bundle, pictures, out, Shard(2, 2))
    assert shard_run(tiny_bundle, pictures, out, None) == 0
    assert done > 1
    assert len((out / "results.jsonl").read_text().splitlines()) == 9


def test_two_runs_of_one_shard_and_a_run_without_one_are_kept_apart(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ShardLog(out, Shard(1, 2)), ShardLog(out, Shard(2, 2)):
        with pytest.raises(OutputError, match="another padinv is writing into"):
            ShardLog(out, Shard(1, 2))
        with pytest.raises(OutputError, match="another padinv is writing into"):
            ResultsLog(out)
    assert not out.exists()  # nothing was done, so nothing is left
    with ResultsLog(out), pytest.raises(OutputError, match="another padinv is writing into"):
        ShardLog(out, Shard(1, 2))


def test_shards_run_at_the_same_time(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "padinv", "invert", str(pictures), "--model", str(tiny_bundle), "--out", str(out)]
    command += ["--align", "never", "--backend", "cpu", "--threads", "1", "--batch", "2", "--no-report", "--no-sheet"]
    shards = [subprocess.Popen([*command, "--shard", f"{k}/3"], stdout=subprocess.DEVNULL) for k in (1, 2, 3)]
    assert [shard.wait(timeout=120) for shard in shards] == [0, 0, 0]
    assert shard_run(tiny_bundle, pictures, out, None) == 0
    alone = [str(tmp_path / "alone") if word == str(out) else word for word in command]
    assert subprocess.run(alone, stdout=subprocess.DEVNULL, timeout=120).returncode == 0
    assert everything(out) == everything(tmp_path / "alone")


def test_the_command_line_joins_shards_and_writes_the_report_last(
    tiny_bundle: Path, pictures: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    command = ["invert", pictures, "--model", tiny_bundle, "--out", out, "--align", "never", "--backend", "cpu"]
    for index in (1, 2):
        result = run_cli(*command, "--shard", f"{index}/2")
        assert result.code == 0, result.err
        assert f"shard {index}/2: " in result.out
        assert not (out / "report.html").exists()
    result = run_cli(*command)
    assert result.code == 0, result.err
    assert (out / "report.html").exists()
    assert len((out / "results.jsonl").read_text().splitlines()) == 9
    assert run_cli(*command, "--shard", "3/2").code == 2
