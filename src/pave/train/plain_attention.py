"""`PlainAttention`: what frozen layers see of plain videos, and how far other tokens are from it.

A layer of the language model turns the tokens before a place into keys and values, and the place's
query mixes the values. Here the mean key and the mean value that plain videos have at each place
are kept, layer by layer. Tokens of another signal are far from them where the same queries get
something else from the signal's own keys and values than from the kept ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pave import hf_compat
from pave.bases.head import head_at
from pave.bases.visual import Clip, Visual
from pave.model import PatchedModel

Attend: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Keys and values `[1, H, L, d]` -> a layer's output `[1, L, heads, d]` for its own queries."""

Listen: TypeAlias = Callable[[Tensor, Tensor, Tensor, Attend], None]
"""Hears of each layer its keys and values, its output, and how it attends."""

_SMALL = 1e-12


@dataclass
class _Layer:
    """Sums over plain videos; a place that only some of them reach has fewer."""

    keys: Tensor  # [H, places, d]
    values: Tensor  # [H, places, d]
    counts: Tensor  # [places]

    def add(self, keys: Tensor, values: Tensor) -> None:
        """Add one video's `[H, L, d]`."""
        length = keys.shape[1]
        self.make_room(length)
        self.keys[:, :length] += keys.float()
        self.values[:, :length] += values.float()
        self.counts[:length] += 1

    def make_room(self, length: int) -> None:
        """Have at least so many places; new ones hold zeros."""
        present = len(self.counts)
        more = max(0, length - present)
        # `F.pad` counts axes from the last one, two ends each.
        at_end = (0, more)
        rows = (0, 0, *at_end)
        self.keys = F.pad(self.keys, rows)
        self.values = F.pad(self.values, rows)
        self.counts = F.pad(self.counts, at_end)

    def plain(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean keys and values of plain videos in the place of a clip's own.

        Args:
            keys: `[1, H, L, d]` of the clip.
            values: The same.

        Returns:
            Both again; where no plain video reaches, they are the clip's own.
        """
        plain_keys = self._replaced(keys, self.keys)
        plain_values = self._replaced(values, self.values)
        return plain_keys, plain_values

    def _replaced(self, own: Tensor, sums: Tensor) -> Tensor:
        """`own` `[1, H, L, d]` with the means of plain videos in the places that they reach."""
        length = own.shape[2]
        reached = len(self.counts)
        known = min(length, reached)
        counts = self.counts[:known, None]  # [known, 1]
        means = sums[:, :known] / counts  # [H, known, d]
        of_clip = means[None]  # [1, H, known, d]
        rest = own[:, :, known:]  # [1, H, L - known, d]
        return torch.cat([of_clip.to(own), rest], dim=2)


class PlainAttention:
    """Mean keys and values of plain videos in each layer of a base.

    Layers without attention (Qwen3.5's linear ones) are passed over.

    Args:
        patched: The base, with its patches switched off.

    Example:
        >>> plain = PlainAttention(patched)  # doctest: +SKIP
        >>> plain.learn(clip, visual)  # doctest: +SKIP
        >>> plain.gap(clip, visual)  # doctest: +SKIP
        tensor(0.31)
    """

    def __init__(self, patched: PatchedModel) -> None:
        self._patched = patched
        self._layers: list[_Layer] = []

    @property
    def layers(self) -> int:
        """How many layers have attention."""
        return len(self._layers)

    @torch.no_grad()
    def learn(self, clip: Clip, visual: Visual) -> None:
        """Take one plain video into the means."""
        number = 0  # of the layer

        def take(keys: Tensor, values: Tensor, output: Tensor, attend: Attend) -> None:
            nonlocal number
            if number == len(self._layers):
                new = _no_video(keys, values)
                self._layers.append(new)
            layer = self._layers[number]
            layer.add(keys[0], values[0])
            number += 1

        self._read(clip, visual, take)

    def gap(self, clip: Clip, visual: Visual) -> Tensor:
        """How far these tokens are from plain videos, as the layers attend.

        Args:
            clip: The video at whose places the tokens stand.
            visual: The tokens.

        Returns:
            The mean over layers of mean |own - plain| / mean |plain| at the video's places; 0
            where no layer has attention.
        """
        gaps: list[Tensor] = []  # of the layers so far
        prefix = self._prefix(clip)
        shown = torch.tensor(prefix) == self._patched.base.placeholder_id  # [L]

        def compare(keys: Tensor, values: Tensor, output: Tensor, attend: Attend) -> None:
            layer = self._layers[len(gaps)]
            mean_keys, mean_values = layer.plain(keys, values)
            plain = attend(mean_keys, mean_values)  # [1, L, heads, d]
            places = shown.to(output.device)
            own_shown = output[:, places]  # [1, shown, heads, d]
            plain_shown = plain[:, places]
            gap = _relative(own_shown, plain_shown)
            gaps.append(gap)

        self._read(clip, visual, compare)
        device = visual.tokens.device
        total = torch.zeros((), device=device)
        for gap in gaps:
            # Layers may be on several devices.
            total = total + gap.to(device)
        count = max(1, len(gaps))
        return total / count

    def _prefix(self, clip: Clip) -> list[int]:
        """Ids of a prompt up to the end of its clip."""
        prompt = self._patched.base.encode_prompt(clip.text, [])
        return prompt.prefix

    def _read(self, clip: Clip, visual: Visual, listen: Listen) -> None:
        """Let the language model read a clip, and listen to its layers in their order."""
        base = self._patched.base
        prefix = self._prefix(clip)
        inputs = base.batch([prefix], [clip], pixels=False)
        # The head is not needed; one place is the least that it can be asked for.
        ids = inputs["input_ids"]  # [1, L]
        keep = torch.zeros_like(ids, dtype=torch.bool)
        keep[:, -1] = True
        config = base.config.get_text_config()
        with (
            hf_compat.attention_told(config, listen),
            head_at(base.model, keep),
        ):
            self._patched(**inputs, visuals=[visual], use_cache=False)


def _no_video(keys: Tensor, values: Tensor) -> _Layer:
    """A layer that has seen no video, in the shape of `[1, H, L, d]`."""
    counts = torch.zeros(0, device=keys.device)
    return _Layer(
        keys=keys[0, :, :0].float(),
        values=values[0, :, :0].float(),
        counts=counts,
    )


def _relative(own: Tensor, plain: Tensor) -> Tensor:
    """Mean |own - plain| / mean |plain|, both means in fp32."""
    wanted = plain.float()
    apart = own.float() - wanted
    distance = apart.abs().mean()
    size = wanted.detach().abs().mean()
    return distance / size.clamp_min(_SMALL)
