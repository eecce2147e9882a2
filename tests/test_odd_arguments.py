"""What a program hands to a function by mistake is refused in pave's own words.

A list where a path is meant, bytes, None, half a surrogate pair, a number larger than any memory:
whatever it is, it is taken, or refused with a `PaveError` (or `PlaceError`, for what is to be
written), never with Python's own error from somewhere inside.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from helpers import tiny, tinyrun
from pave import as_frames, load_base
from pave.answer import Conversation, Questions, Sampling, generate, log_probabilities
from pave.bases import Base, Clip, find_family, register_family
from pave.bases.families import FAMILIES
from pave.cache import TokenCache
from pave.channels import describe_encoder, make_encoder, register_encoder
from pave.channels.cached import cache_key
from pave.channels.registry import ENCODERS
from pave.data import ClipFeatures, Record, Turn, read_records, write_records
from pave.data.record import clip_key
from pave.data.records import group_by_clip, missing_media
from pave.errors import PaveError
from pave.evaluate import evaluate, evaluate_swap
from pave.evaluate.compare import compare_files
from pave.evaluate.score import score_files
from pave.extract import extract
from pave.files import PlaceError
from pave.fusion import Fusion, FusionConfig, make_fusion, read_fusion_config, register_fusion
from pave.fusion_registry import FUSIONS
from pave.media import (
    At,
    Rate,
    Uniform,
    frame_times,
    probe,
    read_frames,
    read_sound,
    stream_frames,
)
from pave.model import PatchedModel, check_probe, make_probe
from pave.paper.checkpoint import convert
from pave.paper.configs import fusion_config
from pave.patches import NewChannel, read_config
from pave.serve import Service
from pave.tasks import get_task
from pave.tasks.prepare import convert as examples_of
from pave.tokens import Tokens
from pave.train import train

ODD: list[Any] = [
    None, True, 0, -1, 1.5, math.nan, math.inf, 10**30, -(10**30), "", "word", "a\ud800b", "a\0b",
    b"x", [], [object()], ["a", "b"], (1, 2), {1}, {}, {"a": object()}, {"audio": None}, {1: 2},
    [[["x"]]], object(), object, Path("a\0b"), torch.zeros(2), np.zeros(3), print,
]  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tinyrun.clip(tmp_path_factory.mktemp("clip") / "a.mp4", 0))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PatchedModel:
    patched = PatchedModel(tiny.base())
    patched.new_patch("audio", name="p", fusion={"hidden": 8}, lora=None)
    return patched


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Some odd values are names of files, which are then written."""
    monkeypatch.chdir(tmp_path)
    yield


def must_be_taken_or_refused(call: Callable[[Any], object]) -> None:
    for odd in ODD:
        with suppress(PaveError, PlaceError):
            call(odd)


CALLS: dict[str, Callable[[str, Any], object]] = {
    "Uniform": lambda clip, odd: read_frames(clip, Uniform(odd)),
    "Rate": lambda clip, odd: read_frames(clip, Rate(odd)),
    "Rate at most": lambda clip, odd: read_frames(clip, Rate(2.0, odd)),
    "At": lambda clip, odd: read_frames(clip, At(odd)),
    "a sampling": read_frames,
    "a streamed sampling": lambda clip, odd: list(stream_frames(clip, odd, 2)),
    "a film": lambda clip, odd: read_frames(odd, Uniform(2)),
    "a streamed film": lambda clip, odd: list(stream_frames(odd, Uniform(2), 2)),
    "times of a film": lambda clip, odd: frame_times(odd),
    "a medium": lambda clip, odd: probe(odd),
    "a sound": lambda clip, odd: read_sound(odd),
    "a rate of sound": read_sound,
    "pixels": lambda clip, odd: as_frames(odd, fps=2),
    "fps of pixels": lambda clip, odd: as_frames(np.zeros((2, 4, 4, 3), np.uint8), fps=odd),
    "times of pixels": lambda clip, odd: as_frames(np.zeros((2, 4, 4, 3), np.uint8), times=odd),
    "a channel": lambda clip, odd: make_encoder(odd, "mel"),
    "an encoder": lambda clip, odd: make_encoder("audio", odd),
    "settings": lambda clip, odd: make_encoder("audio", "mel", odd),
    "what is encoded": lambda clip, odd: make_encoder("audio", "mel").encode(odd),
    "records": lambda clip, odd: read_records(odd),
    "a file for records": lambda clip, odd: write_records(odd, [_record()]),
    "records to write": lambda clip, odd: write_records("a.jsonl", odd),
    "a cache": lambda clip, odd: TokenCache(odd),
    "a type of tensors": lambda clip, odd: TokenCache("cache", odd),
    "a source": lambda clip, odd: TokenCache("cache").key(odd, {}),
    "settings of a key": lambda clip, odd: TokenCache("cache").key(clip, odd),
    "a key": lambda clip, odd: TokenCache("cache").get(odd),
    "tensors": lambda clip, odd: TokenCache("cache").put("0" * 64, odd),
    # A word is the name of a base on the Hub, which would be asked for it.
    "a base": lambda clip, odd: None if isinstance(odd, str) else load_base(odd),
    "a type": lambda clip, odd: load_base("/nowhere/none", dtype=odd),
    "a device": lambda clip, odd: load_base("/nowhere/none", device=odd),
    "a map": lambda clip, odd: load_base("/nowhere/none", device_map=odd),
    "an attention": lambda clip, odd: load_base("/nowhere/none", attention=odd),
    "a way to quantise": lambda clip, odd: load_base("/nowhere/none", quantize=odd),
    "a name": lambda clip, odd: load_base("/nowhere/none", name=odd),
}


