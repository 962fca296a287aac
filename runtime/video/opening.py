"""From a path to the clip it names."""

from __future__ import annotations

from pathlib import Path

from padinv.runtime.video.clip import Clip
from padinv.runtime.video.frame_folder import FrameFolder
from padinv.runtime.video.video_file import VideoFile

DEFAULT_RATE = 25.0


def open_clip(path: Path, fps: float | None = None) -> Clip:
    """Open a video file, or a folder of `fps` frames per second.

    Raises:
        InputError: missing, damaged, not a video, or too large. MissingPackageError: PyAV is not installed.
    """
    if path.is_dir():
        return FrameFolder(path, DEFAULT_RATE if fps is None else fps)
    return VideoFile(path)
