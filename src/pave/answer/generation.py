"""Answers to several questions about several clips, paying for each clip's long prefix once.

A clip costs hundreds of tokens and a question about twenty. So the prefix goes through the language
model once per clip, its keys and values are copied for each question about it, and `generate` goes
on from there. Padding sits between prefix and question, masked out, and every question stands where
it would stand alone, so the result is that of asking one question at a time (a test compares them
on every family). Visual and side tokens serve all arms of a comparison; keys and values cannot,
because base, LoRA-only and patch have different weights.

Where the attention forbids a shared prefix (`pave.bases.why_no_shared_prefix`), questions go
through plain `generate` in one batch; so do a single question, which shares with nobody, and
questions that get several answers or beams each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice, takewhile
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.answer.model import AnsweringModel
from pave.answer.questions import Questions
from pave.answer.sampling import Sampling
from pave.bases import Base, prefix_positions, why_no_shared_prefix
from pave.bases.head import last_positions, must_be_numbers

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
    """
    if not clips:
        return []
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
    inputs = rows_of(base, clips, whole=whole)
    prefix = None
    if not whole:
        prefix = partial(shared_prefix, model, clips)
    rows = iter(decode(model, inputs, sampling, prefix, ends))  # a row an answer, clip by clip
    answers = []  # [clip][answer][token]
    for clip in clips:
        own = islice(rows, len(clip.asked) * sampling.n)
        answers.append(list(own))
    return answers


def decode(
    model: AnsweringModel,
    inputs: dict[str, Any],
    sampling: Sampling,
    prefix: Callable[[], dict[str, Any]] | None = None,
    ends: Collection[int] = (),
    **more: Any,
) -> list[list[int]]:
    """What `generate` of transformers appends to prompts, the model to oneself meanwhile.

    In eval mode, the head at last positions alone, draws from the seed.

    Args:
        model: The model.
        inputs: Of its `generate`.
        sampling: How.
        prefix: Makes further inputs, with a prefix that has been read.
        ends: Tokens that end an answer too, in chat formats that are not the base's.
        **more: Further arguments of `generate`: a streamer, what else ends an answer.

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
    head = base.model.get_output_embeddings()
    with (
        # Another thread that trained or asked meanwhile would see the head at last positions.
        model.lock,
        torch.random.fork_rng(enabled=sampling.seed is not None),
        head.register_forward_pre_hook(last_positions(1)),
        head.register_forward_hook(must_be_numbers),
    ):
        training = model.training
        if training:
            model.train(False)
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        try:
            if prefix is not None:
                inputs = inputs | prefix()
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
        finally:
            if training:
                model.train()
    length = inputs["input_ids"].shape[1]  # of the padded prompts, which generate repeats
    rows = []
    for row in ids[:, length:].tolist():
        kept = takewhile(lambda token: token not in stop, row)  # what follows is padding
        rows.append(list(kept))
    return rows


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


def shared_prefix(
    model: AnsweringModel, clips: Sequence[Questions], read: Any = None
) -> dict[str, Any]:
    """Inputs of `generate` with the prefixes in the cache already, copied for each question.

    Args:
        model: The model, with the wanted patches on.
        clips: Clips with their questions.
        read: What `read_prefix` made of these clips; it is used up. Read now when not given.
    """
    base = model.base
    longest = 0  # tokens of a question
    for clip in clips:
        longest = max(longest, *map(len, clip.asked))
    if read is None:  # nobody has kept it
        read = read_prefix(model, clips)
    prefix, places = _prefixes(base, clips, longest)
    before = _padded(base, [place[:, :-longest] for place in places])
    # One row a question from here on.
    owners = []
    questions = []
    behind = []
    for number, clip in enumerate(clips):
        for asked in clip.asked:
            owners.append(number)
            questions.append(asked)
            start = len(clip.prefix)
            behind.append(places[number][:, start : start + len(asked)])  # [A, len(asked)]
    # [questions], the clip of each; on the CPU it indexes layers of any device.
    rows = torch.tensor(owners)
    read.batch_select_indices(rows)
    question = base.batch(questions, pad="left")  # [questions, Q]
    joined = {}  # [prefix | padding | question] in each row
    for key in ("input_ids", "attention_mask"):
        joined[key] = torch.cat([prefix[key][rows], question[key]], dim=1)
    joined["position_ids"] = torch.cat([before[..., rows, :], _padded(base, behind)], dim=-1)
    return {**joined, "past_key_values": read}


def read_prefix(model: AnsweringModel, clips: Sequence[Questions]) -> Any:
    """Keys and values of the clips' prefixes, a row each, for `shared_prefix`.

    A server keeps them for the next questions about a clip; they hold for the patches, and their
    weights, with which they were read.
    """
    prefix, places = _prefixes(model.base, clips, 1)
    # The head runs over its last positions alone where `decode` calls this.
    read = model(
        channels=[clip.features.channels for clip in clips],
        times=[clip.features.clip.times for clip in clips],
        visuals=[clip.features.visual for clip in clips],
        **prefix,
        position_ids=_padded(model.base, [place[:, :-1] for place in places]),
        use_cache=True,
    )
    return read.past_key_values


def _prefixes(
    base: Base, clips: Sequence[Questions], longest: int
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The prefixes as a batch `[clips, P]`, and for each clip `[A, P + longest]` positions.

    Those are the prefix's own, and where the tokens of a question behind it stand.
    """
    prefixes = [clip.prefix for clip in clips]
    whole = [clip.features.clip for clip in clips]
    prefix = base.batch(prefixes, whole, pad="left", pixels=False)
    return prefix, prefix_positions(base, prefixes, whole, longest)


def _padded(base: Base, positions: Sequence[Tensor]) -> Tensor:
    """Left-padded positions `[B, L]`, or `[3, B, L]` where a family has several axes."""
    length = max(row.shape[1] for row in positions)
    # What stands in the padding is masked out; 0 is as good as any.
    padded = [F.pad(row, (length - row.shape[1], 0)) for row in positions]
    stacked = torch.stack(padded, dim=1).to(base.device)  # [A, B, L]
    return stacked if base.family.mrope else stacked[0]
