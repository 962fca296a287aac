"""The lock on a folder: held by one process at a time, gone with it, and only a real lock counts."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from padinv.runtime import locks
from padinv.runtime.locks import FolderInUseError, folder_lock

HOLDER = """
import sys, time
from padinv.runtime.locks import folder_lock
with folder_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with folder_lock(tmp_path) as held:
        assert held
        with pytest.raises(FolderInUseError), folder_lock(tmp_path):
            pass
    with folder_lock(tmp_path) as held:
        assert held


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(FolderInUseError), folder_lock(tmp_path):
        pass
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with folder_lock(tmp_path):
                return
        except FolderInUseError:
            time.sleep(0.05)
    pytest.fail("the lock outlived its process")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_a_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: object) -> None:
        raise OSError(number, "Function not implemented")

    monkeypatch.setattr(locks, "_acquire", refuse)
    with caplog.at_level(logging.WARNING, "padinv"), folder_lock(tmp_path) as held:
        assert not held
    assert "is on a file system without locks (Function not implemented)" in caplog.text
