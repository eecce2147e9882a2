"""What starts vLLM's server, and what stands in front of it; vLLM itself is not needed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny, tinyrun
from pave.answer.asking import look
from pave.bases import load_base
from pave.cli import main
from pave.errors import ConfigError
from pave.model import PatchedModel
from pave.vllm import BASE, PATCHES
from pave.vllm.launch import command
from pave.vllm.names import PatchOfModel
from pave.vllm.patches import environment, load_served, served
from pave.vllm.reading import ClipLoader, read_clip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    return tinyrun.make(tmp_path_factory.mktemp("run"), clips=1)


def test_the_words_of_the_command(made: tinyrun.Run) -> None:
    patches = {"sound": made.patch, "lora": made.lora}
    more = "--tensor-parallel-size 2 --dtype bfloat16"
    words, variables = command(str(made.base), "base", patches, ("127.0.0.1", 8001), more)
    assert words[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert words[-4:] == ["--tensor-parallel-size", "2", "--dtype", "bfloat16"]
    given = dict(zip(words, words[1:], strict=False))
    assert given["--model"] == str(made.base) and given["--port"] == "8001"
    assert given["--max-loras"] == "3"  # one more than patches
    assert given["--max-lora-rank"] == "8"  # the smallest that vLLM has
    at = words.index("--lora-modules")
    adapters = [f"sound={made.patch / 'lora'}", f"lora={made.lora / 'lora'}"]
    assert words[at + 1 : at + 3] == adapters
    assert json.loads(variables[PATCHES])["sound"] == str(made.patch)
    assert variables[BASE] == str(made.base)
    with pytest.raises(ConfigError, match="--model=other is set by pave serve"):
        command(str(made.base), "base", patches, ("127.0.0.1", 8001), "--model=other")


def test_what_vllm_cannot_do_is_said(made: tinyrun.Run) -> None:
    with pytest.raises(ConfigError, match="only LLaVA-OneVision, Qwen2-VL, and Qwen2.5-VL"):
        load_served("smol", {})
    known = load_served(str(made.base), {"sound": made.patch, "lora": made.lora})
    assert known.number("lora") == 1 and known.number(None) == -1
    assert known.patches["lora"].part is None
    # 2 x 2 tokens of each frame, and the newline.
    assert known.tokens(8) == 33


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        ("llava_onevision", "PaveLlavaOnevision"),
        ("qwen2_vl", "PaveQwen2VL"),
        ("qwen2_5_vl", "PaveQwen25VL"),
    ],
)
def test_a_base_is_the_class_of_its_family(family: str, architecture: str, tmp_path: Path) -> None:
    base = tiny.base(family)
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    words, _ = command(str(tmp_path), "base", {}, ("127.0.0.1", 8001), "")
    given = dict(zip(words, words[1:], strict=False))
    assert json.loads(given["--hf-overrides"]) == {"architectures": [architecture]}


def test_films_are_read_as_ask_reads_them(
    made: tinyrun.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment(str(made.base), {"sound": made.patch}).items():
        monkeypatch.setenv(name, value)
    served.cache_clear()
    model = PatchedModel(load_base(made.base))
    model.load_patch(made.patch, name="sound")
    frames, about = ClipLoader.load_bytes(made.loud.read_bytes(), patch="sound", num_frames=2)
    seen = look(model, made.loud, {}, None)
    assert frames.shape == (seen.clip.frames, 48, 64, 3) and about["patch"] == "sound"
    assert torch.equal(about["side"], seen.channels["sound"].values)
    assert about["times"] == seen.clip.times.tolist()
    assert "side" not in read_clip(made.loud)[1]
    silent = tinyrun.clip(tmp_path / "silent.mp4", 3, sound=False)
    with pytest.raises(ValueError, match="the film has no audio, which patch 'sound' listens to"):
        ClipLoader.load_bytes(silent.read_bytes(), patch="sound")
    with pytest.raises(ValueError, match="the film"):
        ClipLoader.load_bytes(b"no film")
    served.cache_clear()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "vllm"], "--engine vllm needs vllm"),
        (["--engine", "vllm", "--ui"], "goes into --vllm-args"),
        (["--vllm-args", "--seed 1"], "goes with --engine vllm"),
        (["--engine", "sglang"], "engine"),
    ],
)
def test_wrong_flags_are_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "smol", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> PatchOfModel:
    monkeypatch.setenv(PATCHES, json.dumps({"sound": "folder"}))
    return PatchOfModel(None)  # type: ignore[arg-type]


def test_the_model_of_a_request_names_the_patch(front: PatchOfModel) -> None:
    sent = {"model": "sound", "media_io_kwargs": {"video": {"video_backend": "opencv"}}}
    told = json.loads(front.told(json.dumps({**sent, "mm_processor_kwargs": {"a": 1}}).encode()))
    assert told == {"model": "sound", "media_io_kwargs": {"video": {"patch": "sound"}}}
    assert json.loads(front.told(b'{"model": "base"}')) == {"model": "base"}
    for mix in ("sound:0.5", "base+sound"):
        told = json.loads(front.told(json.dumps({"model": mix}).encode()))
        assert told["model"].startswith(f"{mix} (vLLM has one LoRA a request")
    assert json.loads(front.told(b'{"model": "other:1"}')) == {"model": "other:1"}
    for odd in (b"{", b"[1]", b'{"model": [1]}'):
        assert front.told(odd) == odd or json.loads(front.told(odd)) == {"model": [1]}


def test_a_request_in_pieces_is_passed_on_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATCHES, json.dumps({"sound": "folder"}))
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, await receive(), await receive()))

    pieces = [
        {"type": "http.request", "body": b'{"model": ', "more_body": True},
        {"type": "http.request", "body": b'"sound"}', "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return pieces.pop(0)

    scope = {"type": "http", "path": "/v1/chat/completions", "headers": [(b"content-length", b"1")]}
    asyncio.run(PatchOfModel(app)(scope, receive, None))  # type: ignore[arg-type]
    ((scope, first, second),) = seen
    wanted = b'{"model": "sound", "media_io_kwargs": {"video": {"patch": "sound"}}}'
    assert first["body"] == wanted and second["type"] == "http.disconnect"
    assert scope["headers"] == [(b"content-length", str(len(wanted)).encode())]


def test_pave_alone_does_not_import_vllm() -> None:
    code = (
        "import sys, pave, pave.vllm\n"
        "pave.vllm.register()\n"
        "sys.exit(any(name.partition('.')[0] == 'vllm' for name in sys.modules))"
    )
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": source})
    assert done.returncode == 0
