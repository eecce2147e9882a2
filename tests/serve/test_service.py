"""The server's interface, on a tiny base in this process; `test_server.py` has real ones."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from helpers import tiny, tiny_patch, tinyrun
from helpers.browser import served
from helpers.served import Inline, asked, data, model_of, video
from pave.answer import Sampling
from pave.answer.generation import decode
from pave.errors import ConfigError
from pave.model import PatchedModel
from pave.model.chosen import Chosen
from pave.patches import LoraSpec
from pave.serve import Limits, Service, make_app, reading
from pave.serve.failures import RequestError
from pave.serve.names import named
from pave.serve.run import read_key
from pave.serve.sources import Sources
from pave.serve.wire import request_of
from pave.workers import WorkerDiedError

TOKENS = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    made_run = tinyrun.make(tmp_path_factory.mktemp("run"), clips=3)
    LlavaOnevisionImageProcessorPil(
        size={"height": 42, "width": 42}, image_grid_pinpoints=[[42, 42], [42, 84]]
    ).save_pretrained(made_run.base)
    return made_run


@pytest.fixture(scope="module")
def service(made: tinyrun.Run) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "Workers", Inline)
        limits = Limits(max_upload_mb=1, max_queue=4, max_answer_tokens=50)
        made_service = Service(model_of(made), base="tiny", limits=limits, folder=made.base.parent)
    yield made_service
    made_service.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(make_app(service)) as made_client:
        yield made_client


def ask(client: TestClient, model: str, messages: Any, **options: Any) -> Any:
    body = {"model": model, "messages": messages, "max_tokens": TOKENS, **options}
    return client.post("/v1/chat/completions", json=body)


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def refusal(answer: Any, status: int) -> str:
    """The message; the shape is OpenAI's."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert "/" + tempfile.gettempdir().strip("/") + "/" not in error["message"]
    return error["message"]


