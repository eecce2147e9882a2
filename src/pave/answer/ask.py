"""Asking about a video: decode, encode the channels of the active patches, run the tower once, generate greedily."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pave.bases import Base
from pave.bases.head import head_at
from pave.channels import Source, describe_encoder
from pave.errors import ChannelError, ConfigError
from pave.media import Uniform, read_frames
from pave.patches.config import PatchConfig
from pave.patches.stack import topmost
from pave.tokens import Tokens

if TYPE_CHECKING:
    from pave.model.model import PatchedModel

logger = logging.getLogger(__name__)


def answer(
    model: PatchedModel,
    video: str | Path,
    questions: Sequence[str],
    channels: Mapping[str, Source | Tokens],
    frames: int | None,
    max_new_tokens: int,
) -> list[str]:
    """Greedy answers to several questions about one video; see `PatchedModel.ask`.

    Raises:
        MediaError: If the video cannot be read.
        ChannelError: If a channel is named that no patch listens to, or its tokens do not fit.
        ConfigError: If no frames or no new tokens are asked for.
    """
    base = model.base
    if max_new_tokens < 1 or (frames is not None and frames < 1):
        raise ConfigError(
            f"ask needs at least 1 frame and 1 new token, got {frames} and {max_new_tokens}"
        )
    was_training = model.training
    model.eval()
    try:
        clip = base.clip(read_frames(video, Uniform(frames or base.settings.frames)))
        side = listen(model, video, channels)
        visuals = base.visual([clip], want_query=model.seam.wants_query())
        light = base.light(clip)
        template = _template(model, side)
        answers = []
        for question in questions:
            prompt = base.encode_prompt(
                clip.text, [(template.replace("{question}", question), None)]
            )
            inputs = base.batch([prompt.ask()], [light], pad="left")
            with head_at(base.model):
                ids = model.generate(
                    [side],
                    [clip.times],
                    visuals,
                    **inputs,
                    **_greedy(base),
                    max_new_tokens=max_new_tokens,
                )
            answers.append(base.decode(ids[0, inputs["input_ids"].shape[1] :]))
    finally:
        model.train(was_training)
    return answers


def listen(
    model: PatchedModel, video: str | Path, channels: Mapping[str, Source | Tokens]
) -> dict[str, Tokens]:
    """Tokens of every active patch by the patch's name; a patch whose channel is missing is left out, with a logged note."""
    known = {
        word
        for name, config in model.configs.items()
        if config.channel
        for word in (name, config.channel)
    }
    strange = [word for word in channels if word not in known]
    if strange:
        raise ChannelError(
            f"no patch listens to '{strange[0]}'; there are: {', '.join(sorted(known)) or 'none'}"
        )
    side = {}
    for name, config in model.configs.items():
        if config.channel is None or model.weights[name] == 0:
            continue
        tokens = _tokens(model, name, config, video, channels)
        if tokens is None:
            logger.warning(
                "%s has no %s; patch '%s' is off for it and the base answers alone",
                video,
                config.channel,
                name,
            )
        else:
            side[name] = tokens
    return side


def _tokens(
    model: PatchedModel,
    name: str,
    config: PatchConfig,
    video: str | Path,
    channels: Mapping[str, Source | Tokens],
) -> Tokens | None:
    source = channels.get(name, channels.get(str(config.channel)))
    if isinstance(source, Tokens):
        return source
    encoder = model.encoder(name)
    if source is None:
        if encoder is None or describe_encoder(encoder.channel, encoder.name).reads == "own":
            return None
        return encoder.encode(video)
    if encoder is None:
        raise ChannelError(
            f"patch '{name}' takes ready-made tokens; pass "
            f"channels={{'{config.channel}': Tokens(...)}}"
        )
    return encoder.encode(source)


def _template(model: PatchedModel, side: Mapping[str, Tokens]) -> str:
    """How the question is put: as in the training of the first patch at work that no other stands on, plainly when none is."""
    working = [
        name
        for name, config in model.configs.items()
        if model.weights[name] != 0 and (config.channel is None or name in side)
    ]
    return next(
        (model.configs[name].prompt for name in topmost(model.configs, working)), "{question}"
    )


def _greedy(base: Base) -> dict[str, object]:
    """Options of a greedy search that stops at the end of an answer."""
    pad = base.tokenizer.pad_token_id
    options: dict[str, object] = dict.fromkeys(("temperature", "top_p", "top_k"))
    return {
        **options,
        "do_sample": False,
        "num_beams": 1,
        "eos_token_id": base.stop_ids,
        "pad_token_id": base.stop_ids[0] if pad is None else pad,
    }
