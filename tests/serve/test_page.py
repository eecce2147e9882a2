"""The page in a browser, of a desktop and of a phone: ask, compare, switch off, talk."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import tinyrun
from helpers.browser import DESKTOP, PHONE, Watched, chromium
from helpers.served import SOURCE, model_of, server

pytest.importorskip("gradio")
pytestmark = pytest.mark.slow

QUESTION = "What?"
WAIT = 120_000  # ms; other work may share the machine
# Controls that a screen reader has no name for.
NAMELESS = """() => [...document.querySelectorAll("button, input, textarea, select")].filter(
  (one) => one.offsetParent && !(one.getAttribute("aria-label") || one.labels?.length
    || one.closest("label") || one.textContent.trim() || one.title
    || one.getAttribute("aria-labelledby") || one.placeholder)).map((one) => one.outerHTML)"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    return tinyrun.make(tmp_path_factory.mktemp("run"), clips=2)


@pytest.fixture(scope="module")
def address(made: tinyrun.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the page, and a package that brings one example."""
    site = tmp_path_factory.mktemp("site")
    about = site / "some_clips-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-clips\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pave.examples]\nclips = some_clips:rows\n")
    rows = [("Noise", str(made.loud), QUESTION)]
    (site / "some_clips.py").write_text(f"def rows():\n    return {rows!r}\n")
    patches = ["--patch", f"sound={made.patch}", "--patch", f"lora={made.lora}"]
    words = [made.base, *patches, "--device", "cpu", "--ui"]
    place = f"{site}:{SOURCE}"
    with server(*words, PYTHONPATH=place, OMP_NUM_THREADS="1") as (found, _):
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def opened(browser: Any, address: str, size: tuple[int, int]) -> Watched:
    """The page with the example chosen."""
    watched = Watched(browser, size)
    page = watched.page
    page.set_default_timeout(WAIT)
    page.goto(f"{address}/ui")
    page.get_by_label("Example").click()
    page.get_by_role("option", name="Noise", exact=True).click()
    page.wait_for_function("document.querySelector('video')?.readyState > 1")
    return watched


def ask(page: Any, heading: str) -> list[str]:
    """The answers, once the last column has this heading."""
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("table.columns th", has_text=heading).first.wait_for()
    return [cell.strip() for cell in page.locator("tr:nth-child(2) td").all_inner_texts()]


def as_html(answer: str) -> str:
    """As a browser shows it: what is no character is left out, spaces are one."""
    kept = "".join(one for one in answer if one.isprintable() or one == "\ufffd")
    return " ".join(kept.split())


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_ask_compare_and_switch_off(
    browser: Any, address: str, made: tinyrun.Run, size: tuple[int, int]
) -> None:
    watched = opened(browser, address, size)
    page = watched.page
    assert page.get_by_label("Question").input_value() == QUESTION
    # The clip has a sound and plays.
    page.evaluate("document.querySelector('video').play()")
    page.wait_for_function("document.querySelector('video').currentTime > 0.1")
    answers = ask(page, "sound")
    model = model_of(made)
    wanted = []
    for weights in ({}, {"lora": 1.0}, {"sound": 1.0}):
        said = model.ask(made.loud, QUESTION, max_new_tokens=64, patches=weights)
        wanted.append(as_html(said))
    assert [as_html(answer) for answer in answers] == wanted
    assert wanted[0] != wanted[2]
    figure = page.get_by_role("img", name="Patch sound adds most at")
    assert figure.is_visible()
    assert watched.too_wide() == []
    assert watched.faults() == []
    # At weight 0 it is the base.
    page.get_by_label("number input for Weight of sound (0: off)").fill("0")
    page.keyboard.press("Enter")
    off = ask(page, "bit for bit")
    assert as_html(off[-1]) == wanted[0] == as_html(off[0])
    assert page.evaluate(NAMELESS) == []
    # Nothing left this machine.
    hosts = {url.split("/")[2] for url in watched.asked if url.startswith("http")}
    assert hosts == {address.removeprefix("http://")}
    watched.context.close()


def test_an_open_page_does_not_hold_the_server(browser: Any, made: tinyrun.Run) -> None:
    words = [made.base, "--patch", f"sound={made.patch}", "--device", "cpu", "--ui"]
    with server(*words, OMP_NUM_THREADS="1") as (found, process):
        watched = Watched(browser, DESKTOP)
        watched.page.goto(f"{found}/ui")
        watched.page.get_by_label("Question").wait_for()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0  # less than the 300 s that a request may take
        watched.context.close()


def test_talk_and_copy(browser: Any, address: str, made: tinyrun.Run, tmp_path: Path) -> None:
    watched = opened(browser, address, DESKTOP)
    page = watched.page
    ask(page, "sound")
    page.get_by_role("button", name="Copy as code").click()
    page.get_by_text("pave.PatchedModel").first.wait_for()
    page.get_by_text(f"{address}/v1/chat/completions").first.wait_for()
    page.get_by_role("tab", name="Chat").click()
    page.get_by_label("Say").fill("Hello?")
    page.get_by_label("Say").press("Enter")
    page.locator(".message.bot, .bot.message").first.wait_for()
    assert watched.faults() == []
    watched.context.close()
