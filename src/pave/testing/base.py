"""`check_base`: a self-test of the very base that somebody holds, as rows of a table.

`check_family` holds a family to its promises on a tiny base. This looks at a real one, whatever was
loaded: its chat format, token counts and context, and whether a patch on it is exact, answers and
trains. No row knows what a right answer is; each compares two ways to the same numbers.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import torch
from torch import Tensor

from pave.answer import Questions, Sampling, generate
from pave.answer.generation import MACHINERY
from pave.bases import Base, Clip, Visual, why_no_shared_prefix
from pave.data import ClipFeatures, pack
from pave.media import Frames
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.tokens import Tokens
from pave.train.batch import TrainBatch
from pave.train.batches import Sample
from pave.train.collate import Collator
from pave.train.objective import AnswerModel

FRAMES, HEIGHT, WIDTH = 4, 360, 640
QUESTIONS = ("What moves in the video?", "Which colour is it?")
ANSWER = "a square"
CHANNEL = "probe"
SIDE_DIM = 16  # C of the side tokens; any width will do, and so will any of the fusion
HIDDEN = 64
NEW_TOKENS = 8
# Two ways to one number may round differently, by so much of the largest logit.
ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.01}


@dataclass(frozen=True)
class Check:
    """One row of the self-test.

    Attributes:
        name: What was looked at.
        passed: Whether it holds; None where it could not be had here.
        found: What was found, or what is wrong, in a line.
        seconds: How long it took.
    """

    name: str
    passed: bool | None
    found: str
    seconds: float


class NotHadError(Exception):
    """A check that cannot be made here; the message says why."""


def check_base(base: Base) -> Iterator[Check]:
    """Look at a base as it is loaded; the base stays as it was.

    Args:
        base: Without a patch on it. A base of 7 billion parameters takes some minutes on a CPU.

    Yields:
        A row a check, as soon as it is known. Whatever goes wrong in one is its row's text, and the
        others go on.

    Example:
        >>> from pave.testing import tiny_base
        >>> rows = list(check_base(tiny_base("internvl")))
        >>> [row.name for row in rows if row.passed is False]
        []
    """
    probe = _Probe(base)
    for name, look in CHECKS.items():
        start = time.perf_counter()
        passed: bool | None = True
        try:
            found = look(probe)
        except NotHadError as why:
            passed, found = None, str(why)
        # A self-test exists for what nobody expected: it is reported, whatever it is.
        except Exception as error:
            passed, found = False, f"{_kind(error)}{error}".partition("\n")[0]
        yield Check(name, passed, found, time.perf_counter() - start)


def _kind(error: Exception) -> str:
    """The error's class, where its text alone does not say what is wrong."""
    if isinstance(error, AssertionError):  # a check's own words
        return ""
    return f"{type(error).__name__}: "


class _Probe:
    """A base, a drawn clip and a prompt about it; each part is made when a check first asks."""

    def __init__(self, base: Base) -> None:
        self.base = base

    @cached_property
    def clip(self) -> Clip:
        """A square that moves over a gradient, in 360p."""
        return self.base.clip(drawn_frames(FRAMES))

    @cached_property
    def visual(self) -> Visual:
        """Its tokens."""
        (visual,) = self.base.visual([self.clip])
        return visual

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """The clip and the first question, pixels included."""
        prompt = self.base.encode_prompt(self.clip.text, [(QUESTIONS[0], None)])
        return self.base.batch([prompt.ask()], [self.clip], pad="left")

    @cached_property
    def plain(self) -> Tensor:
        """The base's own logits there, `[1, L, vocabulary]`, from pixels."""
        with torch.no_grad():
            logits: Tensor = self.base.model(**self.inputs).logits
        return logits

    @property
    def side(self) -> Tokens:
        """Side tokens, two a second, one in each step."""
        generator = torch.Generator().manual_seed(0)
        count = 2 * FRAMES
        values = torch.randn(count, 1, SIDE_DIM, generator=generator)  # [T, S, C]
        return Tokens(values, torch.arange(count, dtype=torch.float64) / 2)

    def patched(self) -> PatchedModel:
        """The base with one fresh patch; `unpatch` gives it back."""
        model = PatchedModel(self.base)
        fusion = {"side_dim": SIDE_DIM, "hidden": HIDDEN}
        lora = LoraSpec(rank=4, alpha=8)
        model.new_patch(CHANNEL, encoder=None, fusion=fusion, lora=lora, seed=0)
        return model


