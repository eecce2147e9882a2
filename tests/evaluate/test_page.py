"""The page of an evaluation: its content, that it is one safe file, and what a browser shows."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from helpers import finished_run
from helpers.browser import DESKTOP, PHONE, Watched, chromium
from pave.cli import main
from pave.errors import ConfigError
from pave.evaluate.page import write_page

BASE = ["a bell", "a dog", "a dog", "a bell", "a dog", "a bell"]
PATCH = ["a bell", "a bell", "a bell", "a dog", "a dog", "a bell"]
NASTY = "</script><img src=x onerror=alert(1)>&amp;\u2028 ]]>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    return finished_run.make(folder, {"base": BASE, "patch": PATCH}, clips=3)


def content(page: Path) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text())
    assert found
    return json.loads(found[1])


def decoded(address: str) -> bytes:
    return base64.b64decode(address.partition(",")[2])


def test_every_answer_stands_beside_its_question_and_clip(run: Path) -> None:
    data = content(write_page(run))
    assert data["arms"] == ["base", "patch"]
    assert data["right"] is True
    questions = {row["id"]: row for clip in data["clips"] for row in clip["questions"]}
    assert [questions[f"q{place}"]["said"]["base"] for place in range(6)] == BASE
    assert [questions[f"q{place}"]["scores"]["patch"] for place in range(6)] == [1, 1, 1, 0, 0, 1]
    assert questions["q1"]["labels"] == ["audio", "heard"]
    assert {clip["name"] for clip in data["clips"]} == {"0.mp4", "1.mp4", "2.mp4"}
    gap = data["gaps"][0]
    assert (gap["a"], gap["b"], gap["label"], gap["n"]) == ("patch", "base", "all", 6)
    assert gap["points"] == pytest.approx(100 * (4 - 3) / 6)


def test_thumbnails_and_sound_are_those_of_the_clip(run: Path) -> None:
    data = content(write_page(run, seconds=0.5))
    for clip in data["clips"]:
        (strip,) = clip["media"]["strips"]
        assert len(strip["times"]) == 4
        with av.open(io.BytesIO(decoded(strip["source"])), format="image2pipe") as picture:
            pixels = next(picture.decode(video=0)).to_ndarray(format="rgb24")
        assert pixels.shape == (108, 4 * 144 + 3 * 4, 3)  # 64 x 48 at 108 high, three gaps
        colour = pixels[54, 72]
        assert int(np.argmax(colour)) == int(clip["name"][0]) % 3
        with av.open(io.BytesIO(decoded(clip["media"]["sound"])), format="mp3") as sound:
            wave = np.concatenate([frame.to_ndarray()[0] for frame in sound.decode(audio=0)])
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        heard = np.argmax(spectrum) * finished_run.RATE / len(wave)
        assert heard == pytest.approx(finished_run.TONE, abs=5)
        assert len(wave) / finished_run.RATE == pytest.approx(0.5, abs=0.1)


class Tags(html.parser.HTMLParser):
    """Elements and attributes of a page, as a browser would find them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_nothing_in_a_text_becomes_part_of_the_page(tmp_path: Path) -> None:
    said = {"base": [NASTY], "patch": ["a bell"]}
    run = finished_run.make(tmp_path, said, clips=1, question=f"What? {NASTY}")
    page = write_page(run)
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    assert [tag for tag, _ in tags.found].count("script") == 2
    assert "img" not in [tag for tag, _ in tags.found]
    assert content(page)["clips"][0]["questions"][0]["said"]["base"] == NASTY
    # One file: nothing is loaded, and the page forbids itself to.
    assert not [row for row in tags.found if {"src", "href"} & row[1].keys()]
    (policy,) = [row for tag, row in tags.found if tag == "meta" and "http-equiv" in row]
    assert policy["content"].startswith("default-src 'none'")


