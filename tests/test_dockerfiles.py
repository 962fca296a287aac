"""The Dockerfiles copy what exists, install extras that exist, and start a command that exists.

They are built where there is a docker daemon (see .github/workflows/docker.yml); here they are only read.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 reads no TOML by itself")

ROOT = Path(__file__).resolve().parents[1]
FILES = ("Dockerfile", "Dockerfile.cuda")


def _instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, rest) of each, with continued lines joined and comments left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_exists_and_is_sent_to_the_builder(name: str) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for kind, rest in _instructions(name) if kind == "COPY" for word in rest.split()[:-1]}
    assert copied == sent
    assert [one for one in copied if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("name", FILES)
def test_the_extras_exist(name: str) -> None:
    (installed,) = [rest for kind, rest in _instructions(name) if kind == "RUN" and "pip install" in rest]
    match = re.search(r"\.\[([a-z,]+)\]", installed)
    assert match is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(match[1].split(",")) <= set(extras)


@pytest.mark.parametrize("name", FILES)
def test_the_command_is_one_that_padinv_knows(name: str, run_cli: Callable[..., Any]) -> None:
    found = dict(_instructions(name))
    assert json.loads(found["ENTRYPOINT"]) == ["padinv"]
    words = json.loads(found["CMD"])
    assert run_cli(*words, "--help").code == 0
    assert run_cli(*words, "--no-such-option", "--help").code == 2


@pytest.mark.parametrize("name", FILES)
def test_the_service_does_not_run_as_root(name: str) -> None:
    kinds = [kind for kind, _ in _instructions(name)]
    assert "USER" in kinds
    assert kinds.index("USER") < kinds.index("CMD")