def drawn_frames(count: int) -> Frames:
    """`count` frames of 640 x 360, a second apart: a white square moves over colours."""
    across = torch.linspace(0, 255, WIDTH).to(torch.uint8)
    down = torch.linspace(0, 255, HEIGHT).to(torch.uint8)
    pixels = torch.zeros(count, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    pixels[:, 0] = across
    pixels[:, 1] = down[:, None]
    for number in range(count):
        left = 40 + 120 * number % (WIDTH - 140)
        pixels[number, :, 130:230, left : left + 100] = 255
    return Frames(pixels, torch.arange(count, dtype=torch.float64))


def _loads(probe: _Probe) -> str:
    base = probe.base
    count = sum(parameter.numel() for parameter in base.model.parameters())
    dtype = str(base.dtype).removeprefix("torch.")
    return f"{type(base.model).__name__}, {count:,} parameters, {dtype} on {base.device}"


def _format(probe: _Probe) -> str:
    """The prompt as the model reads it, with its placeholders counted."""
    base = probe.base
    text = base.tokenizer.decode(probe.inputs["input_ids"][0])
    token = base.family.placeholder
    several = re.compile(f"(?:{re.escape(token)})+")
    shown = several.sub(lambda run: f"{token}*{run[0].count(token)}", text)
    if base.family.template:
        return f"of the family's own template: {shown!r}"
    if base.reads_template:
        return f"of its own template: {shown!r}"
    # Built in, though the model may have been trained with what its folder says.
    _must(not base.template_trouble, base.template_trouble)
    return f"built in, because there is no template: {shown!r}"


def _tokens(probe: _Probe) -> str:
    base, layout = probe.base, probe.visual.layout
    in_prompt = int((probe.inputs["input_ids"] == base.placeholder_id).sum())
    rows = probe.visual.tokens.shape[0]
    kept = rows
    # VideoLLaMA3 leaves out what hardly moves, between its projector and its language model.
    if (mask := probe.clip.pixels.get("video_compression_mask")) is not None:
        kept = int(mask.sum())
    _must(rows == layout.total, f"the tower gave {rows} tokens, the layout has {layout.total}")
    _must(kept == in_prompt, f"{in_prompt} placeholders in the prompt for {kept} tokens")
    size = f"{FRAMES} frames of {WIDTH} x {HEIGHT}"
    grid = f"{layout.t} x {layout.h} x {layout.w}"
    return f"{size}: {in_prompt:,} in the prompt, on a grid of {grid}"


def _context(probe: _Probe) -> str:
    """Whether the base's own number of frames fits."""
    base = probe.base
    frames = base.settings.frames
    # `encode_prompt` refuses what is too long, and says what to change.
    # Only the text is of use here: the tower does not see so many frames.
    clip = base.clip(drawn_frames(frames))
    prompt = base.encode_prompt(clip.text, [(QUESTIONS[0], None)])
    length = len(prompt.ask())
    return f"{length:,} tokens with the base's own {frames} frames, of {base.context:,.0f}"


def _stop(probe: _Probe) -> str:
    base = probe.base
    words = base.tokenizer.batch_decode([[number] for number in base.stop_ids])
    # Such an id is beyond the vocabulary: no answer would ever end there.
    _must("" not in words, f"an id that ends answers decodes to nothing: {base.stop_ids}")
    return ", ".join(map(repr, words))


def _tower(probe: _Probe) -> str:
    visual = probe.visual
    _finite(visual.tokens, "visual tokens")
    _must(visual.query is not None, "the tower's own tokens are missing")
    scale = float(visual.tokens.float().std())
    return f"{visual.tokens.shape[1]} wide, of deviation {scale:.3g}, all finite"


def _logits(probe: _Probe) -> str:
    """Tokens made beforehand, as training and evaluation take them, instead of pixels."""
    base = probe.base
    _finite(probe.plain, "logits")
    inputs = dict(probe.inputs)
    # Grids stay: positions on several axes come from them, not from the pixels.
    del inputs[base.family.pixels]
    seen = {base.family.modality: base.join([probe.visual])}
    with torch.no_grad():
        cached = base.model(**inputs, mm_encoder_outputs=seen).logits
    return _close(cached, probe.plain)


def _greedy(probe: _Probe) -> str:
    """Answers behind one shared prefix, and those of plain `generate` from pixels."""
    base = probe.base
    features = ClipFeatures(probe.clip, probe.visual)
    asked = []  # ids of each question
    prefix: list[int] = []  # the same for both
    for question in QUESTIONS:
        prompt = base.encode_prompt(probe.clip.text, [(question, None)])
        prefix = prompt.prefix
        asked.append(prompt.turns[0][0])
    model = PatchedModel(base)
    try:
        both = Questions(features, prefix, asked)
        (ours,) = generate(model, [both], Sampling(max_new_tokens=NEW_TOKENS))
    finally:
        model.unpatch()
    for ids, answer in zip(asked, ours, strict=True):
        theirs = _plain_answer(base, probe.clip, prefix + ids)
        _must(
            answer == theirs,
            f"{base.decode(answer)!r} differs from plain generate: {base.decode(theirs)!r}",
        )
    how = "one prefix"
    if (why := why_no_shared_prefix(base)) is not None:
        how = f"no shared prefix ({why})"
    return f"as plain generate, {how}: {base.decode(ours[0])!r}"


def _plain_answer(base: Base, clip: Clip, ids: list[int]) -> list[int]:
    """Ids of a greedy answer by transformers alone, without the token that ends it."""
    inputs = base.batch([ids], [clip], pad="left")
    stop = base.stop_ids
    with torch.no_grad():
        out = base.model.generate(
            **inputs,
            **MACHINERY,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            num_beams=1,
            eos_token_id=stop,
            pad_token_id=base.filler_id,
            tokenizer=base.tokenizer,  # for stop texts of the model's own
        )
    answer: list[int] = out[0, len(ids) :].tolist()
    # A single row is never filled: a filler in it is what the model itself says.
    return list(takewhile(lambda token: token not in stop, answer))


def _fresh(probe: _Probe) -> str:
    """A fresh patch changes nothing, to the bit."""
    model = probe.patched()
    try:
        with torch.no_grad():
            logits = model([{CHANNEL: probe.side}], [probe.clip.times], **probe.inputs).logits
    finally:
        model.unpatch()
    farthest = float((logits - probe.plain).abs().max())
    # Not merely close: adding a zero residual must not even round.
    _must(torch.equal(logits, probe.plain), f"a fresh patch moves a logit by {farthest:.3g}")
    return "the base's logits, bit for bit"


def _training(probe: _Probe) -> str:
    """Two steps: a loss, gradients in the patch alone, and a smaller loss."""
    base = probe.base
    prompt = base.encode_prompt(probe.clip.text, [(QUESTIONS[0], ANSWER)])
    features = ClipFeatures(probe.clip, probe.visual, {CHANNEL: probe.side})
    batch = Collator(base, packed=False)([Sample(pack([prompt]), features)])
    model = probe.patched()
    touched = []  # weights of the base that got a gradient
    try:
        model.train()
        before, after = _steps(model, batch)
        for name, weight in base.model.named_parameters():
            # The patch's LoRA lies in the base's layers.
            if weight.grad is not None and "lora_" not in name:
                touched.append(name)
    finally:
        model.eval()
        model.unpatch()
    _must(not touched, f"the frozen base got gradients, {touched[:1]} first")
    _must(after < before, f"the loss went from {before:.3f} to {after:.3f} in two steps")
    return f"loss {before:.3f}, {after:.3f} after two steps, gradients in the patch alone"


def _steps(model: PatchedModel, batch: TrainBatch) -> tuple[float, float]:
    """Loss of a batch before and after two steps on it."""
    trained = AnswerModel(model)
    # Of fusion and LoRA; the base is frozen.
    parameters = list(model.trainable_parameters().values())
    optimiser = torch.optim.AdamW(parameters, lr=1e-3)
    losses = []
    for _ in range(2):
        # As the trainer has it: logits at the answer's positions alone.
        loss = trained(batch)["loss"]
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        for parameter in parameters:
            if parameter.grad is not None:
                _finite(parameter.grad, "gradients")
        optimiser.step()
    with torch.no_grad():
        losses.append(float(trained(batch)["loss"]))
    _must(all(map(math.isfinite, losses)), f"the loss is {losses}")
    return losses[0], losses[-1]


def _finite(values: Tensor, what: str) -> None:
    wrong = int((~torch.isfinite(values)).sum())
    _must(wrong == 0, f"{wrong:,} of {values.numel():,} {what} are not finite")


def _close(found: Tensor, wanted: Tensor) -> str:
    farthest = float((found - wanted).abs().max())
    largest = float(wanted.abs().max())
    text = f"from tokens and from pixels {farthest:.2g} apart, the largest {largest:.3g}"
    # Against the largest one: logits of one model reach 3, those of another 50.
    _must(farthest <= ROUNDING.get(wanted.dtype, 1e-3) * largest, text)
    return text


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


CHECKS: dict[str, Callable[[_Probe], str]] = {
    "loads": _loads,
    "chat format": _format,
    "stop tokens": _stop,
    "visual tokens": _tokens,
    "context": _context,
    "tower": _tower,
    "logits": _logits,
    "greedy answers": _greedy,
    "fresh patch": _fresh,
    "training": _training,
}
"""Name -> what looks; it returns what it found, or raises with what is wrong."""
