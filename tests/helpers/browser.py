"""A headless Chromium for tests of pages, and a folder served to it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

DESKTOP, PHONE = (1280, 900), (390, 844)
"""Widths and heights in CSS pixels."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and keeps no log."""

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served on this machine."""
    handler = partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser of this machine; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra `dev`")
    words = ["--disable-gpu"]
    if os.geteuid() == 0:  # its sandbox refuses root
        words.append("--no-sandbox")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=words)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page whose requests and errors are written down.

    Attributes:
        page: Playwright's page.
        asked: Addresses that it asked for.
        wrong: Failed requests, answers that are errors, and messages of the console.
    """

    def __init__(self, browser: Any, size: tuple[int, int], *, dark: bool = False) -> None:
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
        )
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self._note("failed", request.url))
        self.page.on("pageerror", lambda error: self._note("error", error))
        self.page.on("console", self._hear)
        self.page.on("response", self._check)

    def _note(self, what: str, thing: object) -> None:
        self.wrong.append(f"{self.page.url}: {what}: {thing}")

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._note("console", message.text)

    def _check(self, response: Any) -> None:
        if response.status >= 400:
            self._note(str(response.status), response.url)

    def faults(self) -> list[str]:
        """Serious and critical faults of accessibility, as axe finds them on the page as it is."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="extra `dev`")
        found = axe.Axe().run(self.page, options={"resultTypes": ["violations"]})
        faults = []
        for rule in found.response["violations"]:
            if rule["impact"] in ("serious", "critical"):
                places = [" ".join(map(str, node["target"])) for node in rule["nodes"]]
                faults.append(f"{rule['id']}: {rule['help']}: {'; '.join(places)}")
        return faults

    def too_wide(self) -> list[str]:
        """Elements that reach beyond the right edge of the window and that nothing scrolls."""
        return self.page.evaluate(TOO_WIDE)


# An element may be wide inside a box that scrolls by itself; the page as a whole may not.
TOO_WIDE = """() => {
  const edge = document.documentElement.clientWidth + 1;
  if (document.documentElement.scrollWidth <= edge) return [];
  const wide = [...document.body.querySelectorAll("*")].filter(
    (element) => element.getBoundingClientRect().right > edge);
  return ["page " + document.documentElement.scrollWidth, ...wide.slice(0, 5).map(
    (element) => element.tagName + "." + element.className)];
}"""
