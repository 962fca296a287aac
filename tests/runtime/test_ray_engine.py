"""The pipeline on a local Ray cluster of two workers: the same files and records as a local run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from padinv.runtime import Model
from padinv.runtime.alignment.aligner import Aligner
from padinv.runtime.batch.engine import Done, Event, Kept, Skipped
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.invert_files import Options, invert_files
from padinv.runtime.batch.ray_engine import Cluster
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.errors import MissingPackageError, UsageError

ray = pytest.importorskip("ray", reason="the extra padinv[ray] is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield Cluster(workers=2)
    ray.shutdown()


@pytest.fixture
def pictures(tmp_path: Path, picture: Callable[..., Image.Image]) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(7):
        picture(20, 20, seed=k).save(folder / f"p{k}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


def invert(bundle: Path, pictures: Path, out: Path, cluster: Cluster | None) -> list[Event]:
    model = Model.load(bundle, "cpu", 1)
    with ResultsLog(out) as log:
        files = gather([pictures], out).files
        aligner = Aligner(model.spec.template, "never")
        return list(invert_files(model, files, log, Options(batch_size=3), aligner, cluster=cluster))


def everything(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "results.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[path.name] = [{k: v for k, v in record.items() if k != "seconds"} for record in records]
        elif path.is_file():
            found[path.name] = path.read_bytes()
    return found


def test_ray_makes_what_a_local_run_makes_and_resumes(
    cluster: Cluster, tiny_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    events = invert(tiny_bundle, pictures, local, None)
    (remote / "p3.png.png").parent.mkdir()
    (remote / "p3.png.png").write_bytes(b"somebody's")  # a file that is not ours stays
    far = invert(tiny_bundle, pictures, remote, cluster)
    assert sum(isinstance(event, Done) for event in far) == 6
    assert (remote / "p3.png.png").read_bytes() == b"somebody's"
    reasons = {event.reason for event in far if isinstance(event, Skipped)}
    assert {event.reason for event in events if isinstance(event, Skipped)} < reasons  # the same for broken.png
    (remote / "p3.png.png").unlink()
    (remote / "p1.png.safetensors").unlink()
    again = invert(tiny_bundle, pictures, remote, cluster)
    assert sum(isinstance(event, Kept) for event in again) == 5
    assert {event.task.name for event in again if isinstance(event, Done)} == {"p1.png", "p3.png"}
    assert everything(remote) == everything(local)
    assert sum(isinstance(event, Kept) for event in invert(tiny_bundle, pictures, remote, None)) == 7


def test_the_command_line(
    cluster: Cluster, tiny_bundle: Path, pictures: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    command = ["invert", pictures, "--model", tiny_bundle, "--out", out, "--align", "never", "--backend", "cpu"]
    result = run_cli(*command, "--engine", "ray", "--workers", "2")
    assert result.code == 3, result.err  # broken.png
    assert "broken.png" in result.err
    assert len((out / "results.jsonl").read_text().splitlines()) == 7
    assert (out / "report.html").exists()
    result = run_cli(*command, "--workers", "2")
    assert result.code == 2
    assert "--ray-address and --workers belong to --engine ray" in result.err


def test_without_ray_the_extra_is_named(
    tiny_bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"--engine ray needs the package 'ray'.*padinv\[ray\]"):
        invert(tiny_bundle, pictures, tmp_path / "out", Cluster())
    with pytest.raises(UsageError, match="the number of Ray workers must be between 1 and 10000, not 0"):
        Cluster(workers=0)
