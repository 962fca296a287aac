from __future__ import annotations

import os
from pathlib import Path

import pytest

from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.result_names import distinct_names


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    for name in ("in/a.jpg", "in/sub/b.PNG", "in/sub/deep/c.webp", "in/notes.txt", "in/.hidden.png", "in/.git/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths: str, out: str | None = None) -> list[str]:
    return [found.name for found in gather(paths, out).files]


def test_folders_are_mirrored_and_hidden_or_foreign_files_passed_over(tree):
    gathered = gather(["in"])
    assert [found.name for found in gathered.files] == ["a.jpg", "sub/b.PNG", "sub/deep/c.webp"]
    assert gathered.passed_over == 1
    assert gathered.problems == []


def test_files_named_outright_are_taken_whatever_they_are_called(tree):
    assert names("in/notes.txt", "in/.hidden.png") == ["notes.txt", ".hidden.png"]


def test_patterns(tree):
    assert names("in/*.jpg") == ["a.jpg"]
    assert names("in/**/*.PNG") == ["sub/b.PNG"]
    assert names("in/s*") == ["sub/b.PNG", "sub/deep/c.webp"]
    assert gather(["in/*.gif"]).problems == [("in/*.gif", "matches no file")]
    (tree / "in" / "odd[1].png").write_text("x")  # exists under that very name, so it is no pattern
    assert names("in/odd[1].png") == ["odd[1].png"]


def test_what_is_missing_is_named(tree):
    (tree / "dangling.png").symlink_to("nowhere")
    gathered = gather(["missing.png", "in/a.jpg", "dangling.png"])
    assert gathered.problems == [("missing.png", "does not exist"), ("dangling.png", "is a link that leads nowhere")]
    assert len(gathered.files) == 1


def test_the_same_file_twice_is_read_once(tree):
    assert names("in/a.jpg", "./in/../in/a.jpg", "in") == ["a.jpg", "sub/b.PNG", "sub/deep/c.webp"]


def test_equal_names_of_two_inputs_are_told_apart_by_their_folders(tree):
    for folder in ("x/set", "y/set"):
        (tree / folder).mkdir(parents=True)
        (tree / folder / "a.jpg").write_text("x")
        (tree / folder / "only.jpg").write_text("x")
    (tree / "y/set/only.jpg").unlink()
    assert names("x/set", "y/set") == ["x/set/a.jpg", "only.jpg", "y/set/a.jpg"]
    assert names("x/set/a.jpg", "in/a.jpg") == ["set/a.jpg", "in/a.jpg"]
    assert names("y/set/a.jpg", "x/set/a.jpg") == ["y/set/a.jpg", "x/set/a.jpg"]


def test_names_that_differ_only_in_case_do_not_collide(tree):
    (tree / "in" / "A.jpg").write_text("x")
    found = names("in")
    assert len({name.casefold() for name in found}) == len(found) == 4


def test_very_long_names_leave_room_for_suffixes(tree):
    for letter in "ab":
        (tree / "in" / ("é" * 100 + letter * 40 + ".png")).write_text("x")
    long = [name for name in names("in") if "é" in name]
    assert len(set(long)) == 2
    assert all(len(os.fsencode(name)) <= 220 and name.endswith(".png") for name in long)


def test_link_loops_end_and_a_real_path_wins_over_a_link(tree):
    (tree / "in" / "loop").symlink_to("..", target_is_directory=True)
    (tree / "in" / "again").symlink_to("sub", target_is_directory=True)
    assert sorted(names("in")) == ["a.jpg", "sub/b.PNG", "sub/deep/c.webp"]


def test_the_output_folder_and_earlier_results_are_not_read(tree):
    for folder in ("in/out", "in/old"):
        (tree / folder).mkdir()
        (tree / folder / "r.png").write_text("x")
    assert "out/r.png" in names("in")
    assert "out/r.png" not in names("in", out="in/out")
    assert "out/r.png" not in names("in", out=str(tree / "in" / "sub" / ".." / "out"))
    (tree / "in/old/results.jsonl").write_text('{"padinv": 1, "name": "r"}\n')
    assert "old/r.png" not in names("in")
    assert names("in/old") == ["r.png"]  # asked for by name


def test_names_cannot_lead_out_of_the_results(tree):
    found = distinct_names([(Path("/a/../b.png"), "../b.png"), (Path("/b.png"), "/b.png")])
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in found)
    assert len(set(found)) == 2


def test_a_folder_that_cannot_be_listed_is_a_problem(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    gathered = gather(["in"])
    assert [found.name for found in gathered.files] == ["a.jpg"]
    assert gathered.problems == [("in/sub", "cannot be listed: Permission denied")]
