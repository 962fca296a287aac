"""Flicker of edited clips, and whether an interrupted run ends in the same bytes; writes results/video_flicker.md.

Each clip is made from a public-domain portrait that moves, turns and grows (`moving_portrait`). The face itself stands
still, so that every change of the aligned result is flicker. Besides padinv's own report the flicker is measured on the
final files: source and result are cut out where the known movement says the face is.

    python benchmarks/video_flicker.py [--model BUNDLE] [--frames 100]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import moving_portrait
import numpy as np
from PIL import Image

import padinv
from padinv import Model
from padinv.runtime.alignment.aligner import Aligner
from padinv.runtime.alignment.crop import crop_square
from padinv.runtime.alignment.similarity import inverted
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.benchmark.machine import this_machine
from padinv.runtime.video.flicker import Flicker, change

RESULT = Path(__file__).parent / "results" / "video_flicker.md"
EDITS = {"invert": None, "smile": "smile"}
# Portrait, edit, smoothing.
CASES = [("collins", "invert", 1.0), ("hopper", "smile", 1.0), ("collins", "invert", 0.0)]
STOP_AT = (0.1, 0.35, 0.6, 0.85)  # of the time of a whole run


def squares(path: Path, transforms: list[np.ndarray], side: int) -> Iterator[np.ndarray]:
    """The aligned square of each frame of a file, where the known movement says."""
    with av.open(str(path)) as container:
        for frame, transform in zip(container.decode(video=0), transforms, strict=True):
            pixels = crop_square(Image.fromarray(frame.to_ndarray(format="rgb24")), transform, side)
            assert pixels is not None
            yield pixels


def measured(source: Path, result: Path, transforms: list[np.ndarray], side: int) -> Flicker:
    """Flicker of a final file by the known movement, without the seam."""
    inner = slice(side // 6, side - side // 6)
    changes, before = [], None
    for pair in zip(squares(source, transforms, side), squares(result, transforms, side), strict=True):
        now = [square[inner, inner] for square in pair]
        if before is not None:
            changes.append([change(a, b) for a, b in zip(now, before, strict=True)])
        before = now
    return Flicker.of(changes)


def command(bundle: str | None, edit: str | None, clip: Path, out: Path, smooth: float) -> list[str]:
    """The command line of one run."""
    verb = ["invert"] if edit is None else ["edit", edit]
    model = [] if bundle is None else ["--model", bundle]
    return [sys.executable, "-m", "padinv", *verb, str(clip), "--out", str(out), "--smooth", str(smooth), "-q", *model]


def killed_and_resumed(run: list[str], made: Path, seconds: float) -> int:
    """Kill a run several times, let it end, and say how often it was killed."""
    kills = 0
    for share in STOP_AT:
        process = subprocess.Popen(run)
        try:
            process.wait(share * seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            assert not made.exists(), "a killed run left a file at the final name"
    subprocess.run(run, check=True)
    return kills


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_clip(aligner: Aligner, folder: Path, name: str, frames: int) -> tuple[Path, list[np.ndarray]]:
    """The clip of a portrait, and where its aligned square lies in each frame."""
    clip = folder / f"{name}.mp4"
    movements = moving_portrait.write_clip(clip, frames, name)
    first = aligner.place(moving_portrait.portrait(name)).transform
    assert first is not None
    whole = np.vstack([first, [0, 0, 1]])
    return clip, [(whole @ np.vstack([inverted(forward), [0, 0, 1]]))[:2] for forward in movements]


def page(lines: list[str], equal: tuple[int, bool], model: Model, frames: int) -> str:
    """The result file."""
    times = ", ".join(f"{share:.0%}" for share in STOP_AT)
    return "\n".join(
        [
            "# Flicker of clips",
            "",
            f"`benchmarks/video_flicker.py`, model {model.bundle.name} ({model.generator_hash[:12]}),",
            f"{this_machine().processor}. Clips of {frames} frames of 480 x 360 pixels at 25 per second: a portrait",
            "that swings by a tenth of the width, turns by 6 degrees either way, and grows to 1.4 times its size, with",
            "noise of 1.5 of 255.",
            "",
            "Change from frame to frame, mean absolute difference of 255, in the aligned square: as padinv reports it",
            "(where its smoothed transform cuts), and on the final file (where the known movement says the face is,",
            "seam left out).",
            "",
            "| portrait | edit | smooth | source | result | ratio | source, final | result, final | ratio, final | "
            "frames without a face |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *lines,
            "",
            f"Killed (SIGKILL) {equal[0]} times, at {times} of a run's time, and run again: the file is",
            f"{'bit-equal to' if equal[1] else '**not** equal to'} that of a run that was never stopped.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="bundle; the built-in model if left out")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--cases", type=int, default=len(CASES), help="take the first cases only")
    parser.add_argument("--write", type=Path, default=RESULT)
    arguments = parser.parse_args()
    model = padinv.load(arguments.model)
    aligner = Aligner(model.spec.template, "always")
    lines = []
    equal = None
    with tempfile.TemporaryDirectory() as folder:
        made_clips: dict[str, tuple[Path, list[np.ndarray]]] = {}
        for name, label, smooth in CASES[: arguments.cases]:
            if name not in made_clips:
                made_clips[name] = make_clip(aligner, Path(folder), name, arguments.frames)
            clip, transforms = made_clips[name]
            out = Path(folder) / f"{name}-{label}-{smooth:g}"
            run = command(arguments.model, EDITS[label], clip, out, smooth)
            started = time.perf_counter()
            subprocess.run(run, check=True)
            seconds = time.perf_counter() - started
            made = out / f"{name}.mp4.mp4"
            with ResultsLog(out) as log:
                (record,) = log.records.values()
            own, final = record["flicker"], measured(clip, made, transforms, model.spec.image_size)
            lines.append(
                f"| {name} | {label} | {smooth:g} | {own['source']:.2f} | {own['result']:.2f} | "
                f"**{own['ratio']:.2f}** | {final.source:.2f} | {final.result:.2f} | **{final.ratio:.2f}** | "
                f"{record['without_face']} |"
            )
            print(lines[-1], f"{seconds:.0f} s", flush=True)
            if equal is None:
                again = Path(folder) / "killed"
                killed = command(arguments.model, EDITS[label], clip, again, smooth)
                kills = killed_and_resumed(killed, again / made.name, seconds)
                equal = (kills, digest(made) == digest(again / made.name))
                print(equal, flush=True)
            arguments.write.write_text(
                page(lines, equal, model, arguments.frames), encoding="utf-8"
            )  # after every case
    print(arguments.write.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
