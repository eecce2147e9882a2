"""The aligned start from clips alone: nobody asks, and no answer is read.

`pave.train.align` teaches a fresh fusion the words of the answers, so it needs questions. This one
needs clips that have the channel, and nothing else. The idea is the first stage of V-LynX (2026,
arXiv 2606.00508): a language model that reads pictures will read a new signal more easily once the
signal's tokens look to it like those of pictures. Two things of plain videos are the target.

**Statistics.** Mean and variance of the visual tokens, one of each for every dimension.

**Attention.** In each frozen layer, the mean key and value that plain videos have at each place.
The new tokens are read at these places, and what their queries get from their own keys and values
is to be what they would get from the kept ones. See `pave.train.plain_attention`.

What had to differ: V-LynX appends the signal's tokens to those of the picture, and trains the tower
that makes them. In pave they are residuals *on* the picture's tokens, and made from them.

- Added, a residual is best hidden by being zero. So it is read alone, in the picture's place: the
  language model sees `mean + size * residual`. Its own mean is to be zero, hence the mean of what
  it is added to stays as it is.
- A residual that copies the picture would have all the statistics, and say nothing of the signal.
  So in every step one clip lends its picture to the signals of 32 others, and the variance is that
  between residuals which share a picture. Only the signal can make it.
- Both parts are relative (to the spread of visual tokens, to the size of what attention gives), so
  that no weight depends on the base. V-LynX weighs plain norms 1 and 0.01.

A step costs two readings of a prefix without questions, forward and backward: less than a step of
training on two clips. The gate is opened afterwards, to a set share of the visual tokens' size.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from pave.data import ClipFeatures, Features, Record
from pave.errors import ConfigError
from pave.fusion import Fusion
from pave.model import PatchedModel
from pave.model.seam import add_to_grid
from pave.seeds import seeded
from pave.texts import counted
from pave.tokens import Tokens
from pave.train.align import AlignSettings, descend, norm_of
from pave.train.plain_attention import PlainAttention

log = logging.getLogger(__name__)

_SIGNALS = 32  # that share a picture in a step
_READ = 2  # of them are read by the language model
_PLAIN = 200  # videos of which the target is made; V-LynX found 563 as good as 117,000
_MOST_CLIPS = 4000  # signals of more are not held in memory
_RATE = 1e-3
_NORM_RATE = 1e-2  # two vectors that hold the spread and the mean


@dataclass(frozen=True)
class ClipsReport:
    """What the aligned start from clips did.

    Attributes:
        clips: Clips it learnt from.
        layers: Attention layers that were compared.
        before: Distance from plain videos, the mean over the first tenth of the steps.
        after: The same over the last tenth.
    """

    clips: int
    layers: int
    before: float
    after: float


@dataclass(frozen=True)
class Spread:
    """How visual tokens of plain videos are distributed.

    Attributes:
        mean: `[D]`.
        variance: `[D]`.
        size: RMS of a clip's tokens, the mean over clips.
    """

    mean: Tensor
    variance: Tensor
    size: float

    @property
    def scale(self) -> Tensor:
        """Root of the mean variance: a residual of RMS 1 times it is as wide as visual tokens."""
        return self.variance.mean().sqrt()

    def gap(self, residuals: Tensor) -> Tensor:
        """How far residuals that share a picture are from visual tokens around their mean.

        Args:
            residuals: `[signals, places, D]`, in units of `scale`.

        Returns:
            RMS over the dimensions of the mean, plus that of the difference of the variances.
        """
        wanted = self.variance / self.scale.square()  # [D], 1 on average
        mean = residuals.mean((0, 1))
        # Between signals, place by place: what the picture does there is in all of them.
        apart = residuals.var(0)  # [places, D]
        variance = apart.mean(0)  # [D]
        return _rms(mean) + _rms(variance - wanted)


@dataclass(frozen=True)
class _Heard:
    """A clip that has the channel."""

    record: Record
    side: Tokens


def align_to_clips(
    patched: PatchedModel,
    fusion: Fusion,
    records: Sequence[Record],
    features: Features,
    settings: AlignSettings,
) -> ClipsReport:
    """Give what a fresh fusion adds the statistics and the attention of plain videos, in place.

    Args:
        patched: The model that the fusion is on; it reads as its plain base.
        fusion: The fusion to start; it must have an output norm.
        records: One of each clip; their questions are not read.
        features: Cached tokens of the clips.
        settings: Channel, steps, and how loud the residual is to become.

    Raises:
        ConfigError: If the fusion has no output norm, or fewer than two clips have the channel.
    """
    norm = norm_of(fusion)
    name = settings.name or settings.channel
    heard = _heard(records, features, name)
    if len(heard) < 2:
        raise ConfigError(
            f"align_clips: {counted(len(heard), 'clip')} with the channel '{settings.channel}', "
            "and two are the least that can differ; give more, or leave align_clips out"
        )
    with patched.disable_patches(), seeded(settings.seed), torch.enable_grad():
        plain = _evenly(heard, _PLAIN)
        spread, attention = _plain(patched, plain, features)
        lesson = _Lesson(fusion, heard, features, spread, attention)
        losses = _fit(lesson, norm, settings.steps)
    _open(lesson, norm, plain, settings.share)
    tenth = max(1, settings.steps // 10)
    report = ClipsReport(
        clips=len(heard),
        layers=attention.layers,
        before=fmean(losses[:tenth]),
        after=fmean(losses[-tenth:]),
    )
    log.info(
        "aligned start from %d clips without their questions: distance from plain videos %.3f, "
        "at first %.3f",
        report.clips,
        report.after,
        report.before,
    )
    return report


def _heard(records: Sequence[Record], features: Features, name: str) -> list[_Heard]:
    """The clips that have the channel; their pictures stay in the cache."""
    found: list[_Heard] = []
    for record in records:
        if len(found) == _MOST_CLIPS:
            break
        side = features[record].channels.get(name)
        if side is not None and side.steps:
            found.append(_Heard(record, side))
    return found


def _evenly(heard: Sequence[_Heard], most: int) -> list[_Heard]:
    """At most so many of the clips, evenly over all."""
    count = min(most, len(heard))
    return [heard[number * len(heard) // count] for number in range(count)]


@torch.no_grad()
def _plain(
    patched: PatchedModel, heard: Sequence[_Heard], features: Features
) -> tuple[Spread, PlainAttention]:
    """What plain videos are like: their visual tokens, and what the layers see in them."""
    base = patched.base
    attention = PlainAttention(patched)
    count = 0
    total = torch.zeros(base.hidden_dim, dtype=torch.float64)
    squares = torch.zeros_like(total)
    sizes = []
    for one in heard:
        clip = features[one.record]
        visual = clip.visual.to(base.device)
        attention.learn(clip.clip, visual)
        grid = visual.grid().flatten(0, 1)  # [T * S, D]
        tokens = grid.cpu().double()  # sums of millions of tokens
        count += len(tokens)
        total += tokens.sum(0)
        squares += tokens.square().sum(0)
        sizes.append(float(_rms(tokens)))
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)  # rounding may fall below
    spread = Spread(
        mean=mean.float().to(base.device),
        variance=variance.float().to(base.device),
        size=fmean(sizes),
    )
    return spread, attention


@dataclass(frozen=True)
class _Lesson:
    """What a step needs."""

    fusion: Fusion
    heard: Sequence[_Heard]
    features: Features
    spread: Spread
    attention: PlainAttention

    def distance(self) -> Tensor:
        """Of one drawn picture with drawn signals, from plain videos."""
        count = len(self.heard)
        lender = self.heard[int(torch.randint(count, ()))]
        clip = self.features[lender.record]
        query = self.query(clip)  # [T, S, C_q]
        drawn = torch.randperm(count)[:_SIGNALS]
        sides = [self.heard[number].side for number in drawn.tolist()]
        seen = query
        if not self.fusion.config.knows_places:
            spot = torch.randint(query.shape[1], (1,))
            seen = query[:, spot]
        residuals = self.residuals(
            seen,
            clip,
            sides,
        )  # [T, 1 or S, D] each
        together = torch.stack(residuals)
        together = together.flatten(1, 2)  # [signals, places, D]
        total = self.spread.gap(together.to(self.spread.mean))
        for side in sides[:_READ]:
            gap = self._read(clip, query, side)
            total = total + gap.to(total) / _READ
        return total

    def query(self, clip: ClipFeatures) -> Tensor:
        """What the fusion reads of a picture, `[T, S, C_q]`."""
        visual = clip.visual
        if visual.query is None or self.fusion.config.query == "projected":
            return visual.grid()
        return visual.query

    def residuals(self, query: Tensor, clip: ClipFeatures, sides: Sequence[Tokens]) -> list[Tensor]:
        """Each signal's residual on one picture, `[T, places, D]`.

        Args:
            query: `[T, places, C_q]` of the picture.
            clip: Whose picture it is.
            sides: The signals.
        """
        place = next(self.fusion.parameters()).device
        count = len(sides)
        pictures = [query.to(place)] * count
        times = [clip.clip.times] * count
        values = []
        moments = []
        for side in sides:
            values.append(side.values.to(place))
            moments.append(side.times)
        found: list[Tensor] = self.fusion(
            pictures,
            values,
            times,
            moments,
        )
        return found

    def _read(self, clip: ClipFeatures, query: Tensor, side: Tokens) -> Tensor:
        """How differently from plain videos the residual is read, in the picture's place."""
        (residual,) = self.residuals(query, clip, [side])
        spread = self.spread
        wide = spread.scale * residual.to(spread.mean)
        alone = spread.mean + wide  # [T, S, D]
        visual = clip.visual.to(spread.mean.device)
        shown = visual.grid().float()
        visual = add_to_grid(visual, alone - shown)
        return self.attention.gap(clip.clip, visual)


