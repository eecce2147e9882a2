"""Ten questions a clip: one prefill and batched answers, against one `generate` a question.

Both sides have the visual and side tokens at hand, answer greedily, and must say the same, which is
asserted. The peer is what an evaluation loop does with a Hugging Face model: one prompt, one
`generate`, the next prompt.
"""

from __future__ import annotations

from functools import partial

from harness import Row, in_turn
from videos import Bench, bench

from pave.answer import Questions, Sampling, generate
from pave.data import ClipFeatures, Record
from pave.model import PatchedModel

QUESTIONS, TOKENS = 10, 8


def asked(made: Bench, features: ClipFeatures, group: list[Record]) -> Questions:
    """One clip's questions as ids."""
    prompt = made.base.encode_prompt(
        features.clip.text, [(record.turns[0].question, None) for record in group]
    )
    return Questions(features, prompt.prefix, [question for question, _ in prompt.turns])


def one_by_one(model: PatchedModel, clips: list[Questions]) -> list[list[list[int]]]:
    """The plain loop."""
    return [[alone(model, clip, question) for question in clip.asked] for clip in clips]


def alone(model: PatchedModel, clip: Questions, question: list[int]) -> list[int]:
    """One question through `generate`."""
    base = model.base
    inputs = base.batch([clip.prefix + question], [clip.features.clip], pad="left")
    side, times = [clip.features.channels], [clip.features.clip.times]
    ids = model.generate(
        side,
        times,
        [clip.features.visual],
        **inputs,
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=base.stop_ids,
        pad_token_id=base.stop_ids[0],
    )
    said: list[int] = ids[0, inputs["input_ids"].shape[1] :].tolist()
    return said[
        : next((place for place, token in enumerate(said) if token in base.stop_ids), len(said))
    ]


def measure() -> list[Row]:
    """The patch and the bare base."""
    rows = []
    with bench(3, QUESTIONS) as made:
        model = made.patched()
        for frames, groups, repeats in ((4, made.groups, 3), (32, made.groups[:1], 1)):
            features = made.features(frames)
            clips = [asked(made, features[group[0]], group) for group in groups]
            for name, weights in (("patch", {"sound": 1.0}), ("base", {})):
                model.set_patches(weights)
                assert generate(model, clips, Sampling(TOKENS)) == one_by_one(model, clips)
                run = partial(generate, model, clips, Sampling(TOKENS))
                peer = partial(one_by_one, model, clips)
                pair = in_turn(run, peer, repeats, warm=False)  # warm: both have just run
                note = f"same answers; prefixes of {len(clips[0].prefix)} tokens"
                figure = f"evaluation, {QUESTIONS} questions a clip, {frames} frames, {name}"
                rows.append(
                    Row.gain(figure, pair, f"CPU s for {len(clips) * QUESTIONS} answers", 4.0, note)
                )
    return rows
