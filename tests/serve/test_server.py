"""`pave serve` as people meet it: a process, asked with OpenAI's client, and mistreated."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
import pytest

import pave
from helpers import tinyrun
from helpers.served import asked, model_of, server, video
from pave.cli import main
from pave.model import PatchedModel
from pave.serve.sources import PREFIX

pytestmark = pytest.mark.slow

TOKENS = 5
KEY = "a-word"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    return tinyrun.make(tmp_path_factory.mktemp("run"), clips=3)


@pytest.fixture(scope="module")
def words(made: tinyrun.Run) -> list[object]:
    patches = ["--patch", f"sound={made.patch}", "--patch", f"lora={made.lora}"]
    return [made.base, *patches, "--device", "cpu", "--serve-folder", made.base.parent]


@pytest.fixture(scope="module")
def running(words: list[object]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with server(*words, "--max-upload-mb", 5, PAVE_API_KEY=KEY, OMP_NUM_THREADS="1") as started:
        yield started


@pytest.fixture
def client(running: tuple[str, Any]) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running[0]}/v1", api_key=KEY, max_retries=0)


def text_of(client: openai.OpenAI, model: str, messages: Any, **options: Any) -> str:
    options = {"max_tokens": TOKENS, "temperature": 0, **options}
    answer = client.chat.completions.create(model=model, messages=messages, **options)
    return answer.choices[0].message.content or ""


def test_the_client_of_openai_unchanged(client: openai.OpenAI, made: tinyrun.Run) -> None:
    assert [model.id for model in client.models.list()] == ["base", "sound", "lora"]
    messages = asked("What?", video(made.loud))
    said = text_of(client, "sound", messages)
    stream = client.chat.completions.create(
        model="sound", messages=messages, max_tokens=TOKENS, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == said
    talk = [
        *messages,
        {"role": "assistant", "content": said},
        {"role": "user", "content": "Why?"},
    ]
    weights = {"sound": 1.0}
    model = model_of(made)
    ours = [{"type": "video", "video": made.loud}, {"type": "text", "text": "What?"}]
    ours = [{"role": "user", "content": ours}, *talk[1:]]
    assert said == model.ask(made.loud, "What?", max_new_tokens=TOKENS, patches=weights)
    from pave.answer import Sampling

    wanted = model.chat(ours, sampling=Sampling(TOKENS), patches=weights)
    assert text_of(client, "sound", talk) == wanted
    with pytest.raises(openai.AuthenticationError, match="API key"):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="unknown model 'sond' .did you mean 'sound'"):
        text_of(client, "sond", messages)
    with pytest.raises(openai.BadRequestError, match="cannot be opened"):
        text_of(client, "sound", asked("?", video("data:video/mp4;base64,AAAA")))


def ask_together(
    client: openai.OpenAI,
    process: subprocess.Popen[str],
    model: PatchedModel,
    models: dict[str, dict[str, float]],
    films: list[Path],
    questions: list[str],
) -> None:
    """200 mixed requests of 16 clients: none lost, none mixed up, and no memory that grows.

    Args:
        client: Of the server.
        process: The server.
        model: What answers each of them alone.
        models: Names of models, with the weights that they stand for.
        films: In the server's folder.
        questions: About each film.
    """
    cases = list(product(models, films, questions))
    wanted = []
    for name, film, question in cases:
        how = {"max_new_tokens": TOKENS, "patches": models[name]}
        wanted.append(model.ask(film, question, **how))

    def put(number: int) -> str:
        name, film, question = cases[number]
        return text_of(client, name, asked(question, video(f"file:{film.name}")))

    server_process = psutil.Process(process.pid)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(put, range(len(cases)))) == wanted
        before = server_process.memory_info().rss
        again = [number % len(cases) for number in range(200)]
        assert list(pool.map(put, again)) == [wanted[number] for number in again]
        grown = server_process.memory_info().rss - before
    assert grown < 100e6
    address = str(client.base_url).replace("/v1/", "/metrics")
    head = {"Authorization": f"Bearer {client.api_key}"}
    figures = httpx2.get(address, headers=head).text
    counts = dict(line.rsplit(" ", 1) for line in figures.splitlines() if line[0] != "#")
    # Some shared a forward pass.
    assert float(counts["pave_batches_total"]) < float(counts["pave_batched_requests_total"])


def test_mixed_requests_at_the_same_time_are_answered_as_alone(
    client: openai.OpenAI, made: tinyrun.Run, running: tuple[str, Any]
) -> None:
    models = {
        "base": {},
        "sound": {"sound": 1.0},
        "lora": {"lora": 1.0},
        "lora+sound:0.5": {"lora": 1.0, "sound": 0.5},
    }
    questions = ["What?", "What is it?", "Why?"]
    model = model_of(made)
    ask_together(client, running[1], model, models, [made.loud, made.silent], questions)


def test_mixed_requests_on_the_base_and_patch_that_ship(made: tinyrun.Run) -> None:
    """The same on real weights; the second film lacks the channel."""
    models = {"smol": {}, "sound": {"sound": 1.0}, "sound:0.5": {"sound": 0.5}}
    questions = ["What do you hear?", "What do you see?", "Describe the clip.", "Is it loud?"]
    model = PatchedModel(pave.load_base("smol"))
    model.load_patch("sound-demo", name="sound")
    words = ["smol", "--patch", "sound=sound-demo", "--device", "cpu"]
    with server(*words, "--serve-folder", made.base.parent, OMP_NUM_THREADS="1") as (
        found,
        process,
    ):
        client = openai.OpenAI(base_url=f"{found}/v1", api_key="none", max_retries=0)
        ask_together(client, process, model, models, [made.loud, made.silent], questions)


def test_it_goes_on_whatever_happens(
    client: openai.OpenAI, made: tinyrun.Run, running: tuple[str, Any]
) -> None:
    address, process = running
    here = psutil.Process(process.pid)
    messages = asked("What?", video(made.loud))
    said = text_of(client, "sound", messages)
    # A worker is killed: the next clip gets a new one.
    workers = here.children()
    assert workers
    for worker in workers:
        end = os.pidfd_open(worker.pid)  # readable once all of its threads have ended
        worker.kill()
        assert select.select([end], [], [], 60)[0]
        os.close(end)
    fresh = tinyrun.clip(made.base.parent / "fresh.mp4", 9)
    assert text_of(client, "sound", asked("What?", video(fresh)))
    # A file that is cut off.
    cut = made.base.parent / "cut.mp4"
    cut.write_bytes(made.loud.read_bytes()[:-500])
    with pytest.raises(openai.BadRequestError, match="message 1, video: truncated") as told:
        text_of(client, "sound", asked("What?", video(cut)))
    assert tempfile.gettempdir() not in str(told.value)
    # Two gigabytes that are only announced.
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {KEY}\r\nContent-Length: 2000000000\r\n\r\n{{"
        )
        line.sendall(head.encode())
        assert b" 413 " in line.recv(100)
    # A client that hangs up in the middle of a stream, and one that does not wait at all.
    stream = client.chat.completions.create(
        model="sound", messages=messages, max_tokens=2000, stream=True, temperature=0
    )
    next(iter(stream))
    stream.close()
    with pytest.raises(openai.APITimeoutError):
        text_of(client, "sound", messages, max_tokens=2000, timeout=0.1)
    assert text_of(client, "sound", messages) == said
    headers = {"Authorization": f"Bearer {KEY}"}
    idle = "pave_requests_in_progress 0\n"
    for _ in range(100):
        if idle in httpx2.get(f"{address}/metrics", headers=headers).text:
            break
        time.sleep(0.1)
    assert idle in httpx2.get(f"{address}/metrics", headers=headers).text
    left = Path(tempfile.gettempdir()).glob(f"{PREFIX}{process.pid}-*/*")
    assert not list(left)


def test_a_full_queue_refuses_and_an_end_drains(words: list[object], made: tinyrun.Run) -> None:
    """1,000 requests at a server for 4, killed servers' files, and SIGTERM."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = Path(tempfile.gettempdir()) / f"{PREFIX}{dead.pid}-x"
    left.mkdir()
    (left / "0.mp4").write_bytes(b"somebody's film")
    with server(*words, "--max-queue", 4, OMP_NUM_THREADS="1") as (address, process):
        assert not left.exists()
        body = {
            "model": "sound",
            "messages": asked("What?", video(f"file:{made.loud.name}")),
            "max_tokens": TOKENS,
        }
        pool = httpx2.Limits(max_connections=100)
        with httpx2.Client(base_url=address, timeout=100, limits=pool) as http:

            def post(number: int) -> int:
                return http.post("/v1/chat/completions", json=body).status_code

            with ThreadPoolExecutor(100) as threads:
                statuses = list(threads.map(post, range(1000)))
            assert set(statuses) == {200, 503}
            assert statuses.count(200) >= 4
            assert post(0) == 200
            # What is being answered is answered to its end.
            long = {**body, "max_tokens": 200, "stream": True}
            with http.stream("POST", "/v1/chat/completions", json=long) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                assert "data: [DONE]" in list(lines)
        assert process.wait(60) == 0
    assert not list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{process.pid}-*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--patch", "a+b=x"], "--patch takes NAME=FOLDER"),
        (["--patch", "a=x", "--patch", "a=y"], "two patches are called 'a'"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1 port 8000"),
        (["--port", "99999"], "port 99999"),
        (["--serve-folder", "nowhere"], "--serve-folder nowhere: the folder does not exist"),
        (["--api-key-file", "nowhere"], "nowhere: "),
        (["--max-queue", "0"], "--max-queue"),
    ],
)
def test_wrong_flags_are_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "smol", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from pave.cli import serve

    monkeypatch.setattr(serve, "NEEDED", ("nothing_of_this_name",))
    assert main(["serve", "smol"]) == 2
    assert "pip install 'video-pave[serve]'" in capsys.readouterr().err
