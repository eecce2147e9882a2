"""The built site, as readers see it: links, phones, dark mode, and nothing from other hosts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest

from helpers.browser import DESKTOP, PHONE, Watched, chromium, served

ROOT = Path(__file__).parents[1]
HOME = "https://site.example/"  # stands for the place where the site will be
pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Anchors of a page, and what it points at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.targets.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of the pages; a warning of the builder is an error."""
    pytest.importorskip("zensical", reason="zensical is in the extra `dev`")
    place = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", place / "docs")
    shutil.copy(ROOT / "mkdocs.yml", place)
    (place / "src").symlink_to(ROOT / "src", target_is_directory=True)
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "site"


@pytest.fixture(scope="module")
def addresses(site: Path) -> dict[str, Page]:
    """Address of each page, below the site's own -> the page."""
    found = {}
    for file in site.rglob("index.html"):
        address = file.parent.relative_to(site).as_posix()
        found[f"{address}/".removeprefix("./")] = Page(file.read_text("utf-8"))
    assert len(found) > 50
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def test_every_link_inside_the_site_leads_somewhere(site: Path, addresses: dict[str, Page]) -> None:
    lost = []
    for address, page in addresses.items():
        for target in page.targets:
            whole, anchor = urldefrag(urljoin(HOME + address, target))
            if not whole.startswith(HOME):
                continue
            place = unquote(whole.removeprefix(HOME)).removesuffix("index.html")
            if not (site / place).exists():
                lost.append(f"{address}: {target}")
            elif anchor and place in addresses and anchor not in addresses[place].anchors:
                lost.append(f"{address}: {target} (no such heading)")
    assert not lost, "\n".join(lost)


def test_every_page_fits_a_phone_and_loads_from_here_alone(
    site: Path, addresses: dict[str, Page], browser: Any
) -> None:
    watched = Watched(browser, PHONE)
    too_wide = {}
    with served(site) as here:
        for address in sorted(addresses):
            watched.page.goto(f"{here}/{address}")
            if wide := watched.too_wide():
                too_wide[address] = wide
        elsewhere = [url for url in watched.asked if not url.startswith((here, "data:"))]
    assert not too_wide
    assert not elsewhere
    # What a page was still loading when the next one was opened has failed, and is not missing.
    assert not [problem for problem in watched.wrong if ": failed: " not in problem]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_home_page_shows_what_a_patch_does(site: Path, browser: Any, dark: bool) -> None:
    watched = Watched(browser, DESKTOP, dark=dark)
    page = watched.page
    with served(site) as here:
        page.goto(f"{here}/")
        scheme = page.locator("body").get_attribute("data-md-color-scheme")
        assert scheme == ("slate" if dark else "default")
        picture = page.locator(".hero img")
        assert picture.is_visible()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
        # The control column was once cut off at the right.
        heading = page.locator("thead th", has_text="visual control").first
        box = heading.bounding_box()
        assert box is not None and box["x"] + box["width"] <= DESKTOP[0]
        page.locator(".hero a", has_text="Quick tour").click()
        assert page.locator("h1").inner_text().startswith("Quick tour")
        assert not watched.wrong


def test_a_wide_table_is_a_list_on_a_phone(site: Path, browser: Any) -> None:
    page = Watched(browser, PHONE).page
    with served(site) as here:
        page.goto(f"{here}/results/")
        cell = page.locator("table[data-stacked] td[data-label='and on visual control']").first
        box = cell.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE[0]
        assert "to" in cell.inner_text()  # the interval
