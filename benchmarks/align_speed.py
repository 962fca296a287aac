"""What alignment costs: processor time of `padinv invert --align auto` beside `--align never`.

    python benchmarks/align_speed.py [--images 200] [--model BUNDLE]

Two folders: squares that are aligned already (samples of the bundle's generator), and photographs of 1.6, 3 and 12
megapixels with one of two public-domain portraits somewhere in a room, turned by up to 20 degrees. Every command runs
three times, the two modes in turn, and the smallest processor time (user and system, start of the program included)
counts; so do the times without the start, which an empty folder of one image measures.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from padinv.runtime.images import array_to_image
from padinv.runtime.model import Model

REPEATS = 3
SIZES = ((1536, 1024), (2000, 1500), (4000, 3000))


def portraits() -> list[Image.Image]:
    import matplotlib
    import skimage

    hopper = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    astronaut = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return [Image.open(path).convert("RGB") for path in (hopper, astronaut)]


def write_photographs(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    people = portraits()
    for i in range(count):
        size = SIZES[i % len(SIZES)]
        y, x = np.mgrid[0 : size[1] : 8, 0 : size[0] : 8]
        wall = 120 + 60 * np.sin(x / rng.uniform(90, 400) + y / rng.uniform(90, 400))
        room = np.repeat(wall[..., None], 3, axis=2) + rng.normal(0, 6, (*wall.shape, 3)) + rng.uniform(-30, 30, 3)
        photo = Image.fromarray(np.clip(room, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        person = people[i % 2].rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, fillcolor=(120, 120, 120))
        height = int(size[1] * rng.uniform(0.4, 0.95))
        person = person.resize((height * person.width // person.height, height), Image.Resampling.LANCZOS)
        at = (int(rng.uniform(0, size[0] - person.width)), int(rng.uniform(0, size[1] - height)))
        photo.paste(person, at)
        photo.save(folder / f"{i:04d}.jpg", quality=92)


def write_aligned(folder: Path, count: int, model: Model) -> None:
    for seed in range(count):
        image = array_to_image(model.generate(model.sample(seed, truncation=0.7))[0])
        image.save(folder / f"{seed:04d}.jpg", quality=95)


def seconds(folder: Path, mode: str, model: str | None) -> float:
    """Processor seconds of one `padinv invert` over a folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "padinv", "invert", str(folder), "--align", mode, "--out", f"{out}/r"]
        command += ["--no-report", *(["--model", model] if model else [])]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    print("| folder | images | never | auto | ratio | ratio without the start |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        aligned, photographs = Path(place, "aligned"), Path(place, "photographs")
        aligned.mkdir()
        photographs.mkdir()
        write_aligned(aligned, arguments.images, Model.load(arguments.model))
        write_photographs(photographs, arguments.images)
        for folder in (aligned, photographs):
            one = Path(place, f"one-{folder.name}")
            one.mkdir()
            first = sorted(folder.iterdir())[0]
            (one / first.name).write_bytes(first.read_bytes())
            times: dict[tuple[str, str], list[float]] = {}
            for _ in range(REPEATS):
                for mode in ("never", "auto"):
                    for which, path in (("all", folder), ("one", one)):
                        times.setdefault((mode, which), []).append(seconds(path, mode, arguments.model))
            least = {key: min(values) for key, values in times.items()}
            never, auto = least["never", "all"], least["auto", "all"]
            per = [(least[mode, "all"] - least[mode, "one"]) / (arguments.images - 1) for mode in ("never", "auto")]
            print(
                f"| {folder.name} | {arguments.images} | {never:.2f} s | {auto:.2f} s | {auto / never:.2f} "
                f"| {per[1] / per[0]:.2f} ({1e3 * per[0]:.1f} -> {1e3 * per[1]:.1f} ms per image) |"
            )


if __name__ == "__main__":
    main()
