"""Answers to several questions about several clips, paying for each clip's long prefix once.

A clip costs hundreds of tokens and a question about twenty. So the prefix goes through the language
model once per clip, and `generate` goes on from its keys and values. Questions about a clip are
packed into one row behind them (`pave.answer.packed`), or each gets a copy of them, with padding
between prefix and question, masked out. Every question stands where it would stand alone, so the
result is that of asking one question at a time (a test compares them on every family). Visual and
side tokens serve all arms of a comparison; keys and values cannot,
because base, LoRA-only and patch have different weights.

Where the attention forbids a shared prefix (`pave.bases.why_no_shared_prefix`), questions go
through plain `generate` in one batch; so do a single question, which shares with nobody, and
questions that get several answers or beams each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice, takewhile
from typing import Any

import torch
from transformers import StoppingCriteriaList

from pave.answer.model import AnsweringModel
from pave.answer.packed import Ended, Packed, pays
from pave.answer.prefixes import Prefix, behind_prefixes, read_prefixes
from pave.answer.questions import Questions, apart, together
from pave.answer.sampling import Sampling
from pave.arguments import as_kind, as_list_of
from pave.bases import Base, why_no_shared_prefix
from pave.bases.head import last_positions, must_be_numbers
from pave.errors import ConfigError
from pave.seeds import drawing_apart

MACHINERY: dict[str, Any] = {
    "cache_implementation": None,
    "guidance_scale": None,
    "prompt_lookup_num_tokens": None,
    "return_dict_in_generate": False,
    "token_healing": False,
    "use_cache": True,
}
"""How `generate` works, whatever a folder's generation_config.json says of it: with a cache of its
own, token by token, without a second prompt. What it says of the next token's probabilities counts
(`repetition_penalty`, `suppress_tokens`, ...)."""


@torch.no_grad()
def generate(
    model: AnsweringModel, clips: Sequence[Questions], sampling: Sampling
) -> list[list[list[int]]]:
    """Answer every question of every clip.

    Args:
        model: The model, with the wanted patches on; it answers in eval mode.
        clips: Clips with at least one question each.
        sampling: How.

    Returns:
        For each clip, for each question, the new token ids without the end token; of several
        answers to a question, one after the other.

    Raises:
        ConfigError: If an argument is of another kind.
    """
    check_asked(model, clips)
    as_kind(sampling, Sampling, "sampling is a pave.Sampling")
    if not clips:
        return []
    pieces, places = apart(clips)
    rows = iter(_rows(model, pieces, sampling))
    said = []  # [question][answer][token]
    for _ in places:
        own = islice(rows, sampling.n)
        said.append(list(own))
    answers: list[list[list[int]]] = []  # [clip][answer][token]
    for of_clip in together(clips, places, said):
        joined = chain.from_iterable(of_clip)
        answers.append(list(joined))
    return answers


def _rows(
    model: AnsweringModel,
    clips: Sequence[Questions],
    sampling: Sampling,
) -> list[list[int]]:
    """Ids of every answer, clip by clip and question by question."""
    base = model.base
    count = 0  # questions
    ends: set[int] = set()
    for clip in clips:
        count += len(clip.asked)
        if clip.chat is not None and clip.chat is not base.chat:
            ends.add(clip.chat.stop_id)
    # transformers copies prompts for further answers and beams, but not what a cache holds.
    alone = count == 1 or sampling.n * sampling.beams > 1
    whole = alone or why_no_shared_prefix(base) is not None
    with answering(model):  # nobody changes what works between a prefix and its questions
        if whole:
            return decode(model, rows_of(base, clips, whole=True), sampling, ends)
        return decode_behind(model, clips, read_prefixes(model, clips), sampling, ends)


def check_asked(model: AnsweringModel, clips: Sequence[Questions]) -> None:
    """Refuse what cannot answer, and what asks nothing.

    Raises:
        ConfigError: If it is so.
    """
    base = getattr(model, "base", None)
    if not isinstance(base, Base):
        raise ConfigError(f"what answers is a PatchedModel, got {type(model).__name__}")
    as_list_of(clips, Questions, "clips are a list of pave.answer.Questions")


@contextlib.contextmanager
def answering(model: AnsweringModel, last: int = 1) -> Iterator[None]:
    """For the time of the context the model is one's own, and made to answer.

    It is in eval mode, and its head runs at last positions alone.

    Args:
        model: The model.
        last: How many positions.

    Raises:
        BaseError: Where logits are no numbers, see `must_be_numbers`.
    """
    head = model.base.model.get_output_embeddings()
    with (
        # Another thread that trained or asked meanwhile would see the head at last positions.
        model.lock,
        head.register_forward_pre_hook(last_positions(last)),
        head.register_forward_hook(must_be_numbers),
    ):
        training = model.training
        if training:
            model.train(False)
        try:
            yield
        finally:
            if training:
                model.train()


def decode(
    model: AnsweringModel,
    inputs: dict[str, Any],
    sampling: Sampling,
    ends: Collection[int] = (),
    *,
    ended: Sequence[Ended] = (),
    **more: Any,
) -> list[list[int]]:
    """What `generate` of transformers appends to prompts.

    Args:
        model: The model.
        inputs: Of its `generate`.
        sampling: How; it draws from its seed.
        ends: Tokens that end an answer too, in chat formats that are not the base's.
        ended: What else ends an answer: criteria of transformers.
        **more: Further arguments of `generate`, such as a streamer.

    Returns:
        New ids of every row without the end token; the `n` answers of a prompt follow each other.
    """
    base = model.base
    stop = list(dict.fromkeys([*base.stop_ids, *ends]))  # each once
    # transformers warns of settings of draws where none are made.
    drawing: dict[str, Any] = {"temperature": None, "top_p": None, "top_k": None}
    if sampling.temperature > 0:
        drawing = {name: getattr(sampling, name) for name in drawing}
    if sampling.stop:
        more["stop_strings"] = list(sampling.stop)
    if sampling.stop or base.model.generation_config.stop_strings:
        more["tokenizer"] = base.tokenizer
    if ended:
        more["stopping_criteria"] = StoppingCriteriaList(ended)
    with answering(model), drawing_apart(base.model, sampling.seed):
        # All that the model's own generation config says of these does not count.
        ids = model.generate(
            **inputs,
            **MACHINERY,
            **drawing,
            **more,
            max_new_tokens=sampling.max_new_tokens,
            do_sample=sampling.temperature > 0,
            num_beams=sampling.beams,
            num_return_sequences=sampling.n,
            eos_token_id=stop,
            pad_token_id=base.filler_id,
        )
    length = inputs["input_ids"].shape[1]  # of the padded prompts, which generate repeats
    rows = []
    for row in ids[:, length:].tolist():
        kept = takewhile(lambda token: token not in stop, row)  # what follows is padding
        rows.append(list(kept))
    return rows


def decode_behind(
    model: AnsweringModel,
    clips: Sequence[Questions],
    prefixes: Sequence[Prefix],
    sampling: Sampling,
    ends: Collection[int] = (),
    *,
    ended: Sequence[Ended] = (),
    **more: Any,
) -> list[list[int]]:
    """What `generate` of transformers appends to questions behind prefixes that were read.

    Args:
        model: The model, within `answering`.
        clips: Clips with their questions, one answer each.
        prefixes: What `read_prefixes` made of each clip.
        sampling: How.
        ends: See `decode`.
        ended: See `decode`.
        **more: See `decode`.

    Returns:
        New ids of every question, clip by clip.
    """
    base = model.base
    inputs = rows_of(base, clips, whole=False)
    packs = pays(base, clips)
    inputs |= behind_prefixes(base, clips, prefixes, packed=packs)
    if not packs:
        return decode(model, inputs, sampling, ends, ended=ended, **more)
    packed = Packed(base, clips, {*base.stop_ids, *ends}, ended)
    with packed.at_work():
        return decode(model, inputs, sampling, ends, ended=[packed], **more)


def rows_of(base: Base, clips: Sequence[Questions], *, whole: bool) -> dict[str, Any]:
    """Inputs of the model with a row for each question.

    Args:
        base: The base.
        clips: Clips with their questions.
        whole: Whether a row holds the clip's prefix as well; else only whose channels it has, which
            counts behind a prefix that was read, too: a patch works on the rows whose clip has its
            channel.
    """
    prompts, seen, visuals, channels, times = [], [], [], [], []  # one a question each
    for clip in clips:
        for asked in clip.asked:
            prompts.append(clip.prefix + asked)
            seen.append(clip.features.clip)
            visuals.append(clip.features.visual)
            channels.append(clip.features.channels)
            times.append(clip.features.clip.times)
    inputs: dict[str, Any] = {"channels": channels, "times": times}
    if whole:
        inputs |= base.batch(prompts, seen, pad="left", pixels=False)
        inputs["visuals"] = visuals
    return inputs
