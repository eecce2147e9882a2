"""Training on 8 questions about each of 2 clips: one prefix a clip, or one question a sample.

Each side makes one optimiser step of `smol` with the demo's patch (sound, LoRA on the attention) on
the same 16 questions: forward, backward, clipping and AdamW. Ours runs once over 2 sequences of 8
questions. The peer runs 8 times over 2 sequences of one question and adds its gradients up,
with `questions_per_video: 1`: the same code, tower outputs cached, logits at answers only. Other
ways to train are compared in `train_step`.

32 frames are what the paper uses, 4 what `smol` was made for. The number of tokens, in the note,
bounds the first ratio: at 32 frames a prefix is 291 tokens, at 4 it is 39.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from harness import Row, in_turn
from torch.nn import functional as F
from videos import Bench, bench

from pave.data import pack
from pave.data.features import Features
from pave.media import read_frames
from pave.model import PatchedModel
from pave.train.batches import Sample
from pave.train.collate import Collator
from pave.train.objective import AnswerModel

CLIPS, QUESTIONS = 2, 8


def samples(made: Bench, features: Features, together: bool) -> list[list[Sample]]:
    """Batches of one sequence a clip: all questions together, or one in each of several."""
    columns: list[list[Sample]] = []
    for group in made.groups:
        clip = features[group[0]]
        turns = [(turn.question, turn.answer) for record in group for turn in record.turns]
        prompts = [made.base.encode_prompt(clip.clip.text, [turn]) for turn in turns]
        parts = [prompts] if together else [[prompt] for prompt in prompts]
        columns.append([Sample(pack(part), clip) for part in parts])
    return [list(batch) for batch in zip(*columns, strict=True)]


def trainer(
    parameters: Sequence[torch.nn.Parameter], losses: Callable[[], Sequence[Any]]
) -> Callable[[], float]:
    """One optimiser step on the sum of the losses that the batches give; the sum."""
    optimizer = torch.optim.AdamW(parameters, lr=0.0)  # every step starts from the same weights

    def run() -> float:
        total = 0.0
        for loss in losses():
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return run


def cached(
    model: AnswerModel, batches: Sequence[Sequence[Sample]], packed: bool
) -> Callable[[], Any]:
    """Losses from cached tokens, at answer positions."""
    collate = Collator(model.patched.base, packed=packed)
    total = sum(len(sample.packed.labels) for batch in batches for sample in batch)
    return lambda: (model(collate(batch), num_items_in_batch=total)["loss"] for batch in batches)


def plain(
    made: Bench, model: PatchedModel, features: Features, batches: Sequence[Sequence[Sample]]
) -> Callable[[], Any]:
    """Losses from pixels, with logits everywhere; frames are decoded beforehand."""
    base = made.base
    clips = [base.clip(read_frames(group[0].video, features.sampling)) for group in made.groups]
    total = sum(len(sample.packed.labels) for batch in batches for sample in batch)

    def loss(batch: Sequence[Sample]) -> Any:
        inputs = base.batch([sample.packed.ids for sample in batch], clips, pad="right")
        channels = [dict(sample.features.channels) for sample in batch]
        logits = model(channels, [clip.times for clip in clips], use_cache=False, **inputs).logits
        rows = [logits[row, torch.tensor(sample.packed.keep)] for row, sample in enumerate(batch)]
        labels = torch.tensor([label for sample in batch for label in sample.packed.labels])
        return F.cross_entropy(torch.cat(rows).float(), labels, reduction="sum") / total

    return lambda: (loss(batch) for batch in batches)


def length(batches: Sequence[Sequence[Sample]]) -> int:
    """Tokens of all sequences."""
    return sum(len(sample.packed.ids) for batch in batches for sample in batch)


def measure() -> list[Row]:
    """Both numbers of frames."""
    rows = []
    with bench(CLIPS, QUESTIONS, "train") as made:
        patched = made.patched()
        model = AnswerModel(patched).train()
        trained = list(patched.trainable_parameters().values())
        for frames, repeats in ((32, 1), (4, 3)):
            features = made.features(frames)
            together, single = samples(made, features, True), samples(made, features, False)
            ours = trainer(trained, cached(model, together, True))
            ours()  # warm
            peer = trainer(trained, cached(model, single, False))
            many, few = length(single), length(together)
            tokens = f"{many:,} tokens against {few:,}: {many / few:.1f} times fewer"
            pair = in_turn(ours, peer, repeats, warm=False)
            promise = None if frames == 4 else 5.0
            figure = (
                f"shared-prefix training, 8 questions a clip, {frames} frames, against one "
                "question a sample"
            )
            unit = f"CPU s for {CLIPS * QUESTIONS} questions"
            rows.append(Row.gain(figure, pair, unit, promise, tokens))
    return rows
