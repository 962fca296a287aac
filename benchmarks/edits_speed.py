"""How fast editing is: a cold `padinv blend`, and a saved direction over 1,000 saved inversions.

    python benchmarks/edits_speed.py [--model BUNDLE] [--pictures 1000]

The blend is timed as a command of its own, started again each time, of two aligned pictures; the median of seven. The
direction's rate is that of `padinv custom-edit --direction` without sheet and page, beside the rate of `generate` and
writing the same number of pictures with nothing else done, both in this process, alternating, the median of three.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from edits_data import parser

from padinv.runtime import Inversion, Model, difference
from padinv.runtime.alignment.aligner import Aligner
from padinv.runtime.batch.edit_files import Job, Task, edit_files
from padinv.runtime.batch.engine import Done
from padinv.runtime.batch.results_log import ResultsLog
from padinv.runtime.batch.sources import Reader, find_sources
from padinv.runtime.editing import apply
from padinv.runtime.images import array_to_image
from padinv.runtime.images.png_metadata import save_png


def cold_blend(folder: Path, model: Model, threads: int | None) -> float:
    """Median seconds of seven runs."""
    pictures = model.generate(model.sample([1, 2], truncation=0.7))
    for name, pixels in zip(("a.png", "b.png"), pictures, strict=True):
        array_to_image(pixels).save(folder / name)
    program = "import sys; from padinv.cli.main import main; sys.argv = ['padinv', *sys.argv[1:]]; main()"
    call = [sys.executable, "-c", program, "blend", str(folder / "a.png"), str(folder / "b.png")]
    call += ["--model", str(model.bundle.folder), "--no-sheet", "--overwrite", "--out", str(folder / "blend")]
    call += ["--threads", str(threads)] if threads else []
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run(call, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--pictures", type=int, default=1000)
    given = arguments.parse_args()
    model = Model.load(given.model, threads=given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blend = cold_blend(folder, model, given.threads)
        print(f"cold blend of two aligned pictures: {blend:.2f} s")
        everything = model.sample(list(range(given.pictures)), truncation=0.7)
        (folder / "inv").mkdir()
        for i in range(given.pictures):
            everything[i].save(folder / "inv" / f"{i:04d}.safetensors")
        direction = difference(everything[0], everything[1])
        sources, _ = find_sources([folder / "inv"])
        reader = Reader(model, Aligner(model.spec.template, "never"))
        jobs = [Job(source, source.name) for source in sources]

        def edited(run: int) -> float:
            task = Task(lambda batch: {"": apply(batch, direction, "both", 0.1)}, {"run": run})
            started = time.perf_counter()
            with ResultsLog(folder / f"edited-{run}") as log:
                done = sum(isinstance(event, Done) for event in edit_files(reader, jobs, task, log))
            assert done == given.pictures
            return given.pictures / (time.perf_counter() - started)

        def plain(run: int) -> float:
            held: list[Inversion] = [everything[i : i + 16] for i in range(0, given.pictures, 16)]
            started = time.perf_counter()
            count = 0
            for batch in held:
                for pixels in model.generate(batch):
                    save_png(folder / f"plain-{run}" / f"{count:04d}.png", np.asarray(pixels), {})
                    count += 1
            return given.pictures / (time.perf_counter() - started)

        rates = [(edited(run), plain(run)) for run in range(3)]
    direction_rate, plain_rate = (statistics.median(values) for values in zip(*rates, strict=True))
    share = direction_rate / plain_rate
    print(f"a saved direction: {direction_rate:.0f} pictures/s, {share:.0%} of generating and writing alone")
    print(f"generating and writing alone: {plain_rate:.0f} pictures/s")
    if given.json:
        numbers = {"cold_blend_s": blend, "direction_per_s": direction_rate, "plain_per_s": plain_rate}
        given.json.write_text(json.dumps(numbers))


if __name__ == "__main__":
    main()
