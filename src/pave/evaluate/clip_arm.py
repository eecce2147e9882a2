"""Arms that see the clip: the base or patches, with the clip's own channels or another clip's."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pave.answer import questions_about
from pave.answer.batches import answer_records, by_length, cut, open_turns
from pave.cache import TokenCache
from pave.channels import Encoder
from pave.data import Features, Record, group_by_clip
from pave.data.lengths import must_fit
from pave.errors import RecordError
from pave.evaluate.evaluation import Evaluation
from pave.model import PatchedModel
from pave.model.encoders import appended_of, encoders_of
from pave.texts import counted

MEASURED = 256
"""Clips whose prompts are measured: a mean needs no more of them."""


class ClipArm:
    """The base or patches, at full weight.

    Its tokens are read, or made and kept, before anything is asked. The cut into batches needs
    every clip; a share of the work reads its own part of them first, and then what the others have
    not yet read.

    Args:
        run: The evaluation.
        arm: Its name.
        share: (number of the part counted from 0, number of parts).

    Attributes:
        features: What is seen of each clip.
        notes: See `AtWork`.
    """

    def __init__(self, run: Evaluation, arm: str, share: tuple[int, int] = (0, 1)) -> None:
        self.run = run
        self.notes: list[str] = []
        names = run.patches[arm]  # none of the bare base
        self.features = features_of(run, arm, share)
        self._encoders = self.features.encoders
        with run.watch.stage("read"):
            self._asked: Sequence[Record] = run.asked
            if run.arms[arm].kind == "shuffled":
                self._asked = self._shuffled(arm)
        # At full weight, and every other arm's patches off.
        run.model.set_patches(dict.fromkeys(names, 1.0))

    def batches(self) -> list[list[Record]]:
        """Whole clips, those of like length side by side."""
        return cut(by_length(self._asked, self.features), self.run.config.batch)

    def answer(self, batch: Sequence[Record]) -> dict[str, str]:
        """Record id -> what the arm says, for one batch of whole clips."""
        return answer_records(self.run.model, self.features, batch, self.run.max_new_tokens)

    def prompt_tokens(self) -> float:
        """Mean over the questions of the first clips."""
        lengths = []
        for members in group_by_clip(self._asked)[:MEASURED]:
            dialogues = [open_turns(record) for record in members]
            put = questions_about(self.run.model, self.features[members[0]], dialogues)
            lengths += [len(put.prefix) + len(question) for question in put.asked]
        return sum(lengths) / len(lengths)

    def _shuffled(self, arm: str) -> list[Record]:
        """The questions, every clip with the channels of another one."""
        spec = self.run.arms[arm]
        if not self._encoders:
            raise RecordError(
                f"arm {arm!r}: none of {', '.join(map(str, spec.folders))} reads a channel, so "
                "there is nothing to shuffle"
            )
        asked = list(self.run.asked)
        for name, encoder in self._encoders.items():
            asked = self._exchanged(asked, arm, name, encoder.channel)
        return asked

    def _exchanged(self, asked: list[Record], arm: str, name: str, channel: str) -> list[Record]:
        """One channel of every clip replaced by another clip's, never by the same content."""
        media: dict[str, Any] = {}  # content -> where it lies
        lacking = []
        for members in group_by_clip(asked):
            first = members[0]
            # A clip may name a channel that it turns out to lack: a film without a sound track.
            if channel in first.channels and name in self.features[first].channels:
                media.setdefault(self.features.channel_key(first, name), first.channels[channel])
            else:
                lacking.append(first.id)
        if len(media) < 2:
            raise RecordError(
                f"arm {arm!r}: {counted(len(media), 'clip has', 'clips have')} the {channel} "
                "channel; shuffling takes two clips at least"
            )
        if lacking:
            some = ", ".join(lacking[:3])
            if len(lacking) > 3:
                some += ", ..."
            self.notes.append(
                f"{arm}: {counted(len(lacking), 'clip has', 'clips have')} no {channel}, so their "
                "questions are asked "
                f"without it (first questions: {some})"
            )
        other = _deranged(list(media), self.run.config.seed)
        found = []
        for record in asked:
            changed = record
            if channel in record.channels:
                key = self.features.channel_key(record, name)
                if key in other:
                    channels = {**record.channels, channel: media[other[key]]}
                    changed = record.model_copy(update={"channels": channels})
            found.append(changed)
        return found


def _deranged(keys: Sequence[str], seed: int) -> Mapping[str, str]:
    """Another key for every key: each gets its neighbour in an order that the seed draws.

    Example:
        >>> found = _deranged(["a", "b", "c"], 0)
        >>> sorted(found.values()), any(key == other for key, other in found.items())
        (['a', 'b', 'c'], False)
    """
    # Sorted first: what is drawn must not depend on the order of the records.
    order = sorted(keys)
    random.Random(seed).shuffle(order)
    return dict(zip(order, [*order[1:], order[0]], strict=True))


def features_of(run: Evaluation, arm: str, share: tuple[int, int]) -> Features:
    """What an arm sees of each clip; the token cache has all of it then, and all prompts fit.

    It makes no difference which patches are on: encoders and tower are frozen.

    Args:
        run: The evaluation.
        arm: Its name.
        share: (number of the part counted from 0, number of parts): what is read first.

    Raises:
        RecordError: If some clips cannot be used. All others have been read.
    """
    cache = TokenCache(run.config.cache_folder)
    encoders = _encoders(run.model, run.patches[arm])
    appended = appended_of(run.model, run.patches[arm])
    how_seen: dict[str, Any] = {"frames": run.config.frames, "appended": appended}
    features = Features(run.model.base, encoders, cache, **how_seen)
    reading = None
    if run.progress is not None:
        reading = partial(run.progress, "read")
    groups = group_by_clip(run.asked)
    clips = [members[0] for members in groups]
    how: dict[str, Any] = {"workers": run.config.workers, "progress": reading}
    part, parts = share
    with run.watch.stage("read"):
        if parts > 1:
            features.precompute(clips[part::parts], **how)
        features.precompute(clips, **how)
        # What is too long for the base's context is found now, too.
        for members in groups:
            clip = features.clip(members[0])
            for record in members:
                must_fit(run.model.base, clip, record, open_turns(record))
    return features


def _encoders(model: PatchedModel, names: Sequence[str]) -> dict[str, Encoder]:
    """The encoders of the arm's patches, by the name under which their tokens are looked for."""
    encoders: dict[str, Encoder] = {}
    for name in names:
        encoders |= encoders_of(model, name)  # a LoRA alone has none
    return encoders
