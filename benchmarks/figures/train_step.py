"""One training step on 8 questions about each of 2 clips, against two other ways to train.

Every side makes one optimiser step on the same 16 questions: forward, backward, clipping and AdamW
(its rate is 0, so that every repetition starts from the same weights). Losses of all sides are
compared before anything is measured; frames are decoded beforehand for all. In bf16 all sides run
under autocast and hold the frozen weights in bf16.

- "ours": one sequence a clip with its 8 questions, tower outputs from the cache, logits at answers;
  the base is held as `pave train` holds it.
- "as the authors train": one question a sample, batches of two that are padded to the longest,
  tower and projector in every step, the fusion in a loop over samples, logits at every position.
- "plain peft": a LoRA alone, one question a sample, tower in every step, logits at every position;
  ours is then the LoRA-only control.

`smol` is measured, and a thin LLaVA-OneVision (two layers of width 256, 1,569 visual tokens of 8
frames), whose vocabulary of 32,000 words makes logits what they are in a real one.

Every part is a process of its own: `make bench ARGS=train_step:smol-32` runs those of `smol` with
32 frames. One side at 32 frames takes minutes and up to 4 GB.

The share of products is the time of matrix products and attention, forward and backward, in CPU
seconds of our step: what is left is norms, activations, sums, copies, the optimiser, and Python.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from figures.shared_prefix import cached, plain, samples, trainer
from harness import Row, cpu_seconds, peak_growth, spent
from peft import LoraConfig, LoraModel
from thin import thin_base
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from videos import LORA, Bench, bench

from pave.cpu import frozen_in_bf16
from pave.media import read_frames
from pave.model import PatchedModel
from pave.train import TrainConfig
from pave.train.held import AsTrained
from pave.train.objective import AnswerModel
from pave.train.precision import Settled

CLIPS, QUESTIONS = 2, 8
PARTS = (
    "smol-4-fp32-authors",
    "smol-4-fp32-peft",
    "smol-4-bf16-authors",
    "smol-4-bf16-peft",
    "smol-32-fp32-authors",
    "smol-32-fp32-peft",
    "smol-32-bf16-authors",
    "smol-32-bf16-peft",
    "thin-8-fp32-authors",
    "thin-8-fp32-peft",
)
"""Base, frames, precision, and the other side."""
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "linear", "attention")


class Products(TorchDispatchMode):
    """Counts the CPU seconds of matrix products and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it; look at the clock if it is a product."""
        name = func.__name__
        if not any(word in name for word in PRODUCTS):
            return func(*args, **(kwargs or {}))
        start = cpu_seconds()
        found = func(*args, **(kwargs or {}))
        self.seconds += cpu_seconds() - start
        return found


@contextmanager
def one_by_one(model: PatchedModel) -> Iterator[None]:
    """The fusion as the authors call it: once for each sample."""
    fusion = model.patches["sound"].fusion
    together = fusion.forward

    def loop(query: Sequence[Any], side: Sequence[Any], *times: Any) -> list[Any]:
        found = []
        for number in range(len(query)):
            own = [None if each is None else each[number : number + 1] for each in times]
            found += together(query[number : number + 1], side[number : number + 1], *own)
        return found

    fusion.forward = loop
    try:
        yield
    finally:
        del fusion.forward


def with_peft(made: Bench, features: Any, batches: Sequence[Sequence[Any]]) -> Callable[[], Any]:
    """Losses of a LoRA that peft alone puts on the base."""
    base = made.base
    clips = [base.clip(read_frames(group[0].video, features.sampling)) for group in made.groups]
    total = sum(len(sample.packed.labels) for batch in batches for sample in batch)

    def loss(batch: Sequence[Any]) -> Any:
        inputs = base.batch([sample.packed.ids for sample in batch], clips, pad="right")
        logits = base.model(use_cache=False, **inputs).logits
        rows = [logits[row, torch.tensor(sample.packed.keep)] for row, sample in enumerate(batch)]
        labels = torch.tensor([label for sample in batch for label in sample.packed.labels])
        return F.cross_entropy(torch.cat(rows).float(), labels, reduction="sum") / total

    return lambda: (loss(batch) for batch in batches)


@contextmanager
def peft_lora(made: Bench) -> Iterator[Any]:
    """A fresh LoRA of the same shape on the base, by peft."""
    shape = {"r": LORA.rank, "lora_alpha": LORA.alpha, "lora_dropout": 0.0}
    targets = rf".*{made.base.family.language_model}.*({'|'.join(LORA.targets)})"
    config = LoraConfig(target_modules=targets, **shape)
    tuner = LoraModel(made.base.model, {"default": config}, "default")
    try:
        yield [parameter for parameter in tuner.parameters() if parameter.requires_grad]
    finally:
        tuner.unload()


@dataclass(frozen=True)
class Measured:
    """One side: its loss, the peak of its first step in MB, CPU seconds of a step, how often."""

    loss: float
    peak: float
    seconds: float
    n: int


def measured(
    case: Case, losses: Callable[[], Any], parameters: Sequence[torch.nn.Parameter], repeats: int
) -> Measured:
    """Measure one side; of a side that takes minutes, the first step is the only one."""
    step = trainer(parameters, losses)
    told: list[float] = []
    # Weights lie in a mapped file, whose pages the system takes back from a process that waits: to
    # read them again is not what the step takes.
    for parameter in case.made.base.model.parameters():
        parameter.sum()
    with peak_growth() as grown:
        first = spent(lambda: told.append(step()))
        peak = grown()
    # The first one warms up; a long one need not.
    again = [spent(step) for _ in range(repeats)] or [first]
    return Measured(told[0], peak, statistics.median(again), len(again))


def row(title: str, ours: Measured, peer: Measured, promise: str = "") -> Row:
    """Questions a CPU second of both sides, which have the same loss."""
    close = 1e-2 if "bf16" in title else 1e-4
    assert math.isclose(ours.loss, peer.loss, rel_tol=close), (ours, peer)
    count = CLIPS * QUESTIONS
    return Row(
        f"training step, {QUESTIONS} questions a clip, {title}",
        count / ours.seconds,
        count / peer.seconds,
        peer.seconds / ours.seconds,
        "questions a CPU s",
        ours.n,
        promise,
        f"loss {ours.loss:.4f} both; peak {ours.peak:,.0f} against {peer.peak:,.0f} MB",
    )


def share_of_products(title: str, step: Callable[[], float], whole: float) -> Row:
    """Which part of our step, of so many CPU seconds, is the model's own products."""
    with Products() as products:
        step()
    part = min(products.seconds / whole, 1.0)
    figure = f"products in a training step, {title}"
    return Row(figure, products.seconds, whole, part, "CPU s", 1, "", f"{part:.0%} of the step")


