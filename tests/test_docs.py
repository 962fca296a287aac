"""README and docs: Python blocks run, links between pages lead somewhere, and the CLI reference is what --help says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib.cbook
import pytest
import skimage.data
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages whose Python blocks run as one script, in a folder that holds the photographs they name.
RUN = ["README.md", "docs/tutorial.md", "docs/reference/python.md"]


def blocks(path: Path) -> str:
    """The Python blocks of a page, without those that need a user's own checkpoint."""
    found = re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL)
    return "\n".join(block for block in found if "load_generator" not in block)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        Image.open(file).convert("RGB").save(tmp_path / "me.jpg")
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "you.jpg")
    edited = Image.open(tmp_path / "me.jpg")
    edited.paste((40, 40, 60), (220, 190, 312, 205))
    edited.save(tmp_path / "me-edited.jpg")
    return tmp_path


@pytest.mark.parametrize("page", RUN)
def test_python_on_the_page_runs(page: str, photographs: Path) -> None:
    code = blocks(ROOT / page)
    assert "padinv" in code
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=photographs, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    if page == "docs/tutorial.md":
        # Structure comes from the second photograph in a blend, and from the target of a custom edit.
        for name, like in {"inverted": "me", "blended": "you", "custom-edit": "you"}.items():
            with Image.open(photographs / f"{name}.png") as image, Image.open(photographs / f"{like}.jpg") as expected:
                assert image.size == expected.size


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


def test_the_command_line_reference_has_every_verb() -> None:
    from padinv.cli.main import VERBS

    text = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    for verb in VERBS:
        assert f"## padinv {verb}\n" in text, f"run python docs/cli_reference.py for {verb}"
