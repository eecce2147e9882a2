"""Writes docs/assets/serve-page.png and serve-page-phone.png: the page of `pave serve --ui`.

    python tools/page_pictures.py  # needs Chromium (Debian: apt-get install chromium)

The server is a process of its own on `smol` with the patches that ship. The picture is taken after
the first example was asked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
SIZES = {"serve-page.png": (1280, 900), "serve-page-phone.png": (390, 844)}  # CSS pixels
SERVER = [sys.executable, "-m", "pave", "serve", "smol", "--ui", "--port", "0"]
PATCHES = ["--patch", "sound=sound-demo", "--patch", "lora=sound-demo-control"]
EXAMPLE = "What is heard"
WAIT = 300_000  # ms; other work may share the machine


def main() -> None:
    """Start the server, take both pictures, and end it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("there is no Chromium on this machine (Debian: apt-get install chromium)")
    server = subprocess.Popen([*SERVER, *PATCHES], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()  # "... on http://127.0.0.1:PORT/v1 ..."
        address = line[line.index("http://") : line.index("/v1")]
        # Chromium's sandbox refuses root.
        words = ["--no-sandbox"] if os.geteuid() == 0 else []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=words)
            for name, (width, height) in SIZES.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                take(page, f"{address}/ui", ASSETS / name)
                print(ASSETS / name)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def take(page: Any, address: str, picture: Path) -> None:
    """Ask the example, and take a picture of the whole page."""
    page.set_default_timeout(WAIT)
    page.goto(address)
    page.get_by_label("Example").click()
    page.get_by_role("option", name=EXAMPLE, exact=True).click()
    page.wait_for_function("document.querySelector('video')?.readyState > 1")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("img", name="adds most at").wait_for()
    page.screenshot(path=picture, full_page=True)


if __name__ == "__main__":
    main()