def _record() -> Record:
    return Record(id="1", video="a.mp4", turns=[Turn(question="?", answer="!")])


@pytest.mark.parametrize("name", CALLS)
def test_functions(name: str, clip: str) -> None:
    must_be_taken_or_refused(lambda odd: CALLS[name](clip, odd))


EVERYTHING: dict[str, Callable[[Any], object]] = {
    "a base": PatchedModel,
    "a conversation": Conversation,
    "settings of a training": train,
    "settings of an evaluation": evaluate,
    "settings of an exchange": evaluate_swap,
    "settings of an extraction": extract,
    "values of tokens": lambda odd: Tokens(odd, torch.zeros(2)),
    "times of tokens": lambda odd: Tokens(torch.zeros(2, 1, 3), odd),
    "a fusion": Fusion,
    "settings of a fusion": read_fusion_config,
    "a fusion by its settings": make_fusion,
    "a family": register_family,
    "a model type": lambda odd: find_family(odd),
    "the name of a fusion": lambda odd: register_fusion(odd, FusionConfig)(Fusion),
    "the channel of an encoder": lambda odd: register_encoder(odd, "x", FusionConfig)(Fusion),
    "the name of an encoder": lambda odd: register_encoder("audio", odd, FusionConfig)(Fusion),
    "an encoder's channel": lambda odd: describe_encoder(odd, "mel"),
    "a patch folder": read_config,
    "a tiny model": tiny.base,
    "a served model": Service,
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_is_made_and_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (FUSIONS, ENCODERS, FAMILIES):  # some names are names
        monkeypatch.setattr(registry, "_registered", registry.registered())
    for odd in ODD:
        with suppress(PaveError, PlaceError, ValidationError):  # pydantic's, of settings
            EVERYTHING[name](odd)


MODEL_CALLS: dict[str, Callable[[PatchedModel, str, Any], object]] = {
    "sampling": lambda model, clip, odd: model.ask(clip, "Hm?", frames=2, sampling=odd),
    "frames": lambda model, clip, odd: model.ask(clip, "Hm?", frames=odd, max_new_tokens=1),
    "a talk": lambda model, clip, odd: model.chat(odd, sampling=Sampling(1)),
    "a talk's sampling": lambda model, clip, odd: model.chat(_talk(clip), sampling=odd),
    "fusion": lambda model, clip, odd: model.delete_patch(model.new_patch("audio", fusion=odd)),
    "a folder": lambda model, clip, odd: model.save_patch(odd, "p"),
    "a stream": lambda model, clip, odd: list(model.chat(_talk(clip), stream=odd)) and None,
    "a role": lambda model, clip, odd: model.chat([{"role": odd, "content": "a"}]),
    "a flag": lambda model, clip, odd: model.set_trainable("p", odd),
    "a LoRA per channel": lambda model, clip, odd: model.new_patch(
        {"a": NewChannel(None), "b": NewChannel(None)}, lora_per_channel=odd
    ),
    "base patches": lambda model, clip, odd: _new(model, base_patches=odd),
    "a LoRA to continue": lambda model, clip, odd: _new(model, continue_lora=odd),
    "settings of an encoder": lambda model, clip, odd: _new(model, encoder_settings=odd),
    "about a patch": lambda model, clip, odd: model.save_patch("saved", "p", training={"a": odd}),
    "a licence": lambda model, clip, odd: model.save_patch("saved", "p", licence=odd),
    "weights": lambda model, clip, odd: model.load_trainable(odd),
    "a weight": lambda model, clip, odd: model.load_trainable(
        dict.fromkeys(model.trainable_parameters(), odd)
    ),
    "a channel": lambda model, clip, odd: model.encoder("p", odd),
    "times": lambda model, clip, odd: model([{}], odd, **tiny.inputs(model.base, (4,))),
    "visual tokens": lambda model, clip, odd: model([{}], None, odd, **_asked(model)),
}


BASE_CALLS: dict[str, Callable[[Base, Clip, Any], object]] = {
    "a clip's text": lambda base, clip, odd: base.encode_prompt(odd, [("Hm?", None)]),
    "turns": lambda base, clip, odd: base.encode_prompt(clip.text, odd),
    "a turn": lambda base, clip, odd: base.encode_prompt(clip.text, [odd]),
    "a question": lambda base, clip, odd: base.encode_prompt(clip.text, [(odd, None)]),
    "an answer": lambda base, clip, odd: base.encode_prompt(clip.text, [("Hm?", odd)]),
    "frames": lambda base, clip, odd: base.clip(odd),
    "how many frames": lambda base, clip, odd: base.check_frames(odd),
    "clips for the tower": lambda base, clip, odd: base.visual(odd),
    "a clip for the tower": lambda base, clip, odd: base.visual([odd]),
    "want_query": lambda base, clip, odd: base.visual([clip], odd),
    "visual tokens": lambda base, clip, odd: base.join(odd),
    "visual tokens of a clip": lambda base, clip, odd: base.join([odd]),
    "prompts": lambda base, clip, odd: base.batch(odd),
    "a prompt": lambda base, clip, odd: base.batch([odd]),
    "an id": lambda base, clip, odd: base.batch([[odd]]),
    "clips of a batch": lambda base, clip, odd: base.batch([_ids(base, clip)], odd),
    "a clip of a batch": lambda base, clip, odd: base.batch([_ids(base, clip)], [odd]),
    "a side": lambda base, clip, odd: base.batch([_ids(base, clip)], [clip], odd),
    "pixels": lambda base, clip, odd: base.batch([_ids(base, clip)], [clip], pixels=odd),
    "ids": lambda base, clip, odd: base.decode(odd),
    "an id of an answer": lambda base, clip, odd: base.decode([odd]),
    "inputs": lambda base, clip, odd: base.use(odd),
}


def _ids(base: Base, clip: Clip) -> list[int]:
    return base.encode_prompt(clip.text, [("Hm?", None)]).ask()


@pytest.mark.parametrize("name", BASE_CALLS)
def test_a_base(name: str, model: PatchedModel) -> None:
    clip = model.base.clip(tiny.frames(2))
    must_be_taken_or_refused(lambda odd: BASE_CALLS[name](model.base, clip, odd))


ANSWER_CALLS: dict[str, Callable[[PatchedModel, Questions, Any], object]] = {
    "a model": lambda model, asked, odd: generate(odd, [asked], Sampling(1)),
    "questions": lambda model, asked, odd: generate(model, odd, Sampling(1)),
    "a question": lambda model, asked, odd: generate(model, [odd], Sampling(1)),
    "a sampling": lambda model, asked, odd: generate(model, [asked], odd),
    "a model that weighs": lambda model, asked, odd: log_probabilities(odd, [asked], [[["a"]]]),
    "questions to weigh": lambda model, asked, odd: log_probabilities(model, odd, [[["a"]]]),
    "answers": lambda model, asked, odd: log_probabilities(model, [asked], odd),
    "answers of a clip": lambda model, asked, odd: log_probabilities(model, [asked], [odd]),
    "answers of a question": lambda model, asked, odd: log_probabilities(model, [asked], [[odd]]),
    "an answer": lambda model, asked, odd: log_probabilities(model, [asked], [[[odd]]]),
    "a probe": lambda model, asked, odd: make_probe(odd),
    "a probed patch": lambda model, asked, odd: make_probe(model, odd),
    "a seed": lambda model, asked, odd: make_probe(model, "p", odd),
    "what is compared": lambda model, asked, odd: check_probe(odd),
    "a base of a checkpoint": lambda model, asked, odd: convert(".", odd, "V5_1_3", "out"),
    "a checkpoint": lambda model, asked, odd: convert(odd, model.base, "V5_1_3", "out"),
    "a config": lambda model, asked, odd: convert(".", model.base, odd, "out"),
    "a patch folder": lambda model, asked, odd: convert(".", model.base, "V5_1_3", odd),
}


@pytest.mark.parametrize("name", ANSWER_CALLS)
def test_answers(name: str, model: PatchedModel) -> None:
    base = model.base
    clip = base.clip(tiny.frames(2))
    prompt = base.encode_prompt(clip.text, [("Hm?", None)])
    (visual,) = base.visual([clip])
    asked = Questions(ClipFeatures(clip, visual), prompt.prefix, [prompt.turns[0][0]])
    must_be_taken_or_refused(lambda odd: ANSWER_CALLS[name](model, asked, odd))


SCORES = {"predictions": "p.jsonl", "records": "r.jsonl", "resamples": 100}
FILE_CALLS: dict[str, Callable[[Any], object]] = {
    "records with media": missing_media,
    "a record with media": lambda odd: missing_media([odd]),
    "records of clips": group_by_clip,
    "a record of a clip": lambda odd: group_by_clip([odd]),
    "a record": clip_key,
    "items": lambda odd: compare_files(odd, "i.jsonl"),
    "other items": lambda odd: compare_files("i.jsonl", odd),
    "records of items": lambda odd: compare_files("i.jsonl", "i.jsonl", records=odd),
    "draws": lambda odd: compare_files("i.jsonl", "i.jsonl", resamples=odd),
    "a seed of draws": lambda odd: compare_files("i.jsonl", "i.jsonl", seed=odd),
    "a task": lambda odd: score_files(odd, **SCORES),
    "a style": lambda odd: score_files(get_task("avqa"), **SCORES, style=odd),
    "references": lambda odd: score_files(get_task("avqa"), "p.jsonl", references=odd),
    **{
        name: lambda odd, name=name: score_files(get_task("avqa"), **SCORES | {name: odd})
        for name in SCORES
    },
    "a config of the authors": fusion_config,
    "a benchmark": lambda odd: examples_of(odd, {"a.json": []}, "test"),
    "annotations": lambda odd: examples_of(get_task("avqa"), odd, "test"),
    "an encoder": lambda odd: cache_key(TokenCache("cache"), odd, "p.jsonl"),
    "a token cache": lambda odd: cache_key(odd, make_encoder("audio", "mel"), "p.jsonl"),
    "media of a key": lambda odd: cache_key(TokenCache("cache"), make_encoder("audio", "mel"), odd),
}


@pytest.mark.parametrize("name", FILE_CALLS)
def test_files(name: str) -> None:
    write_records("r.jsonl", [_record()])
    Path("p.jsonl").write_text('{"id": "1", "prediction": "!"}\n')
    Path("i.jsonl").write_text('{"id": "1", "scores": {"accuracy": 1.0}}\n')
    must_be_taken_or_refused(FILE_CALLS[name])


def _new(model: PatchedModel, **given: Any) -> None:
    model.delete_patch(model.new_patch("audio", name="new", fusion={"hidden": 8}, **given))


def _asked(model: PatchedModel) -> dict[str, torch.Tensor]:
    inputs = tiny.inputs(model.base, (4,))
    return {key: value for key, value in inputs.items() if "pixel" not in key}


def _talk(clip: str) -> list[dict[str, Any]]:
    parts = [{"type": "video", "video": clip}, {"type": "text", "text": "Hm?"}]
    return [{"role": "user", "content": parts}]


@pytest.mark.parametrize("name", MODEL_CALLS)
def test_a_model(name: str, clip: str, model: PatchedModel) -> None:
    # These mean the default, which answers at length.
    odd_values = [odd for odd in ODD if odd is not None]
    for odd in odd_values:
        if (
            isinstance(odd, str) and not odd
        ):  # the working folder, in whose place a patch is put where it is empty
            continue
        with suppress(PaveError, PlaceError):
            MODEL_CALLS[name](model, clip, odd)
        model.set_trainable("p", True)


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("a\0b.jsonl", "a\ud800b.jsonl"):
        with pytest.raises(PlaceError, match="cannot hold this character"):
            write_records(tmp_path / name, [_record()])
    assert not os.listdir(tmp_path)
