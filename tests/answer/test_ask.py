"""Asking about a real file: sound in, no sound, several questions, wrong files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import tiny, tiny_patch
from pave.answer import Sampling
from pave.bases import load_base
from pave.channels import make_encoder
from pave.errors import ChannelError, ConfigError, MediaError, PatchError, PaveError
from pave.media import Uniform, read_frames, write_video
from pave.model import PatchedModel
from pave.patches import LoraSpec

RATE = 16_000


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same second of film with and without sound."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(10)]
    sound = np.sin(np.arange(RATE) * 0.2).astype(np.float32)
    write_video(folder / "loud.mp4", frames, 10, sound, RATE)
    write_video(folder / "silent.mp4", frames, 10, None, RATE)
    (folder / "text.mp4").write_text("not a film")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def model() -> PatchedModel:
    """An awake sound patch with the real encoder."""
    made = PatchedModel(tiny.base())
    made.new_patch(
        "audio", fusion={"hidden": 16}, lora=LoraSpec(rank=2), prompt="Listen. {question}", seed=1
    )
    tiny_patch.wake(made, "audio")
    return made


def plain_answer(model: PatchedModel, film: Path, question: str, count: int = 4) -> str:
    """What the base says, by hand."""
    base = model.base
    clip = base.clip(read_frames(film, Uniform(count)))
    inputs = base.batch(
        [base.encode_prompt(clip.text, [(question, None)]).ask()], [clip], pad="left"
    )
    with model.disable_patches():
        ids = model.generate(
            **inputs, do_sample=False, max_new_tokens=6, eos_token_id=base.stop_ids
        )
    return base.decode(ids[0, inputs["input_ids"].shape[1] :])


def test_sound_is_heard(model: PatchedModel, films: dict[str, Path]) -> None:
    options: dict[str, Any] = {"frames": 4, "max_new_tokens": 6}
    heard = model.ask(films["loud"], "What?", **options)
    assert heard != plain_answer(model, films["loud"], "What?")
    tokens = make_encoder("audio", "mel").encode(films["loud"])
    assert tokens is not None
    assert model.ask(films["silent"], "What?", channels={"audio": tokens}, **options) == heard
    assert (
        model.ask(films["silent"], "What?", channels={"audio": films["loud"]}, **options) == heard
    )
    with model.disable_patches():
        assert model.ask(films["loud"], "What?", **options) == plain_answer(
            model, films["loud"], "What?"
        )


def test_a_silent_film_is_answered_by_the_base_with_a_note(
    model: PatchedModel, films: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pave"):
        answer = model.ask(films["silent"], "What?", frames=4, max_new_tokens=6)
    assert answer == plain_answer(model, films["silent"], "What?")
    assert "has no audio; patch 'audio' is off for it" in caplog.text
    # A film that is named for the channel may be silent, too; another file that lacks it is wrong.
    named = {"audio": str(films["silent"])}
    assert answer == model.ask(films["silent"], "What?", channels=named, frames=4, max_new_tokens=6)
    with pytest.raises(ChannelError, match=r"silent\S* has no audio; give a file that has it"):
        model.ask(films["loud"], "What?", channels=named, frames=4, max_new_tokens=1)


def test_several_questions_share_one_decode_and_one_tower_run(
    model: PatchedModel, films: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one = [
        model.ask(films["loud"], q, frames=4, max_new_tokens=4) for q in ("What?", "Who is it?")
    ]
    runs: list[int] = []
    visual = model.base.visual
    monkeypatch.setattr(
        model.base, "visual", lambda *args, **options: runs.append(1) or visual(*args, **options)
    )
    assert (
        model.ask(films["loud"], ["What?", "Who is it?"], frames=4, max_new_tokens=4) == one_by_one
    )
    assert runs == [1]
    assert model.ask(films["loud"], [], frames=4) == []


def test_asking_leaves_the_mode_alone(model: PatchedModel, films: dict[str, Path]) -> None:
    model.train()
    answer = model.ask(films["loud"], "What?", frames=4, max_new_tokens=4)
    assert model.training
    model.eval()
    assert model.ask(films["loud"], "What?", frames=4, max_new_tokens=4) == answer
    assert not model.training


def test_a_patch_with_ready_made_tokens(films: dict[str, Path]) -> None:
    made = PatchedModel(tiny.base())
    tiny_patch.add(made, "smell")
    options: dict[str, Any] = {"frames": 4, "max_new_tokens": 6}
    alone = made.ask(films["loud"], "What?", **options)
    assert alone == plain_answer(made, films["loud"], "What?")
    assert (
        made.ask(films["loud"], "What?", channels={"smell": tiny_patch.tokens(4)}, **options)
        != alone
    )
    with pytest.raises(ChannelError, match="takes ready-made tokens"):
        made.ask(films["loud"], "What?", channels={"smell": films["loud"]}, **options)


@pytest.mark.parametrize(
    ("film", "options", "error", "message"),
    [
        ("text", {}, MediaError, "text.mp4"),
        ("nothing", {}, MediaError, "nothing.mp4"),
        ("loud", {"channels": {"smell": "x"}}, ChannelError, "no patch listens to 'smell'"),
        (
            "loud",
            {"channels": {"audio": tiny_patch.tokens()}},
            ChannelError,
            "expects \\d+ features",
        ),
        ("loud", {"frames": 0}, ConfigError, "whole number of at least 1"),
        ("loud", {"max_new_tokens": 0}, ConfigError, "1 new token"),
    ],
)
def test_wrong_questions(
    model: PatchedModel,
    films: dict[str, Path],
    film: str,
    options: dict[str, Any],
    error: Any,
    message: str,
) -> None:
    path = films.get(film, films["loud"].with_name(f"{film}.mp4"))
    with pytest.raises(error, match=message):
        model.ask(path, "What?", **options)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_answers(family: str, films: dict[str, Path]) -> None:
    made = PatchedModel(tiny.base(family))
    made.new_patch("audio", fusion={"hidden": 16}, lora=LoraSpec(rank=2), seed=1)
    fresh = made.ask(films["loud"], "What?", frames=4, max_new_tokens=3)
    with made.disable_patches():
        assert made.ask(films["loud"], "What?", frames=4, max_new_tokens=3) == fresh
    assert isinstance(fresh, str)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"video": None}, ConfigError, "a video is the path .* got NoneType"),
        ({"video": b"loud.mp4"}, ConfigError, "a video is the path .* got bytes"),
        ({"video": ["a.mp4", "b.mp4"]}, ConfigError, "a video is the path .* got list"),
        ({"video": np.zeros((4, 48, 64, 3), np.uint8)}, ConfigError, "a video is .* got ndarray"),
        ({"question": None}, ConfigError, "a question must be a string or a list .* got NoneType"),
        ({"question": b"What?"}, ConfigError, "a question must be a string or a list .* got bytes"),
        ({"question": 7}, ConfigError, "a question must be a string or a list .* got int"),
        ({"question": ["What?", None]}, ConfigError, "a question must be a string, got NoneType"),
        ({"question": [["What?"]]}, ConfigError, "a question must be a string, got list"),
        ({"question": "a\ud800b"}, ConfigError, "cannot be written as UTF-8"),
        ({"channels": ["a"]}, ConfigError, "channels maps .* got list"),
        ({"frames": "4"}, ConfigError, "must be \"auto\" or a whole number of at least 1, got '4'"),
        ({"frames": 2.5}, ConfigError, 'must be "auto" or a whole number of at least 1, got 2.5'),
        (
            {"frames": float("nan")},
            ConfigError,
            'must be "auto" or a whole number of at least 1, got nan',
        ),
        ({"max_new_tokens": float("nan")}, ConfigError, "max_new_tokens must be .* got nan"),
        ({"max_new_tokens": None}, ConfigError, "max_new_tokens must be .* got None"),
        ({"max_new_tokens": True}, ConfigError, "max_new_tokens must be .* got True"),
        ({"max_new_tokens": 2.0}, ConfigError, "max_new_tokens must be .* got 2.0"),
        ({"sampling": 4}, ConfigError, "sampling must be a pave.Sampling, got int"),
        ({"patches": ["audio"]}, PatchError, "patches are chosen as a mapping .* got list"),
        ({"patches": {"audio": None}}, PatchError, "finite number, got None"),
        ({"patches": {3: 1.0}}, PatchError, "no patch '3'"),
    ],
)
def test_arguments_of_a_wrong_kind_are_told_of(
    model: PatchedModel,
    films: dict[str, Path],
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    given: dict[str, Any] = {"video": films["loud"], "question": "What?", **arguments}
    with pytest.raises(error, match=message):
        model.ask(given.pop("video"), given.pop("question"), **{"max_new_tokens": 2, **given})


@pytest.mark.parametrize(
    "odd",
    [
        {"temperature": "1"},
        {"temperature": float("nan")},
        {"top_p": None},
        {"seed": 1.5},
        {"seed": 2**70},
    ],
)
def test_draws_of_a_wrong_kind_are_told_of(odd: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Sampling(**odd)


def test_calls_with_arguments_of_a_wrong_kind(model: PatchedModel, tmp_path: Path) -> None:
    """Each is a typed error, and the model works as before."""
    case = tiny_patch.case()
    tiny_patch.add(case.model)
    before = case.run()
    for side in ({"audio": case.side[0]["audio"]}, "audio", ["audio"], [{"audio": 1}, {}], 3):
        for call in (case.run, lambda s: case.model.seam.fuse(case.visuals(), s)):
            with pytest.raises(ChannelError):
                call(side)
    for work in (
        lambda: case.model.set_patches(["audio"]),
        lambda: case.model.load_patch(None),
        lambda: case.model.load_patch(b"p"),
        lambda: case.model.save_patch(None),
        lambda: case.model.save_patch(tmp_path / "p", name=3),
        lambda: case.model.delete_patch(["audio"]),
        lambda: case.model.encoder({"audio"}),
        lambda: case.model.new_patch("audio", name=3),
        lambda: case.model.new_patch(None, name="l", lora={"rank": "many"}),
        lambda: case.model.new_patch(None, name="l", lora=LoraSpec(), seed="one"),
        lambda: load_base(case.base.model, case.base.tokenizer, device="nowhere"),
        lambda: load_base("smol", dtype="float33"),
        lambda: load_base(b"smol"),
        lambda: load_base(None),
    ):
        with pytest.raises(PaveError):
            work()
    assert torch.equal(case.run(), before)
