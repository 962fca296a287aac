"""Clips from end to end with a tiny model: times, sound, colours, rotation, resuming, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_clip import SIZE, picture, read_clip, sound_packets, write_clip
from tiny_gallery import random_direction

import padinv
from padinv.runtime.alignment.aligner import Aligner
from padinv.runtime.batch import engine
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Reader
from padinv.runtime.errors import InputError, OutputError, UsageError
from padinv.runtime.model import Model
from padinv.runtime.video import clip as clips
from padinv.runtime.video import stages
from padinv.runtime.video.clip import find_clips
from padinv.runtime.video.clip_edit import ClipEdit, Silent
from padinv.runtime.video.colour import Colour, from_pixels, keep_outside, planes, to_pixels
from padinv.runtime.video.edit_clip import edit_clip
from padinv.runtime.video.opening import open_clip
from padinv.runtime.video.video_file import sniff_container

pytest.importorskip("av")


@pytest.fixture
def reader(tiny_bundle: Path) -> Reader:
    model = Model.load(tiny_bundle, "cpu", 1)
    return Reader(model, Aligner(model.spec.template))


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "CHUNK", 5)


class StopAfter(Silent):
    """Interrupts after so many frames of work."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


def invert(reader: Reader, path: Path, out: Path, **options: object) -> list[engine.Event]:
    edit = ClipEdit(edit=lambda codes: {"": codes}, recipe={"verb": "invert"})
    with ResultsLog(out) as log:
        return list(edit_clip(reader, path, edit, log, **options))  # type: ignore[arg-type]


def test_times_and_sound_are_those_of_the_clip(reader: Reader, tmp_path: Path) -> None:
    stamps = [0, 20, 50, 60, 100, 140, 150, 200, 260, 270, 290, 400]  # no steady rate
    source = write_clip(tmp_path / "a.mp4", stamps=stamps)
    (done,) = invert(reader, source, tmp_path / "out")
    assert isinstance(done, engine.Done)
    made = tmp_path / "out" / "a.mp4.mp4"
    times, frames = read_clip(made)
    assert times == pytest.approx([stamp / 600 for stamp in stamps], abs=1e-4)
    assert sound_packets(made) == sound_packets(source)
    assert frames[0].shape == (*SIZE[::-1], 3)
    assert sorted(path.name for path in made.parent.iterdir()) == ["a.mp4.mp4", "results.jsonl"]
    assert done.record["frames"] == 12
    assert 0 < done.record["flicker"]["ratio"] < 2


