"""What the page shows of channels that no film holds: depth, other cameras, fast frames, series."""

from __future__ import annotations

import asyncio
import html
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from helpers import tiny, tiny_patch, tinyrun
from helpers.rooms import room
from helpers.served import Inline
from pave.media import Uniform, frame_times
from pave.model import PatchedModel
from pave.serve import Service, reading
from pave.serve.viewing import SHOWN, look_at


def test_channels_have_rows_of_pictures_at_their_times(tmp_path: Path) -> None:
    film = str(tinyrun.clip(tmp_path / "a.mp4", 1))
    other = str(tinyrun.clip(tmp_path / "b.mp4", 2, sound=False))
    sides = {"views": [other, film], "scene3d": [str(room(tmp_path))], "frames": [film]}
    look = look_at(60, film, Uniform(4), film, sides)
    one, two, depth, fast = look.channels
    assert (one.title, two.title, fast.title) == ("camera 1", "camera 2", "fast frames")
    assert one.times == pytest.approx(look.times, abs=0.13)  # its own frames, 8 a second
    assert two.times == look.times
    # Fewer frames than would be shown at most: all of them.
    assert SHOWN > 8 and fast.times == frame_times(film).tolist()
    assert depth.title == "depth, 2.0 m (light) to 2.0 m (dark)" and depth.times == [0.0, 0.5]
    grey = Image.open(io.BytesIO(depth.thumbs[0])).convert("L")
    assert grey.size == (6, 4)
    # One pixel is unknown; JPEG smears it a little.
    assert grey.getpixel((5, 3)) > 200 and grey.getpixel((0, 0)) < 100


@pytest.mark.slow
def test_the_page_sends_files_of_a_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    from pave.serve.page import Page

    film = tinyrun.clip(tmp_path / "a.mp4", 1)
    scene = str(room(tmp_path))
    model = PatchedModel(tiny.base())
    model.new_patch("scene3d", encoder="tower3d", name="depth", fusion={"hidden": 32}, seed=0)
    tiny_patch.shake(model)
    monkeypatch.setattr(reading, "Workers", Inline)
    service = Service(model, base="tiny")
    page = Page(service, sources={"depth": "x"}, base="tiny")
    try:
        table, figure, *_ = asyncio.run(page.ask(str(film), None, "What?", "", 1.0, [scene]))
        without, bare, *_ = asyncio.run(page.ask(str(film), None, "What?", "", 1.0, None))
    finally:
        service.close()
    answers = re.findall(r"<td>(.*?)</td>", table, re.DOTALL)
    how = {"max_new_tokens": 64, "patches": {"depth": 1.0}}
    wanted = model.ask(film, "What?", channels={"scene3d": scene}, **how)
    assert printable(answers[2]) == printable(wanted)
    assert "depth, 2.0 m" in figure and "length of the side tokens" in figure
    assert "depth, 2.0 m" not in bare
    # Without its files the patch is off.
    base, patch = re.findall(r"<td>(.*?)</td>", without, re.DOTALL)[1:3]
    assert base == patch


def printable(text: str) -> str:
    """Without what HTML writes in its own way."""
    return "".join(one for one in html.unescape(text) if one.isalpha())
