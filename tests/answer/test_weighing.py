"""The log-probability of an answer is that of a plain forward pass over one whole sequence."""

from __future__ import annotations

import pytest
import torch

from helpers import asked, tiny
from pave.answer.weighing import log_probabilities

WORDS = ["dog", "a big dog sounds", "yes"]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_answers_weigh_what_plain_sequences_say(family: str) -> None:
    model = asked.model(family)
    clips = asked.clips(model)
    wanted = [
        [WORDS[: 1 + number] for number, _ in enumerate(questions.asked)] for _, questions in clips
    ]
    found = log_probabilities(model, [questions for _, questions in clips], wanted)
    for (clip, questions), of_clip, texts in zip(clips, found, wanted, strict=True):
        for question, values, words in zip(questions.asked, of_clip, texts, strict=True):
            assert len(values) == len(words)
            for value, word in zip(values, words, strict=True):
                assert value == pytest.approx(
                    _plain(model, clip, questions, question, word), abs=2e-4
                )


def _plain(model, clip, questions, question, word) -> float:
    """One sequence with pixels; the mean over its answer's tokens, the end left out."""
    *_, (_, closed) = model.base.chat.encode(clip.text, [("Hm?", word)]).turns
    ids = closed[: len(closed) - 1 - closed[::-1].index(model.base.chat.stop_id)]
    inputs = model.base.batch([questions.prefix + question + ids], [clip])
    with torch.no_grad():
        logits = model(channels=[questions.features.channels], times=[clip.times], **inputs).logits[
            0
        ]
    chosen = logits.log_softmax(-1)[-1 - len(ids) : -1]
    return float(torch.stack([row[token] for row, token in zip(chosen, ids, strict=True)]).mean())


def test_nothing_to_weigh() -> None:
    assert log_probabilities(asked.model(), [], []) == []
    model = asked.model()
    clips = [questions for _, questions in asked.clips(model)]
    nothing = [[] for _ in clips[0].asked]
    words = [WORDS for _ in clips[-1].asked]
    # A clip without answers disturbs no other.
    alone = log_probabilities(model, clips[-1:], [words])
    assert log_probabilities(model, [clips[0], clips[-1]], [nothing, words]) == [nothing, *alone]
