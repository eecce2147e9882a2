"""Python code beside a model's weights never runs, and nobody is asked whether it may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pave.bases import load_base
from pave.channels import make_encoder
from pave.errors import BaseError, ChannelError

CODE = """
from pathlib import Path
from transformers import FeatureExtractionMixin, PretrainedConfig
Path({mark!r}).write_text("ran")
class Config(PretrainedConfig):
    model_type = "homemade"
class Extractor(FeatureExtractionMixin):
    sampling_rate = 48000
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with code, as a repository on the Hub may be; `mark` appears if it runs."""
    folder = tmp_path / "InternVL3-1B"
    folder.mkdir()
    (folder / "code.py").write_text(CODE.format(mark=str(tmp_path / "mark")))
    config = {"model_type": "homemade", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    extractor = {"auto_map": {"AutoFeatureExtractor": "code.Extractor"}}
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (folder / "tokenizer.json").write_text("{}")

    def asked(prompt: str = "") -> str:
        raise AssertionError(f"the terminal was asked: {prompt}")

    monkeypatch.setattr("builtins.input", asked)
    return folder


def test_a_base_with_code(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BaseError,
        match=r"'homemade' needs Python code .* never runs; use OpenGVLab/InternVL3-1B-hf",
    ):
        load_base(folder)
    other = folder.rename(tmp_path / "mine")
    with pytest.raises(BaseError, match=r"use a copy in transformers' own format"):
        load_base(other)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["clap", "ast", "whisper"])
def test_an_encoder_with_code(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ChannelError, match=f"audio/{name} cannot load"):
        _ = make_encoder("audio", name, {"model": str(folder)}).dim
    assert not (tmp_path / "mark").exists()


def test_a_tokenizer_with_code(folder: Path, tmp_path: Path) -> None:
    """The model is transformers' own, its tokenizer is not."""
    from helpers import tiny

    base = tiny.base("llava_onevision")
    home = tmp_path / "base"
    base.model.save_pretrained(home)
    base.tokenizer.save_pretrained(home)
    (home / "code.py").write_text((folder / "code.py").read_text())
    file = home / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings["tokenizer_class"] = "Homemade"
    settings["auto_map"] = {"AutoTokenizer": ["code.Config", None]}
    file.write_text(json.dumps(settings))
    try:
        load_base(home)  # with transformers' own class for tokenizer.json, or not at all
    except BaseError as error:
        assert "tokenizer" in str(error)
    assert not (tmp_path / "mark").exists()