def in_precision(losses: Callable[[], Iterator[Any]], precision: Settled) -> Callable[[], Any]:
    """The same losses, each of them computed under autocast where the precision is bf16."""

    def computed() -> Iterator[Any]:
        pending = losses()
        while True:
            # The backward pass, between two of them, runs outside.
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = next(pending, None)
            if loss is None:
                return
            yield loss

    return computed


@dataclass(frozen=True)
class Case:
    """One base, number of frames, and precision; repeats are those of the other side."""

    made: Bench
    title: str
    frames: int
    repeats: int
    promise: str
    precision: Settled = "fp32"

    def __str__(self) -> str:
        return f"{self.title}, {self.precision}"

    def samples(self, together: bool) -> list[list[Any]]:
        """The questions, packed or one by one."""
        return samples(self.made, self.made.features(self.frames), together)

    def as_we_hold_it(self) -> Any:
        """The base as `pave train` holds it."""
        settings = {"precision": self.precision, "questions_per_video": QUESTIONS}
        return AsTrained(self.made.base, TrainConfig(records="-", out="-", **settings))

    def as_others_hold_it(self) -> Any:
        """The base with weights in the precision, and nothing else."""
        if self.precision == "fp32":
            return nullcontext()
        return frozen_in_bf16(getattr(self.made.base.inner, self.made.base.family.language_model))


def against_the_authors(case: Case) -> list[Row]:
    """Our step and theirs, and the share of products in ours."""
    together, single = case.samples(True), case.samples(False)
    patched = case.made.patched()
    trained = list(patched.trainable_parameters().values())
    losses = in_precision(cached(AnswerModel(patched).train(), together, True), case.precision)
    with case.as_we_hold_it():
        ours = measured(case, losses, trained, 3)
        share = share_of_products(str(case), trainer(trained, losses), ours.seconds)
    features = case.made.features(case.frames)
    losses = in_precision(plain(case.made, patched, features, single), case.precision)
    with one_by_one(patched), case.as_others_hold_it():
        authors = measured(case, losses, trained, case.repeats)
    patched.unpatch()
    return [row(f"{case}, against as the authors train", ours, authors, case.promise), share]


def against_peft(case: Case) -> Row:
    """Our LoRA-only control and a LoRA that peft alone puts on the base."""
    control = PatchedModel(case.made.base)
    control.new_patch(None, name="lora", lora=LORA, seed=0)
    model = AnswerModel(control).train()
    trained = list(control.trainable_parameters().values())
    with case.as_we_hold_it():
        losses = in_precision(cached(model, case.samples(True), True), case.precision)
        ours = measured(case, losses, trained, 3)
    control.unpatch()
    features = case.made.features(case.frames)
    with peft_lora(case.made) as parameters, case.as_others_hold_it():
        losses = in_precision(with_peft(case.made, features, case.samples(False)), case.precision)
        theirs = measured(case, losses, parameters, case.repeats)
    return row(f"{case}, LoRA alone, against plain peft", ours, theirs)


def measure(part: str) -> list[Row]:
    """One of the parts."""
    base, frames, precision, other = part.split("-")
    with bench(CLIPS, QUESTIONS, "train") as made:
        case = _case(made, base, int(frames), precision)
        if other == "peft":
            return [against_peft(case)]
        return against_the_authors(case)


def _case(made: Bench, base: str, frames: int, precision: Any) -> Case:
    """With what it promises, and how often a side that takes minutes is measured."""
    if base == "smol":
        few = frames == 4
        promise = "at least 5" if few else "at least 10"
        return Case(made, f"smol, {frames} frames", frames, 2 if few else 0, promise, precision)
    torch.manual_seed(0)
    thin = Bench(thin_base(256, 32_000, 256, mlp=1024, layers=2), made.groups, made.folder / "thin")
    return Case(thin, f"thin LLaVA-OneVision, {frames} frames", frames, 0, "at least 5", precision)
