"""A run over many files takes the memory of a run over few: what grows with their number lies on disk."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from padinv.runtime.batch.engine import Done, Kept, Outcome, Product, Task
from padinv.runtime.batch.find_inputs import Found, new_list
from padinv.runtime.batch.name_set import NameSet
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.spilled import Spilled


def done(number: int) -> Done:
    name = f"folder/{number:06d}.png"
    task = Task("invert", name, f"/in/{name}", {"source": name}, {}, {"image": f"{name}.png"}, payload=object())
    record = {"verb": "invert", "name": name, "outputs": {"image": {"file": f"{name}.png", "bytes": number}}}
    return Done(task, record, Product({}, {"mse": 0.5}, ["a note"]), ("lost",) if number == 7 else ())


def bytes_per_item(add: Callable[[int], object], count: int = 4000) -> float:
    for number in range(1500):
        add(number)
    tracemalloc.start()
    for number in range(1500, 1500 + count):
        add(number)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return grown / count


def test_items_come_back_from_disk_in_their_order() -> None:
    items = Spilled((f"item {k}" for k in range(10)), memory=3)
    assert (len(items), items[1], items[3], items[-1]) == (10, "item 1", "item 3", "item 9")
    assert list(items) == [f"item {k}" for k in range(10)]
    assert list(items[2:6]) == [f"item {k}" for k in range(2, 6)]
    assert items[:] is items
    with pytest.raises(IndexError):
        items[10]
    items.append("after reading")
    assert items[10] == "after reading"


def test_an_outcome_on_disk_says_what_one_in_memory_says() -> None:
    here, there = Outcome(), Outcome.on_disk()
    for number in range(1200):
        for outcome in (here, there):
            outcome.add(done(number))
    one = done(2000)
    for outcome in (here, there):
        outcome.add(Kept(one.task, one.record))
    assert list(there.records) == list(here.records)
    assert there.records[1100] == here.records[1100]
    assert (there.exit_code, len(there.skipped), there.skipped[0].path) == (here.exit_code, 1, here.skipped[0].path)
    assert there.done[1100].task.path == here.done[1100].task.path
    assert there.done[1100].product.notes == ["a note"]


def test_memory_does_not_grow_with_what_is_finished_or_found(tmp_path: Path) -> None:
    outcome, files = Outcome.on_disk(), new_list()
    assert bytes_per_item(lambda k: outcome.add(done(k))) < 40
    assert bytes_per_item(lambda k: files.append(Found(f"/in/{k}.png", f"{k}.png"))) < 40
    with ResultsLog(tmp_path) as log:
        record = {"verb": "invert", "owner": "o", "origin": "r", "outputs": {"image": {"file": "f", "bytes": 1}}}
        log.add({**record, "name": f"{k:06d}"} for k in range(1000))
        tracemalloc.start()
        log.add({**record, "name": f"{k:06d}"} for k in range(1000, 2000))  # one write: each waits for the disk
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert grown / 1000 < 100  # a record and its key take 1,300 in a dictionary
        assert [one["name"] for one in log.of_verb("invert")] == [f"{k:06d}" for k in range(2000)]
        assert len(log.records) == 2000
        assert log.records.get(("invert", "000007")) == {"padinv": 1, **record, "name": "000007"}
        assert log.records.get(("align", "000007")) is None


def test_the_newest_record_of_a_name_counts_in_this_run_and_the_next(tmp_path: Path) -> None:
    record = {"verb": "invert", "owner": "o", "outputs": {"image": {"file": "f", "bytes": 1}}}
    with ResultsLog(tmp_path) as log:
        log.add([{**record, "name": name, "origin": "old"} for name in ("b", "a\udcff")])
        log.add([{**record, "name": "b", "origin": "new"}])
        assert [(one["name"], one["origin"]) for one in log.of_verb("invert")] == [("a\udcff", "old"), ("b", "new")]
    with ResultsLog(tmp_path) as log:
        assert [(one["name"], one["origin"]) for one in log.of_verb("invert")] == [("a\udcff", "old"), ("b", "new")]
        assert len(log.path.read_bytes().splitlines()) == 2


def test_a_set_of_names_knows_whether_one_came_twice() -> None:
    names = NameSet()
    for k in range(3000):
        names.add(f"{k}")
    assert names.distinct
    names.add("17")
    assert not names.distinct