def events(answer: Any) -> list[dict[str, Any]]:
    """The objects of a stream."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("tiny", {}),
        ("sound", {"sound": 1.0}),
        ("sound:0.5", {"sound": 0.5}),
        ("lora+sound:-1", {"lora": 1.0, "sound": -1.0}),
    ],
)
def test_an_answer_is_that_of_ask(
    client: TestClient,
    service: Service,
    made: tinyrun.Run,
    name: str,
    weights: dict[str, float],
) -> None:
    for question in ("What?", "What is it?"):  # the second one behind the prefix of the first
        answer = ask(client, name, asked(question, video(made.loud)))
        wanted = service.model.ask(made.loud, question, max_new_tokens=TOKENS, patches=weights)
        assert text_of(answer) == wanted
        told = answer.json()
        assert told["pave"] == {"patches": weights, "absent": []}
        assert told["usage"]["completion_tokens"] == TOKENS
        assert told["choices"][0]["finish_reason"] == "length"
    assert told["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_questions_about_several_clips_share_a_pass(service: Service, made: tinyrun.Run) -> None:
    """Behind prefixes of several lengths, two of which are new."""
    cases = [("clip0.mp4", 5), ("clip1.mp4", 7), ("clip0.mp4", 5)]
    bodies = []
    for number, (film, frames) in enumerate(cases):
        part = video(f"file:{film}")
        part["video_url"]["frames"] = frames
        messages = asked(f"What {number}?", part)
        bodies.append({"model": "sound", "messages": messages, "max_tokens": TOKENS})
        # The clip is read, and its prefix for another weight.
        asyncio.run(service.answers(request_of({**bodies[-1], "model": "sound:0.5"})))
    before = [service.metrics.value(name) for name in ("batches_total", "batched_requests_total")]
    answers = asyncio.run(at_once(service, bodies))
    after = [service.metrics.value(name) for name in ("batches_total", "batched_requests_total")]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 3]
    for number, ((film, frames), answer) in enumerate(zip(cases, answers, strict=True)):
        how = {"frames": frames, "max_new_tokens": TOKENS, "patches": {"sound": 1.0}}
        assert answer == service.model.ask(made.base.parent / film, f"What {number}?", **how)


async def at_once(service: Service, bodies: list[dict[str, Any]]) -> list[str]:
    """The answers to requests about known clips that wait in the queue together."""
    gate = threading.Event()
    service.engine.run(gate.wait)
    asks = [asyncio.create_task(service.answers(request_of(body))) for body in bodies]
    while service.engine.waiting < len(bodies):
        await asyncio.sleep(0)
    gate.set()
    return [text for (text,) in await asyncio.gather(*asks)]


def test_a_stream_is_the_answer_in_pieces(client: TestClient, made: tinyrun.Run) -> None:
    messages = asked("What?", video(made.loud))
    whole = ask(client, "sound", messages, logprobs=True, top_logprobs=2).json()
    options = {"stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 2}
    told = events(ask(client, "sound", messages, stream=True, **options))
    usage = told.pop()["usage"]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage[count] == whole["usage"][count]
    text, marks = "", []
    for event in told:
        (choice,) = event["choices"]
        text += choice["delta"].get("content", "")
        marks += (choice["logprobs"] or {"content": []})["content"]
    choice = whole["choices"][0]
    assert text == choice["message"]["content"]
    assert told[-1]["choices"][0]["finish_reason"] == "length"
    assert [mark["token"] for mark in marks] == [
        mark["token"] for mark in choice["logprobs"]["content"]
    ]
    assert len(marks) == TOKENS


def test_log_probabilities_are_those_of_the_model(
    client: TestClient, service: Service, made: tinyrun.Run
) -> None:
    """Against a plain forward of prompt and answer."""
    answer = ask(client, "sound", asked("Hm?", video(made.loud)), logprobs=True, top_logprobs=3)
    told = answer.json()["choices"][0]["logprobs"]["content"]
    model = Chosen(service.model, {"sound": 1.0})
    logits = logits_of(service.model, model, made.loud, "Hm?")
    for mark, row in zip(told, logits, strict=True):
        likely = row.log_softmax(-1).topk(3)
        assert mark["logprob"] == pytest.approx(float(likely.values[0]), abs=1e-4)
        values = [top["logprob"] for top in mark["top_logprobs"]]
        assert values == pytest.approx(likely.values.tolist(), abs=1e-4)
        assert math.exp(mark["logprob"]) <= 1


def logits_of(patched: PatchedModel, model: Chosen, film: Path, question: str) -> Any:
    """`[TOKENS, vocabulary]` behind which greedy answers are drawn, by a forward of its own."""
    import torch

    from pave.answer import questions_about
    from pave.answer.asking import look
    from pave.answer.generation import rows_of

    with torch.no_grad():
        features = look(model, film, {}, None)
        put = questions_about(model, features, [[(question, None)]])
        inputs = rows_of(patched.base, [put], whole=True)
        (ids,) = decode(model, dict(inputs), Sampling(TOKENS))
        answer = torch.tensor([ids])
        inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        logits = model(**inputs).logits[0]
    return logits[-TOKENS - 1 : -1].float()


def test_turns_stop_and_draws(client: TestClient, service: Service, made: tinyrun.Run) -> None:
    first = asked("What?", video(made.loud))
    said = text_of(ask(client, "sound", first))
    talk = [
        *first,
        {"role": "assistant", "content": said},
        {"role": "user", "content": "Why?"},
    ]
    ours = [
        {
            "role": "user",
            "content": [{"type": "video", "video": made.loud}, {"type": "text", "text": "What?"}],
        },
        *talk[1:],
    ]
    weights = {"sound": 1.0}
    wanted = service.model.chat(ours, sampling=Sampling(TOKENS), patches=weights)
    assert text_of(ask(client, "sound", talk)) == wanted
    # Up to the second character of what it says.
    stopped = ask(client, "sound", first, stop=said[1])
    assert text_of(stopped) == said[: said.index(said[1])].strip()
    assert stopped.json()["choices"][0]["finish_reason"] == "stop"
    drawn = {"temperature": 1.0, "seed": 3, "n": 2, "top_p": 0.9}
    answer = ask(client, "sound", first, **drawn)
    drawn["max_new_tokens"] = TOKENS
    wanted = service.model.ask(made.loud, "What?", sampling=Sampling(**drawn), patches=weights)
    assert [one["message"]["content"] for one in answer.json()["choices"]] == wanted


def test_what_a_clip_lacks_is_said_and_a_sound_of_its_own_is_heard(
    client: TestClient, service: Service, made: tinyrun.Run
) -> None:
    silent = ask(client, "sound", asked("What?", video(made.silent)))
    assert silent.json()["pave"]["absent"] == ["sound"]
    assert text_of(silent) == text_of(ask(client, "tiny", asked("What?", video(made.silent))))
    heard = {"data": base64.b64encode(made.loud.read_bytes()).decode(), "format": "mp4"}
    parts = [video(made.silent), {"type": "input_audio", "input_audio": heard}]
    options = {"max_new_tokens": TOKENS, "patches": {"sound": 1.0}}
    wanted = service.model.ask(made.silent, "What?", channels={"audio": made.loud}, **options)
    assert text_of(ask(client, "sound", asked("What?", *parts))) == wanted
    side = {"channel": "audio", "url": "file:clip0.mp4"}
    parts = [video(f"file:{made.silent.name}"), {"type": "side", "side": side}]
    assert text_of(ask(client, "sound", asked("What?", *parts))) == wanted
    # Nobody listens to it.
    assert "no patch of this model" in refusal(ask(client, "tiny", asked("What?", *parts)), 400)


def test_models_counts_and_text_alone(client: TestClient, service: Service) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["tiny", "sound", "lora"]
    assert client.get("/health").json() == {"status": "ok", "base": "tiny"}
    messages = [{"role": "user", "content": "Hello?"}]
    wanted = service.model.chat(messages, sampling=Sampling(TOKENS), patches={})
    assert text_of(ask(client, "tiny", messages)) == wanted
    figures = client.get("/metrics").text
    assert 'pave_requests_total{status="200"}' in figures
    assert "\npave_requests_in_progress 0\n" in figures


def wrong_bodies() -> list[tuple[dict[str, Any], int, str]]:
    """Body, status, and what is said."""
    talk = [{"role": "user", "content": "Hello?"}]
    tools = {"messages": talk, "tools": []}
    system = [{"role": "system", "content": "Be brief."}, *talk]
    return [
        ({"messages": talk, "model": "soud"}, 404, "did you mean"),
        ({"messages": talk, "model": "sound:x"}, 400, "from -10 to 10"),
        ({"messages": talk, "model": "sound:nan"}, 400, "from -10 to 10"),
        ({"messages": talk, "model": "sound+sound"}, 400, "twice"),
        ({"messages": talk, "max_tokens": 51}, 400, "limit of 50"),
        ({"messages": talk, "n": 99, "temperature": 1}, 400, "limit of 8"),
        ({"messages": talk, "n": 2}, 400, "n=2 needs sampling"),
        (tools, 400, "tools: is not supported"),
        ({"messages": talk, "temperature": -1}, 400, "temperature: "),
        ({"messages": talk, "top_logprobs": 2}, 400, "needs logprobs"),
        ({"messages": system}, 400, "a system message cannot be written"),
        ({"messages": []}, 400, "messages: "),
        ({"messages": [{"role": "user", "content": 3}]}, 400, "content must be a string"),
        ({"messages": asked("?", {"type": "video"})}, 400, "a part must have the type"),
        ({"messages": asked("?", {"type": "side", "side": {"url": "data:,"}})}, 400, "channel"),
    ]


@pytest.mark.parametrize(("body", "status", "words"), wrong_bodies())
def test_wrong_requests_are_one_clear_message(
    client: TestClient, body: dict[str, Any], status: int, words: str
) -> None:
    assert words in refusal(
        client.post("/v1/chat/completions", json={"model": "tiny", **body}), status
    )


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("concat:a.mp4|b.mp4", 400, "begins with data:, file:"),
        ("subfile,,start,0,end,9,,:a.mp4", 400, "begins with data:, file:"),
        ("http://127.0.0.1:1/a.mp4", 400, "does not fetch addresses"),
        ("file:../secret.mp4", 404, "the served folder holds no"),
        ("file:///etc/hostname", 404, "the served folder holds no"),
        ("file:%2e%2e/secret.mp4", 404, "the served folder holds no"),
        ("file:link.mp4", 404, "the served folder holds no"),
        ("file:a\0b", 404, "the served folder holds no"),
        ("data:video/mp4;base64,%%%", 400, "not valid base64"),
        ("data:video/mp4,plain", 400, "reads data:video/mp4;base64"),
        ("data:video/mp4;base64,bm8gZmlsbQ==", 400, "message 1, video: cannot be opened"),
        ("data:video/mp4;base64," + "A" * 1_400_000, 413, "limit of 1 MB"),
    ],
)
def test_media_come_from_where_they_may(
    client: TestClient, made: tinyrun.Run, address: str, status: int, words: str
) -> None:
    folder = made.base.parent
    link = folder / "link.mp4"
    if not link.is_symlink():
        (folder.parent / "secret.mp4").write_bytes(made.loud.read_bytes())
        link.symlink_to(folder.parent / "secret.mp4")
    assert words in refusal(ask(client, "tiny", asked("What?", video(address))), status)


def test_a_picture_is_that_of_a_talk(
    client: TestClient, service: Service, tmp_path: Path, made: tinyrun.Run
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    picture = tmp_path / "a.png"
    Image.fromarray(pixels).save(picture)
    part = {"type": "image_url", "image_url": {"url": data(picture, "image/png")}}
    ours = [{"type": "image", "image": picture}, {"type": "text", "text": "What?"}]
    how = {"sampling": Sampling(TOKENS), "patches": {}}
    wanted = service.model.chat([{"role": "user", "content": ours}], **how)
    assert text_of(ask(client, "tiny", asked("What?", part))) == wanted
    film = {"type": "image_url", "image_url": {"url": data(made.base / "config.json")}}
    assert "message 1, picture: " in refusal(ask(client, "tiny", asked("What?", film)), 400)


def test_addresses_are_fetched_only_if_allowed_and_not_followed(
    made: tinyrun.Run, tmp_path: Path
) -> None:
    with served(made.loud.parent) as address:
        sources = Sources(Limits(max_upload_mb=1), None, fetch=True)
        found = sources.open(f"{address}/clip0.mp4", "video", tmp_path)
        assert found.path.read_bytes() == made.loud.read_bytes()
        assert found.path.suffix == ".mp4" and found.path.parent == tmp_path
        # A folder without its slash is answered with a redirect to it.
        with pytest.raises(RequestError, match="video: cannot be fetched .*301"):
            sources.open(f"{address}/base", "video", tmp_path)
        with pytest.raises(RequestError, match="video: cannot be fetched .*404"):
            sources.open(f"{address}/nothing.mp4", "video", tmp_path)
        (made.loud.parent / "large.mp4").write_bytes(bytes(1_000_001))
        with pytest.raises(RequestError, match="larger than the limit of 1 MB"):
            sources.open(f"{address}/large.mp4", "video", tmp_path)


def test_limits_of_size_length_kind_and_queue(
    client: TestClient, service: Service, made: tinyrun.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = {"content-type": "application/json"}
    large = client.post("/v1/chat/completions", content=b" " * 2_400_000, headers=head)
    assert "limit of 1 MB" in refusal(large, 413)
    plain = client.post(
        "/v1/chat/completions", content="{}", headers={"content-type": "text/plain"}
    )
    assert "application/json" in refusal(plain, 415)
    cut = client.post("/v1/chat/completions", content="{", headers=head)
    assert "not JSON" in refusal(cut, 400)
    short = Limits(max_media_seconds=1)
    monkeypatch.setattr(service._reader, "_limits", short)
    film = tinyrun.clip(made.base.parent / "long.mp4", 5)
    monkeypatch.setattr(reading, "probe", lambda path: type("Info", (), {"duration": 61.0}))
    words = refusal(ask(client, "tiny", asked("What?", video(film))), 400)
    assert "message 1, video: 61 s long, which exceeds the limit of 1 s" in words
    monkeypatch.setattr(service, "in_progress", 4)
    full = ask(client, "tiny", asked("What?", video(film)))
    assert "the queue is full (max_queue: 4 requests)" in refusal(full, 503)
    assert full.headers["retry-after"] == "1"


def test_a_worker_that_dies_costs_its_request(
    client: TestClient, service: Service, made: tinyrun.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(about: str, *words: Any) -> None:
        raise WorkerDiedError(f"{about}: the process that read it died (SIGSEGV; ...)")

    film = tinyrun.clip(made.base.parent / "deadly.mp4", 6)
    with monkeypatch.context() as patch:
        patch.setattr(service._reader._workers, "call", die)
        words = refusal(ask(client, "tiny", asked("What?", video(film))), 400)
    assert words.startswith("message 1, video: the process that read it died")
    assert text_of(ask(client, "tiny", asked("What?", video(film))))


def test_a_key_is_asked_for(service: Service, tmp_path: Path) -> None:
    app = make_app(service, "secret")
    client = TestClient(app)
    assert "API key" in refusal(client.get("/v1/models"), 401)
    wrong = {"Authorization": "Bearer secre\u0301t".encode()}
    assert client.get("/metrics", headers=wrong).status_code == 401
    right = {"Authorization": "Bearer secret"}
    assert client.get("/v1/models", headers=right).status_code == 200
    assert client.get("/health").status_code == 200
    assert client.get("/nothing").json()["error"]["message"] == "GET /nothing: Not Found"
    file = tmp_path / "key"
    file.write_text("word\n")
    assert read_key(file) == "word"
    file.write_text("two words")
    with pytest.raises(ConfigError, match="one word"):
        read_key(file)


def test_other_sites_cannot_borrow_the_address(service: Service) -> None:
    client = TestClient(make_app(service, local=True))
    for host, status in (("127.0.0.1:8000", 200), ("localhost", 200), ("evil.example", 400)):
        assert client.get("/v1/models", headers={"Host": host}).status_code == status


def test_names_of_patches() -> None:
    assert named("sound=a/b=c") == ("sound", "a/b=c")
    for words in ("a+b=folder", "=folder", "a:1=folder", "sound="):
        with pytest.raises(ConfigError, match="NAME=FOLDER"):
            named(words)


@pytest.mark.parametrize(
    "family", ["qwen2_vl", "qwen3_vl", "qwen2_5_omni_thinker", "glm4v", "qwen3_5"]
)
def test_families_with_several_axes_and_one_that_shares_no_prefix(
    family: str, made: tinyrun.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions on three axes, and layers that allow no shared prefix."""
    monkeypatch.setattr(reading, "Workers", Inline)
    model = PatchedModel(tiny.base(family))
    service = Service(model, base="tiny", folder=made.base.parent)
    with TestClient(make_app(service)) as client:
        for film in ("clip0.mp4", "clip1.mp4", "clip0.mp4"):
            answer = text_of(ask(client, "tiny", asked("What?", video(f"file:{film}"))))
            wanted = model.ask(made.base.parent / film, "What?", max_new_tokens=TOKENS)
            assert answer == wanted
        # Clip 0 is asked about again, where prefixes can be shared at all.
        assert service.metrics.value("prefixes_kept_total") == (family in tiny.SHARING)
    service.close()


