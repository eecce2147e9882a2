"""The aligned start: the fusion learns the language model's words before the language model is asked to read them.

Trained through a frozen language model alone, a fresh fusion has two things to learn at once from a
weak signal: what a sound is, and which vector makes the model say its name. The second is known:
the model's own word embeddings. So for a short while the fusion trains without the language model,
as a classifier whose classes are the answers of the records that need the channel: the clip's mean
residual must point to the mean embedding of the answer's words. A step costs a thousandth of a step
through the model, so it can see every clip many times. Answers that no clip decides ("yes") are
left to a bias that is thrown away.

There are many vectors near a word, and most of them would blur what the visual tokens say
themselves. So the residual is also pushed out of the directions in which visual tokens differ from
each other, which are few: it speaks where they are silent.

The zero gate is opened afterwards, to a set share of the visual tokens' size; training then goes on
as always, with the usual loss.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases.base import Base
from pave.data import Features, Record
from pave.errors import ConfigError
from pave.fusion import Fusion
from pave.tokens import Tokens

log = logging.getLogger(__name__)

_BATCH = 32
_RATE = 1e-3
_BIAS_RATE = 1e-2
_SHARPNESS = 20.0  # a cosine of 1 stands for a logit of 20
_QUIET = 1.0  # weight of the residual's energy in the picture's directions; random directions have an energy of 1
_SPOTS = 4  # places of a frame that are kept as queries; one of them is drawn in each step
_MOST_CLIPS = 4000  # more are not held in memory


@dataclass(frozen=True)
class AlignReport:
    """What the aligned start did.

    Attributes:
        clips: Clips it learnt from.
        answers: Distinct answers, the classes.
        loss: Mean loss of the last tenth of its steps.
        gate: Value of the output norm's weight it ended with.
    """

    clips: int
    answers: int
    loss: float
    gate: float


@dataclass(frozen=True)
class _Example:
    query: Tensor  # [T, _SPOTS, C_q]
    times: Tensor
    side: Tokens
    answers: Counter[str]
    sight: Tensor  # [_SPOTS, D], visual tokens of the middle frame
    size: float  # RMS of the clip's visual tokens


def align(
    base: Base,
    fusion: Fusion,
    channel: str,
    groups: Sequence[Sequence[Record]],
    features: Features,
    *,
    name: str | None = None,
    families: Sequence[str] = (),
    steps: int,
    share: float,
    seed: int,
) -> AlignReport:
    """Teach a fresh fusion the words of the answers, in place.

    Args:
        base: The frozen base; only its word embeddings are read.
        fusion: The fusion to start; it must have an output norm.
        channel: Its channel. Records whose `meta["channel"]` is the channel teach; all of them where
            none says so.
        groups: Records by clip.
        features: Cached tokens of the clips.
        name: Under which the features keep the channel's tokens; the channel's own name when not
            given.
        families: Only records of these families (`meta["family"]`) teach, where one clip has
            answers that contradict each other unless the question is known ("What is nearest?",
            "What is farthest?"); all that need the channel when empty.
        steps: Optimiser steps of 32 clips each.
        share: RMS of the residual afterwards, as a share of the RMS of the visual tokens.
        seed: Of the order of the clips and of dropout.

    Raises:
        ConfigError: If the fusion has no output norm, or no clip has the channel and an answer.
    """
    if fusion.norm is None:
        raise ConfigError(
            "an aligned start opens the output norm, which fusion.output_norm=false removed; set "
            "align_steps to 0"
        )
    teaching = _teaching(groups, channel, families)
    examples = _examples(
        teaching, features, name or channel, projected=fusion.config.query == "projected"
    )
    if not examples:
        among = f" to a question of the families {', '.join(families)}" if families else ""
        raise ConfigError(
            f"no clip has the channel '{channel}' and an answer{among} to align with; set "
            "align_steps to 0"
        )
    words = sorted({answer for example in examples for answer in example.answers})
    size = sum(example.size for example in examples) / len(examples)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        losses = _fit(
            fusion,
            examples,
            words,
            _directions(base, words),
            _busy(examples).to(fusion.norm.weight.device),
            steps,
        )
    with torch.no_grad():
        fusion.norm.weight.fill_(share * size)
    last = losses[-max(1, steps // 10) :]
    report = AlignReport(len(examples), len(words), sum(last) / len(last), share * size)
    log.info(
        "aligned start: %d clips, %d answers, loss %.3f", report.clips, report.answers, report.loss
    )
    return report


def _teaching(
    groups: Sequence[Sequence[Record]], channel: str, families: Sequence[str]
) -> list[list[Record]]:
    """The records of each clip whose answers the fusion learns."""
    told = any(record.meta.get("channel") == channel for group in groups for record in group)

    def teaches(record: Record) -> bool:
        return (not told or record.meta.get("channel") == channel) and (
            not families or record.meta.get("family") in families
        )

    return [[record for record in group if teaches(record)] for group in groups]


def _examples(
    groups: Sequence[Sequence[Record]], features: Features, name: str, *, projected: bool
) -> list[_Example]:
    """What each clip offers, with a few query places of each frame, so that thousands of clips fit into memory."""
    examples: list[_Example] = []
    for group in groups:
        answers = Counter(turn.answer for record in group for turn in record.turns if turn.answer)
        if not answers or len(examples) == _MOST_CLIPS:
            continue
        clip = features[group[0]]
        side = clip.channels.get(name)
        if side is None or side.steps == 0:
            continue
        grid = clip.visual.grid()
        query = grid if projected or clip.visual.query is None else clip.visual.query
        spots = torch.linspace(0, query.shape[1] - 1, min(_SPOTS, query.shape[1])).long()
        size = float(grid.float().square().mean().sqrt())
        sight = grid[len(grid) // 2, spots].float()
        examples.append(
            _Example(query[:, spots].float(), clip.clip.times, side, answers, sight, size)
        )
    return examples


def _directions(base: Base, words: Sequence[str]) -> Tensor:
    """Unit vectors `[answers, D]`: the mean embedding of an answer's tokens, relative to the mean of all answers."""
    table = base.model.get_input_embeddings().weight.detach()
    lead = base.family.style.answer
    ids = [base.tokenizer(lead + word, add_special_tokens=False)["input_ids"] for word in words]
    means = torch.stack(
        [table[torch.tensor(row, device=table.device)].float().mean(0) for row in ids]
    )
    return F.normalize(means - means.mean(0) * (len(words) > 1), dim=-1)


