"""Ownership, locking, tidying up and reproducibility of results, for every verb alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from padinv.runtime import Model
from padinv.runtime.batch.engine import Done, Kept, Outcome, Product, Skipped, Task, run
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.invert_files import Options, invert_files
from padinv.runtime.batch.ownership import Origin, image_bytes, origin_of, seal
from padinv.runtime.batch.result_names import MAX_NAME_BYTES, distinct_names, joined_name
from padinv.runtime.batch.results_log import ResultsLog, new_record
from padinv.runtime.editing.direction import Direction
from padinv.runtime.errors import BackendError, ExitCode, OutOfMemoryError, OutputError, exit_code
from padinv.runtime.files import sweep, write_bytes
from padinv.runtime.inversion import Inversion
from padinv.runtime.text import printable

ORIGIN = Origin.of({"verb": "invert", "source": "a"}, {"verb": "invert", "source": "a", "fit": "crop"})


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)


def task(name: str, **conditions: object) -> Task:
    return Task("test", name, name, {"name": name, **conditions}, {"name": name}, {"file": f"{name}.png"})


class Step:
    """Writes what it is told; `most` is how many tasks fit into memory at once."""

    def __init__(self, most: int = 99) -> None:
        self.most, self.sizes = most, []  # type: ignore[var-annotated]

    def read(self, one: Task) -> str:
        return one.name

    def process(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise OutOfMemoryError("Failed to allocate memory")
        return [
            Product({"file": (f"{one.name}.png", lambda origin: image_bytes(pixels(), "png", origin))})
            for one, _ in batch
        ]


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_picture_carries_its_origin_and_opens_as_before(tmp_path: Path, kind: str) -> None:
    data = seal(image_bytes(pixels(), kind, ORIGIN))
    assert origin_of(data) == ORIGIN
    (tmp_path / "a").write_bytes(data)
    with Image.open(tmp_path / "a") as image:
        image.load()
        if kind == "png":
            assert np.array_equal(np.asarray(image), pixels())
    for place in range(0, len(data), max(1, len(data) // 60)):
        changed = bytearray(data)
        changed[place] ^= 1
        assert origin_of(bytes(changed)) != ORIGIN  # the seal covers every byte


def test_files_of_others_have_no_origin() -> None:
    assert origin_of(image_bytes(pixels(), "png", None)) is None
    assert origin_of(b"") is None
    assert origin_of(ORIGIN.text().encode()) is None  # not sealed


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    one = np.ones((1, 4, 8), np.float32)
    inversion = Inversion(one, np.ones((1, 6, 4, 4), np.float32), {4: np.ones((1, 6, 20), np.float32)}, "ab" * 32)
    direction = Direction(one[0], inversion.const[0], {4: inversion.rings[4][0]}, "ab" * 32, {"z": 1, "a": 2})
    for value in (inversion, direction):
        assert len({value.to_bytes() for _ in range(20)}) == 1
        value.save(tmp_path / "f.safetensors")
        loaded = type(value).load(tmp_path / "f.safetensors")
        for name, array in value.arrays().items():
            np.testing.assert_array_equal(loaded.arrays()[name], array)


def test_the_library_reads_what_is_written() -> None:
    from safetensors.numpy import load

    from padinv.runtime.safetensors_file import safetensors_bytes

    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.arange(4, dtype=np.float16)}
    found = load(safetensors_bytes(arrays, {"z": "1", "é": "ü"}))
    assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
        name: (array.dtype, array.tolist()) for name, array in arrays.items()
    }


def test_every_state_of_a_result_is_recognised(tmp_path: Path) -> None:
    one = task("a", fit="crop")
    with ResultsLog(tmp_path) as log:
        assert log.done(one) is None
        assert log.foreign(one, ["a.png"]) is None
    (tmp_path / "a.png").write_bytes(seal(image_bytes(pixels(), "png", one.origin)))
    with ResultsLog(tmp_path) as log:  # written and not recorded
        assert log.done(one) is None
        assert log.foreign(one, ["a.png"]) is None
        log.add([new_record(one, {"file": {"file": "a.png", "bytes": (tmp_path / "a.png").stat().st_size}}, {})])
        assert log.done(one)
        assert log.done(task("a", fit="pad")) is None  # other settings: made again in place
        assert log.foreign(task("a", fit="pad"), ["a.png"]) is None
        assert log.foreign(task("b"), ["a.png"])  # another owner
    (tmp_path / "a.png").write_bytes(b"mine")
    with ResultsLog(tmp_path) as log:
        assert log.done(one) is None
        assert "exists and is not a result that this command made" in str(log.foreign(one, ["a.png"]))


def test_the_second_of_two_staggered_runs_loses_nothing(tmp_path: Path) -> None:
    """The log is read under the lock: what the first run adds in its last moment is there for the second."""
    first = ResultsLog(tmp_path)
    found: list[int] = []

    def second() -> None:
        while True:
            try:
                with ResultsLog(tmp_path) as log:
                    found.append(len(log.records))
                    return
            except OutputError:  # the first run still holds the folder
                time.sleep(0.001)

    waiting = threading.Thread(target=second)
    waiting.start()
    for i in range(50):
        first.add([new_record(task(str(i)), {"file": {"file": f"{i}.png", "bytes": 1}}, {})])
    first.close()
    waiting.join(timeout=30)
    assert found == [50]


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    code = "import sys; from padinv.runtime.batch.results_log import ResultsLog\n"
    code += "log = ResultsLog(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another padinv is writing into"):
            ResultsLog(tmp_path)
        other.kill()
        other.wait()
        ResultsLog(tmp_path).close()  # the lock goes with its process
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes_are_swept_and_others_stay(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        dead = process.pid
    (tmp_path / "sub").mkdir()
    leftovers = [tmp_path / f".padinv-{dead}-ab12.tmp.png", tmp_path / "sub" / f".padinv-{dead}-x_y.tmp"]
    alive = tmp_path / f".padinv-{os.getppid()}-ab12.tmp.png"
    own = tmp_path / f".padinv-{os.getpid()}-ab12.tmp.png"
    user = tmp_path / ".padinv-notes.txt"
    for path in (*leftovers, alive, own, user):
        path.write_bytes(b"x")
    sweep(tmp_path)
    assert not any(path.exists() for path in leftovers)
    assert alive.exists()
    assert own.exists()
    assert user.exists()
    old = time.time() - 3 * 86_400
    os.utime(alive, (old, old))
    sweep(tmp_path)
    assert not alive.exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_bytes(tmp_path / ("x" * 300), b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_batch_is_halved_until_it_fits_and_stays_small(tmp_path: Path) -> None:
    step, outcome = Step(most=2), Outcome()
    with ResultsLog(tmp_path) as log:
        events = list(run(step, [task(str(i)) for i in range(12)], log, batch_size=8))
    for event in events:
        outcome.add(event)
    assert len(outcome.done) == 12
    assert step.sizes[:3] == [8, 4, 2]
    assert set(step.sizes[3:]) == {2}
    texts = [event.text for event in events if hasattr(event, "text")]
    assert texts == [f"not enough memory for {n} images at once, so the batch size is now {n // 2}" for n in (8, 4)]


def test_one_image_that_does_not_fit_ends_the_run_and_keeps_the_rest(tmp_path: Path) -> None:
    with ResultsLog(tmp_path) as log, pytest.raises(BackendError, match="allocate"):
        list(run(Step(most=0), [task("a")], log, batch_size=4))
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_among_results_found_late_is_left_alone(tmp_path: Path) -> None:
    """What a verb writes may be known only after reading; ownership is checked again in front of each write."""
    (tmp_path / "b.png").write_bytes(b"mine")

    class Two(Step):
        def process(self, batch):
            (product,) = super().process(batch)
            product.files = {**product.files, "second": ("b.png", lambda origin: b"ours")}
            return [product]

    outcome = Outcome()
    for _ in range(2):
        outcome = Outcome()
        with ResultsLog(tmp_path) as log:
            for event in run(Two(), [task("a")], log, batch_size=1):
                outcome.add(event)
        assert outcome.exit_code == ExitCode.PARTLY  # and again: the missing file is not forgotten
    assert (tmp_path / "b.png").read_bytes() == b"mine"
    assert "b.png exists" in outcome.skipped[0].reason


def test_the_rule_of_exit_codes() -> None:
    assert exit_code(usable=3, failed=0) == ExitCode.DONE
    assert exit_code(usable=3, failed=1) == ExitCode.PARTLY
    assert exit_code(usable=0, failed=1) == ExitCode.FAILED
    assert exit_code(usable=0, failed=0) == ExitCode.DONE
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 130]


def test_one_image_with_values_that_are_not_finite_does_not_end_the_run(
    tiny_bundle: Path, tmp_path: Path, picture, monkeypatch
) -> None:
    (tmp_path / "in").mkdir()
    for i in range(4):
        picture(20, 20, seed=i).save(tmp_path / "in" / f"{i}.png")
    real = Model.reconstruct

    def reconstruct(self, x, batch_size=16, **more):
        inversion, y = real(self, x, batch_size, **more)
        inversion.wp[1, 0, 0] = np.nan
        return inversion, y

    monkeypatch.setattr(Model, "reconstruct", reconstruct)
    model = Model.load(tiny_bundle, threads=1)
    with ResultsLog(tmp_path / "out") as log:
        events = list(invert_files(model, gather([tmp_path / "in"]).files, log, Options()))
    (skipped,) = [event for event in events if isinstance(event, Skipped)]
    assert "1.png" in skipped.reason
    assert "not finite" in skipped.reason
    assert sum(isinstance(event, Done) for event in events) == 3
    assert not (tmp_path / "out" / "1.png.png").exists()


def test_names_that_differ_in_case_only_do_not_rebuild_the_whole_path() -> None:
    found = distinct_names([(Path("/data/photos/a.png"), "a.png"), (Path("/data/photos/A.png"), "A.png")])
    assert found[0] == "a.png"
    assert found[1].startswith("A~")
    assert "/" not in found[1]
    three = [(Path("/x/p/a.png"), "a.png"), (Path("/x/p/A.png"), "A.png"), (Path("/x/q/a.png"), "a.png")]
    names = distinct_names(three)
    assert len({name.casefold() for name in names}) == 3
    assert all(name.count("/") == 1 for name in names)


def test_joined_names_fit_a_file_system() -> None:
    assert joined_name("a.png", Path("sub/b.png"), "b.png") == "sub/a.png--b.png"  # type: ignore[arg-type]
    long = joined_name("猫" * 60 + ".png", Path("sub/x"), "犬" * 60 + ".png")  # type: ignore[arg-type]
    assert len(os.fsencode(Path(long).name)) <= MAX_NAME_BYTES
    others = {joined_name("猫" * 60 + f"{i}.png", Path("x"), "犬" * 60 + ".png") for i in range(5)}  # type: ignore[arg-type]
    assert len(others) == 5


def test_text_from_outside_is_one_harmless_line() -> None:
    assert printable("a\x1b[31m\n\r\u202eb\udc80\t") == "a?[31m????b??".replace("????", "???")
    assert printable("Łódź 猫 – é") == "Łódź 猫 – é"


def test_records_are_one_line_per_result_in_the_order_of_names(tmp_path: Path) -> None:
    with ResultsLog(tmp_path) as log:
        for name in ("b", "a", "b"):
            log.add([new_record(task(name), {"file": {"file": f"{name}.png", "bytes": 1}}, {})])
    names = [json.loads(line)["name"] for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert names == ["a", "b"]


def test_kept_results_are_reported_first(tmp_path: Path) -> None:
    with ResultsLog(tmp_path) as log:
        list(run(Step(), [task("b")], log, batch_size=2))
        kinds = [type(event) for event in run(Step(), [task("a"), task("b"), task("c")], log, batch_size=2)]
    assert kinds == [Kept, Done, Done]
