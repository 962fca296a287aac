"""A clip from end to end: follow the face, encode, smooth, edit, paste back; the same command resumes at any moment."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.alignment.paste_back import paste_back, pasted_box
from padinv.runtime.alignment.similarity import square_transform
from padinv.runtime.alignment.templates import template_named
from padinv.runtime.batch import engine
from padinv.runtime.batch.folder_walk import is_output_folder
from padinv.runtime.batch.results_log import ResultsLog, new_record
from padinv.runtime.batch.sources import Reader
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.files import digest
from padinv.runtime.images import square_box
from padinv.runtime.model import DEFAULT_BATCH
from padinv.runtime.passes import checked_passes
from padinv.runtime.provenance.command_text import Command
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.video import stages
from padinv.runtime.video.clip import Clip, Frame
from padinv.runtime.video.clip_edit import ClipEdit, Progress, Silent
from padinv.runtime.video.edited_squares import EditedSquares, Samples
from padinv.runtime.video.flicker import Flicker
from padinv.runtime.video.frame_folder import FrameFolder
from padinv.runtime.video.frame_writer import FrameStep
from padinv.runtime.video.opening import open_clip
from padinv.runtime.video.placing import Placing, placed
from padinv.runtime.video.tracking import FaceTracker
from padinv.runtime.video.video_file import VideoFile
from padinv.runtime.video.video_writer import Box, result_suffix, write_video

WORK = ".work"  # suffix of the folder with the chunks, which goes when the clip is finished


def edit_clip(
    reader: Reader,
    path: Path,
    edit: ClipEdit,
    log: ResultsLog,
    *,
    fps: float | None = None,
    batch_size: int = DEFAULT_BATCH,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Generator[engine.Event, None, None]:
    """Edit the face of a clip and write the result into `log.out`; ends with a `Done`, `Kept` or `Skipped`.

    The result is NAME.mp4 (.mov, .mkv or .webm, as the source) for a video file, or a folder NAME with PNG files for a
    folder of frames. Finished chunks lie in NAME.work meanwhile, and the final file is written from them alone, so an
    interruption at any moment changes nothing in it.

    Args:
        fps: frames per second, if `path` is a folder of frames.

    Raises:
        InputError: the clip cannot be read, or shows no face. OutputError: a result cannot be written.
        BundleError, BackendError: the model cannot run. MissingPackageError: PyAV is not installed.
    """
    if isinstance(reader.aligner.conditions.get("landmarks"), str):
        raise UsageError("landmarks from a file are for pictures; the face of a clip is followed by the detector")
    with closing(open_clip(path, fps)) as clip:
        job = _Job(reader, clip, edit, log, batch_size, overwrite, progress or Silent())
        yield from job.run()


class _Job:
    def __init__(
        self,
        reader: Reader,
        clip: Clip,
        edit: ClipEdit,
        log: ResultsLog,
        batch_size: int,
        overwrite: bool,
        progress: Progress,
    ) -> None:
        self.reader, self.model, self.clip, self.edit, self.log = reader, reader.model, clip, edit, log
        self.batch_size, self.overwrite, self.progress = batch_size, overwrite, progress
        self.name = edit.name or clip.name
        self.is_video = isinstance(clip, VideoFile)
        self.work = log.out / f"{self.name}{WORK}"
        self.samples = Samples(self.model.spec.image_size)

    def run(self) -> Iterator[engine.Event]:
        task = self._task()
        if not self.overwrite:
            if record := self.log.done(task):
                self._tidy()
                yield engine.Kept(task, record)
                return
            if sentence := self.log.foreign(task, task.outputs.values()):
                yield engine.Skipped(task.path, sentence, task, engine.EXISTS)
                return
        try:
            with ResultsLog(self.work) as work:
                placing, times = self._placing(work)
                codes = self._codes(work, placing, times)
                squares = self._squares(work, placing, codes)
                flicker = Flicker.of(pair for record in squares.values() for pair in record["changes"])
                shown = EditedSquares(self.work, squares)
                self.samples.choose(placing)
                notes, outputs = self._write(task, placing, shown)
        except InputError as error:
            yield engine.Skipped(task.path, str(error), task, error.code)
            return
        record = self._record(task, placing, flicker, outputs)
        self.log.add([record])
        self._tidy()
        for note in [*notes, *_notes(self.clip, placing)]:
            yield engine.Note(note, str(self.clip.path))
        yield engine.Done(task, record, engine.Product({}, shown=self.samples.taken))

    def _task(self) -> engine.Task:
        conditions = {
            "clip": self.clip.identity(),
            "model": self.model.bundle.fingerprint,
            "precision": self.model.precision,
            "recipe": digest(dict(self.edit.recipe)),
            "align": self.reader.aligner.conditions,
            "fit": self.reader.aligner.fit,
            "smooth": self.edit.smooth,
            "feather": self.edit.feather,
            **self._passes,
        }
        verb = str(self.edit.recipe.get("verb", "edit"))
        outputs = {"video": f"{self.name}{result_suffix(self.clip.path)}"} if self.is_video else {}
        marking = self.edit.marking or Marking.of(self.model.bundle, Command(verb))
        if self.is_video and marking.enabled and marking.signer is not None:
            raise UsageError("C2PA signatures are for pictures, and not for video files; leave out --c2pa-certificate")
        path, inputs = str(self.clip.path), self.edit.inputs or (self.clip.name,)
        return engine.Task(
            verb, self.name, path, conditions, conditions, outputs, self.clip, inputs=inputs, marking=marking
        )

    @property
    def _passes(self) -> dict[str, int]:
        """The passes of an iterative encoder; nothing for the others."""
        count = checked_passes(self.edit.passes, self.model.passes, self.model.bundle.name)
        return {"passes": count} if self.model.passes > 1 else {}

    def _chunks(
        self, step: engine.Step, tasks: Sequence[engine.Task], work: ResultsLog
    ) -> Iterator[engine.Done | engine.Kept]:
        """The chunks of a stage, done or kept, in order.

        Raises:
            InputError: one of them cannot be made.
        """
        done = []
        for event in engine.run(step, tasks, work, batch_size=1, overwrite=False):
            if isinstance(event, engine.Skipped):
                raise InputError(event.reason, code=event.code)
            if isinstance(event, engine.Kept):
                self.progress.advance(event.task.payload.stop - event.task.payload.start)
            if isinstance(event, (engine.Done, engine.Kept)):
                done.append(event)
        yield from sorted(done, key=lambda event: event.task.payload.number)

    def _placing(self, work: ResultsLog) -> tuple[Placing, list[float]]:
        """Where the face is, followed through the whole clip."""
        aligner, size = self.reader.aligner, self.clip.size
        tracker = FaceTracker(aligner.open_detector(), aligner.face) if aligner.active else None
        self.progress.begin("following the face" if tracker else "reading", self.clip.expected)
        step = stages.TrackStage(self.clip, tracker, self.progress.advance)
        times: list[float] = []
        landmarks: list[np.ndarray | None] = []
        conditions = {"align": aligner.conditions}
        while len(times) % stages.CHUNK == 0:
            part = stages.chunk(len(times) // stages.CHUNK)
            task = stages.chunk_task("track", ".json", part, self.clip, conditions)
            (event,) = self._chunks(step, [task], work)
            more, found = stages.read_track(work.out / event.record["outputs"]["track"]["file"])
            if isinstance(event, engine.Kept) and tracker is not None:
                tracker.last = next((one for one in reversed(found) if one is not None), tracker.last)
            times += more
            landmarks += found
            if not more:
                break
        if tracker is None:
            return Placing.fixed(square_transform(square_box(size, aligner.fit)), len(times)), times
        if all(one is None for one in landmarks):
            raise InputError(
                f"no face was found in any frame of {self.clip.path}, so nothing was done; --align never takes the "
                "whole frames",
                code="no-face",
            )
        assert aligner.template is not None
        return placed(landmarks, times, template_named(aligner.template), self.edit.smooth), times

    def _codes(self, work: ResultsLog, placing: Placing, times: list[float]) -> dict[int, str]:
        """Chunk -> file of its codes; chunks without a face have none."""
        tasks = self._chunk_tasks("codes", ".safetensors", placing, self._code_conditions)
        self.progress.begin("encoding", placing.shown)
        step = stages.CodesStage(
            self.model,
            self.clip,
            placing,
            times,
            batch_size=self.batch_size,
            passes=self.edit.passes,
            tick=self.progress.advance,
        )
        done = self._chunks(step, tasks, work)
        return {event.task.payload.number: event.record["outputs"]["codes"]["file"] for event in done}

    @property
    def _code_conditions(self) -> dict[str, Any]:
        """What decides the codes besides the clip."""
        return {
            "align": self.reader.aligner.conditions,
            "fit": self.reader.aligner.fit,
            "smooth": self.edit.smooth,
            "model": self.model.bundle.fingerprint,
            "precision": self.model.precision,
            **self._passes,
        }

    def _squares(self, work: ResultsLog, placing: Placing, codes: dict[int, str]) -> dict[int, Mapping[str, Any]]:
        """Chunk -> record of its edited squares."""
        conditions = {**self._code_conditions, "recipe": digest(dict(self.edit.recipe))}
        tasks = self._chunk_tasks("squares", ".png", placing, conditions)
        self.progress.begin("editing", placing.shown)
        step = stages.SquaresStage(
            self.model,
            work.out,
            self.edit.edit,
            codes,
            smooth=self.edit.smooth,
            batch_size=self.batch_size,
            tick=self.progress.advance,
        )
        return {event.task.payload.number: event.record for event in self._chunks(step, tasks, work)}

    def _chunk_tasks(
        self, verb: str, suffix: str, placing: Placing, conditions: Mapping[str, Any]
    ) -> list[engine.Task]:
        count = len(placing.transforms)
        parts = [stages.chunk(number, count) for number in range(-(-count // stages.CHUNK))]
        return [
            stages.chunk_task(verb, suffix, part, self.clip, conditions)
            for part in parts
            if any(transform is not None for transform in placing.transforms[part.start : part.stop])
        ]

    def _write(
        self, task: engine.Task, placing: Placing, squares: EditedSquares
    ) -> tuple[list[str], dict[str, dict[str, Any]]]:
        """The final file or files: notes, and the outputs of the record."""
        self.progress.begin("writing", len(placing.transforms))
        if isinstance(self.clip, VideoFile):
            name = task.outputs["video"]
            pasted = self._pasted(placing, squares)
            notes = write_video(self.clip, pasted, self.log.out / name, task)
            return notes, {"video": {"file": name, "bytes": (self.log.out / name).stat().st_size}}
        assert isinstance(self.clip, FrameFolder)
        step = FrameStep(self.clip, placing, squares, self.samples, self.edit.feather)
        outputs = {}
        tasks = [step.task(frame, task) for frame in range(len(placing.transforms))]
        for event in engine.run(step, tasks, self.log, batch_size=self.batch_size, overwrite=self.overwrite):
            if isinstance(event, engine.Skipped):
                raise InputError(event.reason, code=event.code)
            if isinstance(event, (engine.Done, engine.Kept)):
                outputs[event.task.name] = event.record["outputs"]["frame"]
                self.progress.advance()
        return [], outputs

    def _pasted(
        self, placing: Placing, squares: EditedSquares
    ) -> Iterator[tuple[Frame, np.ndarray | None, Box | None]]:
        """Every frame of a video with its square in it."""
        for frame in self.clip.frames():
            transform, square = placing.transforms[frame.index], squares.of(frame.index)
            if transform is None or square is None:
                yield frame, None, None
            else:
                self.samples.add(frame, transform, square)
                pixels = paste_back(frame.pixels, square, transform, self.edit.feather)
                yield frame, pixels, pasted_box(transform, self.clip.size)
            self.progress.advance()

    def _record(
        self, task: engine.Task, placing: Placing, flicker: Flicker, outputs: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        return new_record(
            task,
            outputs,
            {
                "source": str(self.clip.path),
                "frames": len(placing.transforms),
                "held": placing.held,
                "without_face": placing.passed,
                "cuts": max(0, len(set(placing.segments) - {-1}) - 1),
                "flicker": {"source": flicker.source, "result": flicker.result, "ratio": flicker.ratio},
                "flicker_sentence": flicker.sentence(),
            },
        )

    def _tidy(self) -> None:
        """Remove the work folder, if it is one of ours."""

        if self.work.is_dir() and not self.work.is_symlink() and is_output_folder(self.work):
            shutil.rmtree(self.work, ignore_errors=True)


def _notes(clip: Clip, placing: Placing) -> list[str]:
    notes = []
    if placing.held:
        notes.append(f"{clip.path}: {placing.held} frames show no face; they lie in short gaps, which were bridged")
    if placing.passed:
        notes.append(f"{clip.path}: {placing.passed} frames show no face, and were left as they are")
    return notes
