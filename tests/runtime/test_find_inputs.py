from __future__ import annotations

import os
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from padinv.picture_sources.folder import FolderSource
from padinv.picture_sources.opening import open_pictures
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.batch.folder_walk import RUN_FILES, SHEET_MARK, unread_sentence
from padinv.runtime.batch.result_names import distinct_names
from padinv.runtime.batch.results_log import RESULTS_MARK


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


HIDDEN = (
    "in/.ipynb_checkpoints/h.png",
    "in/@eaDir/h.png",
    "in/__MACOSX/h.png",
    "in/$RECYCLE.BIN/h.png",
    "in/.Trash-1000/h.png",
    "in/lost+found/h.png",
    "in/run/samples/000001.png",
    "in/old/r.png",
    "in/sub/contact-sheet.png",
)


@pytest.fixture
def crowded(tree) -> Path:
    """The tree with everything that is not anybody's photograph, a link loop, a dangling link and a linked folder."""
    for name in HIDDEN:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("x")
    for name in RUN_FILES:
        (tree / "in/run" / name).write_text("{}")
    (tree / "in/old/results.jsonl").write_bytes(RESULTS_MARK + b"1}")
    (tree / "in/sub/contact-sheet.png").write_bytes(b"\x89PNG" + SHEET_MARK)
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere/linked.jpg").write_text("x")
    (tree / "in/link").symlink_to(tree / "elsewhere", target_is_directory=True)
    (tree / "in/round").symlink_to("round")
    (tree / "in/round.png").symlink_to("round.png")
    (tree / "in/gone.jpg").symlink_to("nowhere")
    return tree


PHOTOGRAPHS = ["a.jpg", "link/linked.jpg", "sub/b.PNG", "sub/deep/c.webp"]


def test_only_photographs_are_taken_from_a_crowded_folder(crowded):
    gathered = gather(["in"])
    assert sorted(found.name for found in gathered.files) == PHOTOGRAPHS
    assert sorted(path for path, _ in gathered.problems) == ["in/gone.jpg", "in/round.png"]
    assert {why for _, why in gathered.problems} == {"is a link that leads nowhere"}
    assert set(PHOTOGRAPHS) <= set(names("in/**/*.*"))
    assert not set(names("in/**/*.png")) & {"run/samples/000001.png", "old/r.png", "@eaDir/h.png", "__MACOSX/h.png"}


def test_training_takes_what_inverting_takes(crowded):
    folder = FolderSource("in")
    assert [folder.name(i) for i in range(len(folder))] == PHOTOGRAPHS
    assert sorted(note.split(" ")[0] for note in folder.notes) == ["in/gone.jpg", "in/round.png"]
    with zipfile.ZipFile(crowded / "all.zip", "w") as archive:
        for name in (*PHOTOGRAPHS, *(hidden.removeprefix("in/") for hidden in HIDDEN[:6])):
            archive.writestr(name, "x")
    packed = open_pictures(crowded / "all.zip")
    assert [packed.name(i) for i in range(len(packed))] == PHOTOGRAPHS


def test_images_that_are_not_read_are_counted_in_one_sentence(tree):
    for name in ("in/a.gif", "in/b.CR2", "in/sub/c.cr2", "in/d.jxl", "in/.e.gif"):
        (tree / name).write_text("x")
    gathered = gather(["in"])
    assert len(gathered.files) == 3
    assert gathered.problems == []
    assert gathered.passed_over == 1
    assert gathered.skipped() == [
        (
            "in",
            "in holds 4 images of a format that is not read here (2 .cr2, 1 .gif, 1 .jxl), so they were skipped; "
            "convert them to JPEG or PNG",
        )
    ]
    assert FolderSource("in").notes == [gathered.skipped()[0][1]]
    assert unread_sentence("x", Counter({".heic": 1})) == (
        "x holds 1 image of a format that is not read here (1 .heic), so it was skipped; "
        "convert them to JPEG or PNG, or for HEIC: pip install 'padinv[heif]'"
    )
    assert gather(["in/*.gif"]).skipped() == []  # named outright: its reader says what it is


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
