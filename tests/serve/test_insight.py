"""How much a fusion adds, against what the seam adds; the figure and the snippets."""

from __future__ import annotations

import base64
import io
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers import tiny, tiny_patch
from pave.data import ClipFeatures
from pave.errors import ChannelError
from pave.model import PatchedModel
from pave.patches.patch import Patch
from pave.serve.figure import Look, draw, heat
from pave.serve.insight import look_into
from pave.serve.snippets import as_command, as_curl, as_python
from pave.tokens import Tokens


def made(**fusion: object) -> tuple[PatchedModel, Patch, ClipFeatures, Tokens]:
    """A model with one patch, and a clip of 4 frames with 7 side steps of 2 tokens."""
    model = PatchedModel(tiny.base())
    name = tiny_patch.add(model, "audio", fusion=fusion)
    base = model.base
    (clip,) = tiny.clips(base, (4,))
    (visual,) = base.visual([clip], want_query=True)
    side = tiny_patch.tokens(7, cells=2)
    return model, model.patches[name], ClipFeatures(clip, visual, {"audio": side}), side


@pytest.mark.parametrize("fusion", [{}, {"alignment": "groups"}, {"layers": 2, "heads": 4}])
@torch.no_grad()
def test_the_residual_is_what_the_seam_adds(fusion: dict[str, object]) -> None:
    model, patch, clip, side = made(**fusion)
    found = look_into(patch, clip)
    (fused,) = model.seam.fuse([clip.visual], [{"audio": side}], [clip.clip.times])
    added = fused.grid() - clip.visual.grid()  # [T, S, D]
    length = added.norm(dim=-1).mean(1) / clip.visual.grid().norm(dim=-1).mean(1)
    assert found.residual.tolist() == pytest.approx(length.tolist(), rel=1e-4)
    assert found.attention.shape == (4, 7)
    assert found.attention.sum(1).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    # In pieces of a frame it is the same.
    patch.fusion.chunk = 1
    assert torch.allclose(look_into(patch, clip).attention, found.attention, atol=1e-5)


def test_a_clip_without_the_channel_is_refused() -> None:
    _, patch, clip, _ = made()
    with pytest.raises(ChannelError, match="lacks its channel"):
        look_into(patch, ClipFeatures(clip.clip, clip.visual, {}))


def test_the_map_is_dark_where_most_is() -> None:
    address = heat(torch.tensor([[0.0, 0.5, 0.25], [0.2, 0.0, 0.1]]))
    content = base64.b64decode(address.partition(",")[2])
    pixels = Image.open(io.BytesIO(content))
    assert pixels.size == (3, 2)
    assert pixels.getpixel((0, 0)) == (255, 255, 255) == pixels.getpixel((1, 1))
    assert pixels.getpixel((1, 0)) == (124, 45, 18) == pixels.getpixel((0, 1))
    assert pixels.getpixel((2, 0)) == (190, 150, 136)  # half-way, rounded


def test_a_figure_says_in_words_what_it_shows_and_escapes_names() -> None:
    _, patch, clip, _ = made()
    patch.name = "<b>"
    insight = look_into(patch, clip)
    look = Look([0.0, 0.5, 1.0, 1.5], [b"jpeg"] * 4, [0.1, 0.5], 2.0)
    drawn = draw(look, [insight], "sound")
    assert "<b>" not in drawn and "&lt;b&gt;" in drawn
    most = int(insight.residual.argmax())
    assert f"adds most at {insight.times[most]:.1f} s" in drawn
    assert drawn.count("<rect") == 4


def test_code_to_copy_asks_the_same(tmp_path: Path) -> None:
    question = 'What\'s "heard"; $HOME?'
    words = (question, {"sound": "a/b"}, {"sound": 1.0}, "smol")
    compile(as_python("my clip.mp4", *words), "snippet", "exec")
    assert shlex.split(as_command("my clip.mp4", *words)) == [
        *("pave", "ask", "my clip.mp4", question, "--base", "smol", "--patch", "a/b"),
    ]
    assert as_command("c", question, {"sound": "a"}, {"sound": 0.5}, "smol").startswith("#")
    (tmp_path / "my clip.mp4").write_bytes(b"film")
    shell = as_curl("my clip.mp4", question, "sound", "http://127.0.0.1:1").splitlines()[0]
    subprocess.run(["bash", "-c", shell], cwd=tmp_path, check=True)
    import json

    body = json.loads((tmp_path / "ask.json").read_text())
    clip, text = body["messages"][0]["content"]
    assert text["text"] == question and body["model"] == "sound"
    assert base64.b64decode(clip["video_url"]["url"].partition(",")[2]) == b"film"
