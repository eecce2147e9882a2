"""The aligned start: the fusion learns the language model's words before it must use them.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pave.bases.base import Base
from pave.data import Features, Record, clip_key
from pave.errors import ConfigError
from pave.fusion import Fusion, FusionSettings
from pave.seeds import seeded
from pave.tokens import Tokens

log = logging.getLogger(__name__)

_BATCH = 32  # clips of a step
_RATE = 1e-3
_BIAS_RATE = 1e-2  # faster, so that the fusion need not learn which answers are frequent
_SHARPNESS = 20.0  # a cosine of 1 stands for a logit of 20
_QUIET = 1.0  # weight of the residual's energy in the picture's directions; 1 in random ones
_SPOTS = 4  # places of a frame that are kept as queries; one of them is drawn in each step
_MOST_SPOTS = 16_000  # of all clips: more are not held in memory


@dataclass(frozen=True)
class AlignSettings:
    """What an aligned start is asked to do.

    Attributes:
        channel: The fusion's channel. Records whose `meta["channel"]` is it teach; all of them
            where none says so.
        steps: Optimiser steps of 32 clips each.
        share: RMS of the residual afterwards, as a share of the RMS of the visual tokens.
        seed: Of the order of the clips and of dropout.
        name: Under which the features keep the channel's tokens; the channel's own name when not
            given.
        families: Only records of these families (`meta["family"]`) teach, where one clip has
            answers that contradict each other unless the question is known ("What is nearest?",
            "What is farthest?"); all that need the channel when empty.
    """

    channel: str
    steps: int
    share: float
    seed: int
    name: str | None = None
    families: Sequence[str] = ()


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
    clip: str  # its key: of a mixture, several files may be about one
    query: Tensor  # [T, spots, C_q]
    times: Tensor  # [T], seconds of the frames
    side: Tokens
    answers: Counter[str]  # answer -> how many questions of the clip have it
    sight: Tensor  # [spots, D], visual tokens of the middle frame
    size: float  # RMS of the clip's visual tokens


def align(
    base: Base,
    fusion: Fusion,
    groups: Sequence[Sequence[Record]],
    features: Features,
    settings: AlignSettings,
) -> AlignReport:
    """Teach a fresh fusion the words of the answers, in place.

    Args:
        base: The frozen base; only its word embeddings are read.
        fusion: The fusion to start; it must have an output norm.
        groups: Records by clip.
        features: Cached tokens of the clips.
        settings: Who teaches, how long, and how loud the residual is to become.

    Raises:
        ConfigError: If the fusion has no output norm, or no clip has the channel and an answer.
    """
    norm = norm_of(fusion)
    name = settings.name or settings.channel
    examples = _examples(_teaching(groups, settings), features, name, fusion.config)
    if not examples:
        among = ""
        if settings.families:
            among = f" to a question of the families {', '.join(settings.families)}"
        raise ConfigError(
            f"no clip has the channel '{settings.channel}' and an answer{among} to align with; set "
            "align_steps to 0"
        )
    classes = _classes(base, examples)
    # Its own random numbers: what comes after does not depend on whether there was a start.
    with seeded(settings.seed), torch.enable_grad():
        losses = _fit(fusion, norm, examples, classes, settings.steps)
    # The norm brings its input to an RMS of 1, so its weight is the RMS of the residual.
    size = sum(example.size for example in examples) / len(examples)
    with torch.no_grad():
        norm.weight.fill_(settings.share * size)
    last = losses[-max(1, settings.steps // 10) :]
    report = AlignReport(
        clips=len({example.clip for example in examples}),
        answers=len(classes.words),
        loss=sum(last) / len(last),
        gate=settings.share * size,
    )
    log.info(
        "aligned start: %d clips, %d answers, loss %.3f", report.clips, report.answers, report.loss
    )
    return report


def norm_of(fusion: Fusion) -> nn.LayerNorm:
    """The output norm, whose weight is the gate that an aligned start opens.

    Raises:
        ConfigError: If the fusion has none.
    """
    if fusion.norm is None:
        raise ConfigError(
            "an aligned start opens the output norm, but fusion.output_norm=false removes it; "
            "set align_steps to 0"
        )
    return fusion.norm


def rise_and_fall(steps: int) -> Callable[[int], float]:
    """Learning rates up in the first tenth of the steps, and straight down to zero.

    Example:
        >>> factor = rise_and_fall(20)
        >>> [factor(step) for step in (0, 1, 10)]
        [0.5, 0.95, 0.5]
    """
    return lambda step: min((step + 1) / (0.1 * steps), 1 - step / steps)


def descend(
    optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int
) -> list[float]:
    """Take the steps of an aligned start; the loss before each of them.

    Args:
        optimizer: Of what is trained; its rates rise and fall.
        loss: Of examples that it draws.
        steps: How many.
    """
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rise_and_fall(steps))
    losses = []
    for _ in range(steps):
        found = loss()
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(found.detach()))
    return losses


def _teaching(
    groups: Sequence[Sequence[Record]], settings: AlignSettings
) -> Iterator[list[Record]]:
    """The records of each clip whose answers the fusion learns."""
    channel, families = settings.channel, settings.families
    told = any(record.meta.get("channel") == channel for group in groups for record in group)
    for group in groups:
        teaching = []
        for record in group:
            of_channel = not told or record.meta.get("channel") == channel
            of_family = not families or record.meta.get("family") in families
            if of_channel and of_family:
                teaching.append(record)
        yield teaching


def _examples(
    groups: Iterable[Sequence[Record]], features: Features, name: str, config: FusionSettings
) -> list[_Example]:
    """What each clip offers.

    A few query places of each frame are kept, so that thousands of clips fit into memory. A fusion
    that knows places needs the whole frame, of fewer clips: a few would stand elsewhere for it.
    """
    examples: list[_Example] = []
    held = 0  # spots
    for group in groups:
        answers = Counter(turn.answer for record in group for turn in record.turns if turn.answer)
        if not answers or held >= _MOST_SPOTS:
            continue
        clip = features[group[0]]
        side = clip.channels.get(name)
        if side is None or side.steps == 0:
            continue
        grid = clip.visual.grid()  # [T, S, D]
        query = clip.visual.query  # [T, S, C_q]
        if config.query == "projected" or query is None:
            query = grid
        # Evenly over the frame, corners included.
        places = query.shape[1]
        count = places if config.knows_places else min(_SPOTS, places)
        spots = torch.linspace(0, places - 1, count).long()
        held += count
        example = _Example(
            clip=clip_key(group[0]),
            query=query[:, spots].float(),
            times=clip.clip.times,
            side=side,
            answers=answers,
            sight=grid[len(grid) // 2, spots].float(),
            size=float(grid.float().square().mean().sqrt()),
        )
        examples.append(example)
    return examples


@dataclass(frozen=True)
class _Classes:
    words: list[str]  # the distinct answers, sorted
    directions: Tensor  # [answers, D], a unit vector each
    busy: Tensor  # [D, D], where the picture speaks itself


def _classes(base: Base, examples: Sequence[_Example]) -> _Classes:
    """The answers to tell apart, and where in the embeddings the residual should point."""
    found: set[str] = set()
    for example in examples:
        found.update(example.answers)
    words = sorted(found)
    directions = _directions(base, words)
    return _Classes(words, directions, _busy(examples).to(directions.device))


def _directions(base: Base, words: Sequence[str]) -> Tensor:
    """Unit vectors `[answers, D]` of the answers.

    Each is the mean embedding of an answer's tokens, relative to the mean of all answers.
    """
    table = base.model.get_input_embeddings().weight.detach()  # [vocabulary, D]
    lead = base.style.answer  # a token differs with and without a space before it
    means = []
    for word in words:
        ids = base.tokenizer(lead + word, add_special_tokens=False)["input_ids"]
        numbers = torch.tensor(ids, device=table.device)
        tokens = table[numbers].float()  # [n, D]
        means.append(tokens.mean(0))
    stacked = torch.stack(means)
    if len(words) > 1:  # a single answer would be its own mean, and point nowhere
        stacked = stacked - stacked.mean(0)
    return F.normalize(stacked, dim=-1)


def _busy(examples: Sequence[_Example]) -> Tensor:
    """`[D, D]` covariance of visual tokens: a random unit vector has an energy of 1 in it."""
    sights = torch.cat([example.sight for example in examples])  # [clips * spots, D]
    covariance = sights.T.cov(correction=0)
    return covariance / covariance.diagonal().mean()


def _fit(
    fusion: Fusion,
    norm: nn.LayerNorm,
    examples: Sequence[_Example],
    classes: _Classes,
    steps: int,
) -> list[float]:
    """Train all but the output norm's gate; the losses of the steps."""
    device = classes.directions.device
    # What no clip decides ("yes" more often than "no") goes into the bias, which is thrown away.
    bias = torch.zeros(len(classes.words), device=device, requires_grad=True)
    gate = {id(parameter) for parameter in norm.parameters()}
    inner = [p for p in fusion.parameters() if p.requires_grad and id(p) not in gate]
    groups = [
        {"params": inner, "lr": _RATE},
        {"params": [bias], "lr": _BIAS_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    with torch.no_grad():
        norm.weight.fill_(1.0)  # the zero gate would let no gradient through
    fusion.train()

    def loss() -> Tensor:
        drawn = torch.randint(len(examples), (_BATCH,)).tolist()
        return _loss(fusion, [examples[index] for index in drawn], classes, bias)

    return descend(optimizer, loss, steps)


def _loss(fusion: Fusion, batch: Sequence[_Example], classes: _Classes, bias: Tensor) -> Tensor:
    """Cross entropy of the answers, and the residual's energy where the picture speaks."""
    device = bias.device
    number = {word: index for index, word in enumerate(classes.words)}
    targets = torch.zeros(len(batch), len(classes.words), device=device)  # [B, answers], counts
    for row, example in enumerate(batch):
        for answer, count in example.answers.items():
            targets[row, number[answer]] = count
    residuals = F.normalize(_means(fusion, batch, device), dim=-1)  # [B, D]
    logits = residuals @ classes.directions.T * _SHARPNESS + bias  # [B, answers]
    surprise = -(targets * logits.log_softmax(-1)).sum() / targets.sum()
    energy = ((residuals @ classes.busy) * residuals).sum(-1).mean()
    return surprise + _QUIET * energy


def _means(fusion: Fusion, batch: Sequence[_Example], device: torch.device) -> Tensor:
    """Mean residual of each clip `[B, D]`, from one query place a frame, or from all."""
    query, side, query_times, side_times = [], [], [], []
    place = next(fusion.parameters()).device  # a base on several devices has its head elsewhere
    for example in batch:
        seen = example.query  # [T, spots, C_q]
        if not fusion.config.knows_places:
            spot = torch.randint(seen.shape[1], (1,))
            seen = seen[:, spot]
        query.append(seen.to(place))
        side.append(example.side.values.to(place))  # [steps, S_k, C]
        query_times.append(example.times)
        side_times.append(example.side.times)
    residuals = fusion(query, side, query_times, side_times)  # [T, 1 or S, D] a clip
    return torch.stack([residual.mean((0, 1)) for residual in residuals]).to(device)
