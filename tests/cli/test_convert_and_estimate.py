"""`pave convert` and `pave estimate` as a user types them."""

from __future__ import annotations

import json

from helpers import paper
from helpers.hub import Hub
from pave.cli import main
from pave.patches import read_config


def test_convert(tmp_path, capsys):
    arguments = tmp_path / "tiny.json"
    arguments.write_text(json.dumps(paper.KWARGS))
    words = [
        "convert",
        str(paper.ROOT / "pave_tiny_lora"),
        "--base",
        str(paper.BASE),
        "--channel",
        "audio",
    ]
    assert (
        main([*words, "--model-args", str(arguments), "--out", str(tmp_path / "patch"), "--json"])
        == 0
    )
    (patch,) = json.loads(capsys.readouterr().out)["patches"]
    assert (patch["channel"], patch["fusion_parameters"], patch["lora_parameters"]) == (
        "audio",
        17840,
        59392,
    )
    assert main(["info", str(tmp_path / "patch")]) == 0
    assert "pave_tiny_lora" in capsys.readouterr().out
    assert main([*words, "--model-args", "V5_1_3", "--out", str(tmp_path / "b")]) == 2
    assert "does not fit V5_1_3" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "gone"), "--base", "smol", "--out", "x"]) == 2
    assert "no such checkpoint" in capsys.readouterr().err


def test_convert_on_a_revision(tmp_path, monkeypatch):
    """The base is that of a tag, and the patch remembers its commit."""
    hub = Hub(tmp_path, monkeypatch)
    hub.add("someone/tiny", paper.BASE, "a" * 40, ["v1"])
    arguments = tmp_path / "tiny.json"
    arguments.write_text(json.dumps(paper.KWARGS))
    words = ["convert", str(paper.ROOT / "pave_tiny_lora"), "--model-args", str(arguments)]
    words += ["--channel", "audio", "--base", "someone/tiny", "--out", str(tmp_path / "patch")]
    assert main([*words, "--revision", "v1"]) == 0
    assert read_config(tmp_path / "patch").base.revision == "a" * 40
    assert main([*words, "--revision", "v2"]) == 2


def test_estimate(capsys):
    assert main(["estimate", "V5_1_3_audio_languagebind_7B"]) == 0
    shown = capsys.readouterr().out
    assert all(
        number in shown
        for number in ("8,996,352", "161,480,704", "170,477,056", "6,720", "0.078 %", "GiB")
    )
    assert (
        main(["estimate", "V5_1_3_3d", "--side-steps", "16", "--side-tokens", "4", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["tokens"]["side"] == 64
    assert main(["estimate", "V5_1_3", "--side-steps", "16"]) == 2
    assert "go together" in capsys.readouterr().err
