"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from padinv.runtime.bundle import MANIFEST, read_bundle
from padinv.runtime.errors import BundleError, OutputError, UsageError
from padinv.runtime.files import TEMPORARY_PREFIX


def check_target(out: Path | str, overwrite: bool = False) -> Path:
    """Whether a bundle may be written to `out`: nothing there, an empty folder, or (with `overwrite`) a bundle.

    Raises:
        UsageError: something else is there; nothing was touched.
    """
    out = Path(out)
    if not os.path.lexists(out):
        return out
    if not out.is_dir() or out.is_symlink():
        raise UsageError(f"{out} exists and is not a folder, so nothing was exported; choose another --out")
    try:
        empty = not any(out.iterdir())
    except OSError as error:
        raise UsageError(f"{out} cannot be read ({error.strerror or error}); choose another --out") from error
    if empty:
        return out
    if not (out / MANIFEST).is_file():
        raise UsageError(f"{out} holds other files and is not a bundle, so nothing was exported; choose another --out")
    try:
        read_bundle(out)
    except BundleError as error:
        raise UsageError(
            f"{out} exists and is not a readable bundle ({error}), so nothing was exported; choose another --out"
        ) from error
    if not overwrite:
        raise UsageError(f"{out} exists; replace this bundle with --overwrite, or choose another --out")
    return out


@contextmanager
def staged_folder(out: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `out`; when the block ends well, it takes the place of `out`.

    When the block raises, the folder is removed and `out` is as it was.

    Raises:
        UsageError: see `check_target`. OutputError: the place cannot be written.
    """
    out = check_target(out, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=out.parent))
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error
    try:
        yield staged
        check_target(out, overwrite)  # it may have appeared meanwhile
        _swap(staged, out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _swap(staged: Path, out: Path) -> None:
    try:
        probe = staged / "probe"
        probe.mkdir()  # mkdtemp makes private folders; a bundle has the permissions any new folder gets
        staged.chmod(probe.stat().st_mode & 0o777)
        probe.rmdir()
        old: Path | None = None
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=out.parent)) / "old"
            os.rename(out, old)
        try:
            os.rename(staged, out)
        except OSError:
            if old is not None:
                os.rename(old, out)
            raise
        if old is not None:
            shutil.rmtree(old.parent, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error