def test_outside_the_square_the_frames_keep_their_values(reader: Reader, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", full_range=True)
    invert(reader, source, tmp_path / "out")
    before, after = (read_clip(path)[1] for path in (source, tmp_path / "out" / "a.mp4.mp4"))
    change = np.abs(np.stack(after).astype(int) - np.stack(before)).mean(axis=(0, 1, 3))  # by column
    inside = slice((SIZE[0] - SIZE[1]) // 2 + 8, (SIZE[0] + SIZE[1]) // 2 - 8)
    outside = np.r_[0:6, SIZE[0] - 6 : SIZE[0]]
    assert change[outside].max() < 4  # of compression alone
    assert change[inside].mean() > 3 * change[outside].mean()


@pytest.mark.parametrize("format", ["yuv420p", "yuv422p", "yuv444p"])
def test_colours_come_back_and_planes_stay_outside_a_box(format: str) -> None:
    colour = Colour(1, 1, 1, 1, 32)
    one, two = (from_pixels(picture(i), colour, format) for i in (0, 6))
    assert np.abs(to_pixels(one, colour).astype(int) - picture(0)).mean() < 2
    kept = [plane.copy() for plane in planes(one)]
    keep_outside(two, one, (10, 8, 30, 20))
    for mine, theirs in zip(planes(two), kept, strict=True):
        x, y = SIZE[0] // theirs.shape[1], SIZE[1] // theirs.shape[0]
        outside = np.ones(theirs.shape, bool)
        outside[8 // y : 20 // y, 10 // x : 30 // x] = False
        np.testing.assert_array_equal(mine[outside], theirs[outside])
        assert (mine[~outside] != theirs[~outside]).any()


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".webm", ".avi"])
def test_other_containers(reader: Reader, tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "a.mp4", 6)
    if suffix == ".avi":  # a container whose result goes into another one
        source = source.rename(tmp_path / "a.ts")
        shutil.move(write_clip(tmp_path / "b.ts", 6), source)
    else:
        source = write_clip(tmp_path / f"a{suffix}", 6)
    invert(reader, source, tmp_path / "out")
    made = tmp_path / "out" / f"a{source.suffix}{'.mkv' if suffix == '.avi' else suffix}"
    assert made.is_file()
    assert len(read_clip(made)[1]) == 6
    assert [data for _, data in sound_packets(made)]


def test_a_turned_clip_comes_out_upright(reader: Reader, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 2)
    data = source.read_bytes()
    identity = b"".join(value.to_bytes(4, "big") for value in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    quarter = b"".join(
        value.to_bytes(4, "big") for value in (0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 0, 0, 1 << 30)
    )
    track = data.index(b"tkhd")
    place = data.index(identity, track)
    source.write_bytes(data[:place] + quarter + data[place + 36 :])
    with_turn = open_clip(source)
    assert with_turn.size == SIZE[::-1]
    frame = next(iter(with_turn.frames()))
    stored = read_clip(source)[1][0]
    assert np.abs(frame.pixels.astype(int) - np.rot90(stored, -1)).mean() < 3
    assert np.abs(frame.pixels.astype(int) - np.rot90(stored, 1)).mean() > 10
    invert(reader, source, tmp_path / "out")
    made = read_clip(tmp_path / "out" / "a.mp4.mp4")[1][0]
    assert made.shape == frame.pixels.shape
    with_turn.close()


@pytest.mark.parametrize("after", [8, 18, 30, 44])  # in each of the four stages
def test_interrupted_and_resumed_is_bit_equal(reader: Reader, tmp_path: Path, after: int) -> None:
    source = write_clip(tmp_path / "a.mp4")
    invert(reader, source, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        invert(reader, source, tmp_path / "out", progress=StopAfter(after))
    assert not (tmp_path / "out" / "a.mp4.mp4").exists()
    assert (tmp_path / "out" / "a.mp4.work").is_dir()
    (done,) = invert(reader, source, tmp_path / "out")
    files = [tmp_path / folder / "a.mp4.mp4" for folder in ("whole", "out")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not (tmp_path / "out" / "a.mp4.work").exists()
    whole = invert(reader, source, tmp_path / "whole")[0]
    assert isinstance(whole, engine.Kept)
    assert whole.record["flicker"] == done.record["flicker"]  # type: ignore[union-attr]


def test_a_foreign_file_is_left_alone(reader: Reader, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 3)
    made = tmp_path / "out" / "a.mp4.mp4"
    made.parent.mkdir()
    made.write_bytes(b"my holiday")
    (skipped,) = invert(reader, source, tmp_path / "out")
    assert isinstance(skipped, engine.Skipped)
    assert made.read_bytes() == b"my holiday"
    assert isinstance(invert(reader, source, tmp_path / "out", overwrite=True)[-1], engine.Done)
    # A run that was killed before it recorded the file knows it by the origin inside.
    (tmp_path / "out" / "results.jsonl").unlink()
    assert isinstance(invert(reader, source, tmp_path / "out")[-1], engine.Done)


def test_a_folder_of_frames_is_a_clip(reader: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(7):
        Image.fromarray(picture(i)).save(folder / f"{i:03d}.png")
    with pytest.raises(KeyboardInterrupt):
        invert(reader, folder, tmp_path / "out", fps=10, progress=StopAfter(24))
    assert isinstance(invert(reader, folder, tmp_path / "out", fps=10)[-1], engine.Done)
    made = tmp_path / "out" / "frames"
    assert sorted(path.name for path in made.iterdir()) == [f"{i:03d}.png.png" for i in range(7)]
    pixels = np.asarray(Image.open(made / "004.png.png"))
    np.testing.assert_array_equal(pixels[:, :8], picture(4)[:, :8])  # outside the square
    assert np.abs(pixels.astype(int) - picture(4)).mean() > 0.5
    assert isinstance(invert(reader, folder, tmp_path / "out", fps=10)[-1], engine.Kept)


def test_frames_of_two_sizes_are_refused(reader: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / "0.png")
    Image.fromarray(picture(0, (20, 20))).save(folder / "1.png")
    (skipped,) = invert(reader, folder, tmp_path / "out", fps=10)
    assert isinstance(skipped, engine.Skipped)
    assert "are not one clip" in skipped.reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a video"),
        (b"hello", "is not a video"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "is not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "is not a video"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(300), "is damaged"),
        (None, "does not exist|cannot be read"),
    ],
)
def test_what_is_not_a_video_is_refused_in_a_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        open_clip(path)
    assert "\n" not in str(caught.value)


def test_a_clip_that_ends_early_is_refused_before_anything_is_written(reader: Reader, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", 12)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    events = invert(reader, source, tmp_path / "out")
    left = [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".mkv"]
    assert left == [] or isinstance(events[-1], engine.Done)  # MKV may end anywhere; what is there is a clip
    mp4 = write_clip(tmp_path / "b.mp4", 12)
    data = mp4.read_bytes()
    header = data.index(b"moov") - 4  # at the end: without it nothing can be read
    mp4.write_bytes(data[:header])
    with pytest.raises(InputError, match="damaged"):
        invert(reader, mp4, tmp_path / "out")


def test_limits_on_size_and_length(tmp_path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_clip(tmp_path / "a.mp4", 6)
    monkeypatch.setattr(clips, "MAX_FRAMES", 5)
    with pytest.raises(InputError, match="more than 5 frames"):
        open_clip(source)
    monkeypatch.setattr(clips, "MAX_SIDE", 40)
    with pytest.raises(InputError, match="48 x 32 pixels, more than the limit"):
        open_clip(source)


def test_clips_and_pictures_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one command each"):
        find_clips([tmp_path / "a.mp4", tmp_path / "b.png"])
    with pytest.raises(UsageError, match="--fps takes a folder"):
        find_clips([tmp_path / "b.png"], 25)
    assert find_clips([tmp_path], 25) == [tmp_path]
    assert find_clips([tmp_path]) == []
    assert sniff_container(b"GIF89a" + bytes(300)) is None


def test_the_python_call(tiny_bundle: Path, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 3)
    result = padinv.invert_folder(source, out=tmp_path / "out", model=tiny_bundle, smooth=2)
    assert result.exit_code == 0
    assert result.files["a.mp4"]["video"] == tmp_path / "out" / "a.mp4.mp4"
    change = random_direction(1, "latent", "smile")
    again = padinv.edit_folder(change, source, out=tmp_path / "other", model=tiny_bundle, strength=3)
    assert not np.array_equal(*(read_clip(one.files["a.mp4"]["video"])[1][0] for one in (result, again)))
    with pytest.raises(UsageError, match="smoothing"):
        padinv.invert_folder(source, out=tmp_path / "out", model=tiny_bundle, smooth=-1)


def test_a_full_disk_leaves_no_file(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from padinv.runtime.video import video_writer

    source = write_clip(tmp_path / "a.mp4", 3)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video_writer, "seal_file", full)
    with pytest.raises(OutputError, match="No space left"):
        invert(reader, source, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.mp4"))
