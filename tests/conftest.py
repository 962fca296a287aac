"""Fixtures that all four folders' tests share."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hub_server import HubServer, serving
from PIL import Image
from tiny_bundle import write_tiny_bundle


@dataclass
class CliResult:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def _tiny_bundle_master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def tiny_bundle(_tiny_bundle_master: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(_tiny_bundle_master, tmp_path / "bundle"))


@pytest.fixture(autouse=True)
def _no_saved_flags(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer saved with `padinv bench --save` must not decide what a test runs."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-configuration"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub on this machine, an empty cache, and no token: no request can reach another hub."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra 'hub'")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PADINV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server speaks the basic LFS protocol
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 10)  # 10 MiB, more than all files of a test
    monkeypatch.setattr("huggingface_hub.utils._headers.detect_agent", lambda: None, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        yield server


@pytest.fixture
def run_cli() -> Callable[..., CliResult]:
    """Run `padinv ARGS...` in this process."""

    def run(*args: object) -> CliResult:
        from padinv.cli.main import app

        out, err = io.StringIO(), io.StringIO()
        code = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app(args=[str(arg) for arg in args], prog_name="padinv")
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return CliResult(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    """A smooth colourful RGB picture of any size; the seed decides its colours."""

    def make(width: int = 40, height: int = 40, seed: int = 0) -> Image.Image:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    return make