def _fit(lesson: _Lesson, norm: nn.LayerNorm, steps: int) -> list[float]:
    """Train all of the fusion; the distances of the steps."""
    fusion = lesson.fusion
    optimizer = _optimizer(fusion, norm)
    spread = lesson.spread
    with torch.no_grad():
        # The zero gate would let no gradient through. What is normed has an RMS of 1 over its
        # dimensions; this gives each dimension the spread that it has in visual tokens.
        wanted = spread.variance.sqrt()  # [D]
        norm.weight.copy_(wanted / spread.scale)
    fusion.train()
    return descend(optimizer, lesson.distance, steps)


def _optimizer(fusion: Fusion, norm: nn.LayerNorm) -> torch.optim.AdamW:
    """AdamW on all of the fusion, faster on the output norm."""
    outer = list(norm.parameters())
    known = set(map(id, outer))
    inner = [p for p in fusion.parameters() if p.requires_grad and id(p) not in known]
    return torch.optim.AdamW(
        [
            {"params": inner, "lr": _RATE, "weight_decay": 0.01},
            {"params": outer, "lr": _NORM_RATE, "weight_decay": 0.0},
        ]
    )


@torch.no_grad()
def _open(lesson: _Lesson, norm: nn.LayerNorm, heard: Sequence[_Heard], share: float) -> None:
    """Scale the output, so that residuals on the clips' own pictures have the wanted size."""
    fusion = lesson.fusion
    fusion.eval()
    powers = []
    for one in heard:
        clip = lesson.features[one.record]
        query = lesson.query(clip)
        (residual,) = lesson.residuals(query, clip, [one.side])
        power = residual.square().mean()
        powers.append(float(power))
    fusion.train()
    size = math.sqrt(fmean(powers))
    wanted = share * lesson.spread.size
    factor = wanted / size
    for parameter in norm.parameters():
        parameter.mul_(factor)


def _rms(tensor: Tensor) -> Tensor:
    return tensor.square().mean().sqrt()
