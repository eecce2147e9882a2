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

from helpers import tiny, tinyrun
from pave import as_frames, load_base
from pave.answer import Sampling
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Record, Turn, read_records, write_records
from pave.errors import PaveError
from pave.files import PlaceError
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
from pave.model import PatchedModel

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


MODEL_CALLS: dict[str, Callable[[PatchedModel, str, Any], object]] = {
    "sampling": lambda model, clip, odd: model.ask(clip, "Hm?", frames=2, sampling=odd),
    "frames": lambda model, clip, odd: model.ask(clip, "Hm?", frames=odd, max_new_tokens=1),
    "a talk": lambda model, clip, odd: model.chat(odd, sampling=Sampling(1)),
    "a talk's sampling": lambda model, clip, odd: model.chat(_talk(clip), sampling=odd),
    "fusion": lambda model, clip, odd: model.delete_patch(model.new_patch("audio", fusion=odd)),
    "a folder": lambda model, clip, odd: model.save_patch(odd, "p"),
}


def _talk(clip: str) -> list[dict[str, Any]]:
    parts = [{"type": "video", "video": clip}, {"type": "text", "text": "Hm?"}]
    return [{"role": "user", "content": parts}]


@pytest.mark.parametrize("name", MODEL_CALLS)
def test_a_model(name: str, clip: str, model: PatchedModel) -> None:
    # These mean the default, which answers at length.
    odd_values = [odd for odd in ODD if odd is not None]
    for odd in odd_values:
        if isinstance(odd, torch.Tensor | np.ndarray):  # whether they are true is their own error
            continue
        if odd == "":  # the working folder, in whose place a patch is put where it is empty
            continue
        with suppress(PaveError, PlaceError):
            MODEL_CALLS[name](model, clip, odd)


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("a\0b.jsonl", "a\ud800b.jsonl"):
        with pytest.raises(PlaceError, match="cannot hold this character"):
            write_records(tmp_path / name, [_record()])
    assert not os.listdir(tmp_path)