def test_what_is_left_out_or_cannot_be_read_is_said(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "copy"
    shutil.copytree(run.parent, place)
    (place / "clips" / "1.mp4").write_bytes(b"no film")
    page = write_page(place / "run", tmp_path / "page.html", records=place / "records.jsonl")
    problems = [clip["media"]["problems"] for clip in content(page)["clips"]]
    assert sorted(map(len, problems)) == [0, 0, 1]
    assert "1 clips or sounds could not be read" in caplog.text
    few = content(write_page(run, tmp_path / "few.html", questions=3))
    assert (len(few["clips"]), few["total"], few["asked"]) == (1, 3, 6)


def test_wrong_folders_and_records_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no results.json"):
        write_page(tmp_path)
    other = tmp_path / "other.jsonl"
    shutil.copy(run.parent / "records.jsonl", other)
    with other.open("a") as file:
        file.write("\n")
    with pytest.raises(ConfigError, match="has changed since the evaluation"):
        write_page(run, records=other)
    with pytest.raises(ConfigError, match="no such file, although"):
        write_page(run, records=tmp_path / "none.jsonl")
    (run.parent / "demo" / "eval").mkdir(parents=True)
    shutil.copytree(run, run.parent / "demo" / "eval", dirs_exist_ok=True)
    # The folder of `pave demo` has the evaluation inside.
    assert write_page(run.parent / "demo").parent.name == "eval"


def test_the_verb_says_where_the_page_is(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(run), "--out", str(page)]) == 0
    assert capsys.readouterr().out.startswith(f"{page} (0.")
    assert main(["report", str(run), "--questions", "0"]) == 2
    assert "--questions must be at least 1, got 0" in capsys.readouterr().err


def test_five_hundred_questions_stay_small(tmp_path: Path) -> None:
    said = {arm: [f"{arm} answers at some length"] * 500 for arm in ("base", "lora", "patch")}
    run = finished_run.make(tmp_path, said, clips=2)
    page = write_page(run)
    data = content(page)
    thumbnails = [strip["source"] for clip in data["clips"] for strip in clip["media"]["strips"]]
    assert sum(len(clip["questions"]) for clip in data["clips"]) == 500
    assert page.stat().st_size - sum(map(len, thumbnails)) < 5_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["wide", "phone"])
def test_a_browser_shows_filters_and_plays(
    run: Path, browser: Any, size: tuple[int, int], dark: bool, tmp_path: Path
) -> None:
    page = write_page(run, tmp_path / "page.html")
    watched = Watched(browser, size, dark=dark)
    watched.context.set_offline(True)
    shown = watched.page
    shown.goto(page.as_uri())
    # The patch is right and the base wrong on q1 and q2.
    assert shown.locator(".clips article").count() == 2
    assert shown.locator(".outcomes button").all_inner_texts() == [
        "patch right, base wrong (2)",
        "base right, patch wrong (1)",
        "both right (2)",
        "both wrong (1)",
        "all (6)",
    ]
    shown.locator("[data-outcome=lost]").click()
    assert shown.locator(".count").inner_text() == "1 question about 1 clip"
    assert shown.locator("dd.wrong").all_inner_texts() == ["a dog"]
    shown.locator("[data-outcome='']").click()
    shown.locator("#label").select_option("heard")
    assert shown.locator(".count").inner_text() == "3 questions about 3 clips"
    shown.locator("#words").fill("Q5")
    assert shown.locator(".count").inner_text() == "1 question about 1 clip"
    shown.locator("#words").fill("")
    # The other way round: the same difference with the other sign.
    figures = shown.locator(".chart > div > span:last-child").first
    before = figures.inner_text()
    shown.locator("#ours").select_option("base")
    shown.locator("#theirs").select_option("patch")
    assert before.startswith("+16.7")
    assert figures.inner_text().startswith("−16.7")
    images = shown.locator("article img").evaluate_all("all => all.map((one) => one.naturalWidth)")
    assert images == [588, 588, 588]
    seconds = shown.locator("audio").first.evaluate(
        """player => new Promise((done) => {
          player.addEventListener("loadedmetadata", () => done(player.duration));
          player.addEventListener("error", () => done(-1));
          player.load();
        })"""
    )
    assert seconds == pytest.approx(1.0, abs=0.15)
    assert not watched.too_wide()
    assert not watched.wrong
    assert watched.faults() == []
    assert not [url for url in watched.asked if not url.startswith(("file:", "data:"))]


@pytest.mark.slow
def test_a_browser_shows_nasty_texts_as_they_are(browser: Any, tmp_path: Path) -> None:
    said = {"base": [NASTY], "patch": ["a bell"]}
    page = write_page(finished_run.make(tmp_path, said, clips=1))
    watched = Watched(browser, DESKTOP)
    opened: list[str] = []
    watched.page.on("dialog", lambda dialog: opened.append(dialog.message))
    watched.page.goto(page.as_uri())
    assert NASTY[:10] in watched.page.locator("dd.wrong").inner_text()
    assert not opened
    assert not watched.wrong