def _busy(examples: Sequence[_Example]) -> Tensor:
    """`[D, D]` covariance of visual tokens, scaled so that a unit vector in a random direction has an energy of 1."""
    covariance = torch.cat([example.sight for example in examples]).T.cov(correction=0)
    return covariance / covariance.diagonal().mean()


def _fit(
    fusion: Fusion,
    examples: Sequence[_Example],
    words: Sequence[str],
    directions: Tensor,
    busy: Tensor,
    steps: int,
) -> list[float]:
    device = directions.device
    norm = fusion.norm
    assert norm is not None  # checked by `align`
    number = {word: index for index, word in enumerate(words)}
    bias = torch.zeros(len(words), device=device, requires_grad=True)
    gate = {id(parameter) for parameter in norm.parameters()}
    inner = [p for p in fusion.parameters() if p.requires_grad and id(p) not in gate]
    optimizer = torch.optim.AdamW(
        [{"params": inner, "lr": _RATE}, {"params": [bias], "lr": _BIAS_RATE}], weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.1 * steps), 1 - step / steps)
    )
    with torch.no_grad():
        norm.weight.fill_(1.0)
    fusion.train()
    losses = []
    for _ in range(steps):
        batch = [examples[index] for index in torch.randint(len(examples), (_BATCH,)).tolist()]
        targets = torch.zeros(len(batch), len(words), device=device)
        for row, example in enumerate(batch):
            for answer, count in example.answers.items():
                targets[row, number[answer]] = count
        heard = F.normalize(_means(fusion, batch, device), dim=-1)
        logits = heard @ directions.T * _SHARPNESS + bias
        loss = (
            -(targets * logits.log_softmax(-1)).sum() / targets.sum()
            + _QUIET * ((heard @ busy) * heard).sum(-1).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


def _means(fusion: Fusion, batch: Sequence[_Example], device: torch.device) -> Tensor:
    """Mean residual of each clip `[B, D]`, from one query place a frame."""
    query = [e.query[:, torch.randint(e.query.shape[1], (1,))].to(device) for e in batch]
    side = [e.side.values.to(device) for e in batch]
    residuals = fusion(query, side, [e.times for e in batch], [e.side.times for e in batch])
    return torch.stack([residual.mean((0, 1)) for residual in residuals])
