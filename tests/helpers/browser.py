"""A real Chromium for tests, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW = "no Chromium was found; install one with: apt-get install chromium (or name it in PADINV_CHROMIUM)"


def find_chromium() -> str:
    """Path of the browser. Without one the test is skipped, but fails where CI promises one."""
    found = os.environ.get("PADINV_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(HOW)
    if found is None:
        pytest.skip(HOW)
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser."""
    path = find_chromium()
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox does not start as root in a container; the pages are our own.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def watch_requests(context: Any, origin: str) -> list[str]:
    """Refuse every request that leaves `origin`, and list it: the list must stay empty."""
    outside: list[str] = []

    def check(route: Any) -> None:
        if route.request.url.startswith(f"{origin}/"):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    context.route("**/*", check)
    return outside


def drop_file(page: Any, name: str, data: bytes, kind: str) -> None:
    """Drop a file on the page, as a person does with the mouse."""
    make = """([name, kind, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], name, { type: kind }));
        return transfer;
    }"""
    transfer = page.evaluate_handle(make, [name, kind, list(data)])
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("body", event, {"dataTransfer": transfer})


def serious_findings(page: Any) -> list[str]:
    """What axe-core finds that keeps people from using a page: serious and critical findings.

    PADINV_AXE=FILE takes another axe.min.js than the one in the package axe-core-python.
    """
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="the package axe-core-python is not installed")
    script = os.environ.get("PADINV_AXE")
    found = (axe.Axe() if script is None else axe.Axe.from_file(script)).run(page)
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes']]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