def test_a_prefix_is_kept_for_each_answer_of_a_gate(
    made: tinyrun.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read once with the residual and once without; each question gets the one that is its own."""
    monkeypatch.setattr(reading, "Workers", Inline)
    model = PatchedModel(tiny.base())
    fusion = {"hidden": 32, "question_gate": True}
    model.new_patch("audio", name="sound", lora=LoraSpec(rank=2), fusion=fusion, seed=0)
    tiny_patch.shake(model, scale=1.0)
    hear, see = "What do you hear?", "Which colour has it?"
    tiny_patch.divide(model, "sound", hear, see)
    service = Service(model, base="tiny", folder=made.base.parent)
    with TestClient(make_app(service)) as client:
        said = {}
        for question in (hear, see, hear, see):
            answer = text_of(ask(client, "sound", asked(question, video("file:clip0.mp4"))))
            wanted = model.ask(made.base.parent / "clip0.mp4", question, max_new_tokens=TOKENS)
            assert answer == wanted == said.setdefault(question, answer)
        assert service.metrics.value("prefixes_read_total") == 2
        assert service.metrics.value("prefixes_kept_total") == 2
    service.close()


def test_nothing_is_left_on_disk(client: TestClient, service: Service, made: tinyrun.Run) -> None:
    ask(client, "sound", asked("What?", video(made.silent)))
    assert not list(Path(service._scratch.name).iterdir())
    assert data(made.loud).startswith("data:video/mp4;base64,")
