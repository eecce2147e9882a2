"""Train what `smol` ships: a projector from tower cells to tokens, and a LoRA that reads them.

One command builds it from its wheels (`pave bases --build smol`): scenes of the embedded world are
rendered straight to frames (no files), the frozen tower sees each once, and all questions of a
scene train behind one shared prefix. Data parallel over processes of one thread each, because small
matrices waste a second thread. The card (`weights/README.md`) records data, steps, seed and scores.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from pave.bases.base import Base
from pave.bases.families.common import image_side
from pave.bases.prompt import Prompt
from pave.bases.smol import smol_base
from pave.bases.smol.assemble import raw_parts
from pave.cpu import frozen_in_bf16, frozen_through_onednn
from pave.data.packing import Packed, pack, positions_and_mask, targets
from pave.train.precision import native_precision
from pave_world import Question, Scene, questions_for, render_frames, sample_scene
from pave_world.scenes.scene import Channel

log = logging.getLogger(__name__)

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj)"
MOST_QUESTIONS = 8
VIEW_TIMES = (1.0, 3.0)  # two renders a scene stand for its four frames: the camera hardly moves


@dataclass(frozen=True)
class Leg:
    """One leg of the training, with a warm-up and a cosine decay of its own.

    Attributes:
        clips: Scenes to train on.
        steps: Optimiser steps.
        peak: Share of the learning rates that it rises to.
        channels: Channels of the scenes, in turn. They are asked about what the main camera's
            usual frames show, and nothing else.
    """

    clips: int
    steps: int
    peak: float
    channels: tuple[Channel, ...] = ("video",)


@dataclass(frozen=True)
class BuildSettings:
    """How the shipped weights are made.

    Attributes:
        legs: What is trained on, and how long.
        batch: Scenes a step and process.
        workers: Processes.
        rank: LoRA rank.
        lr: Peak learning rate of the LoRA.
        lr_projector: Peak learning rate of the projector.
        seed: Of the scenes, the order and the start.
        test_clips: Scenes of the test split to score on.
    """

    legs: tuple[Leg, ...] = (
        Leg(1600, 400, 1.0),
        Leg(2400, 350, 0.7),
        Leg(3000, 350, 0.6, ("audio", "video")),
        Leg(3000, 200, 0.5, ("audio", "video", "scene3d", "views", "frames")),
    )
    batch: int = 4
    workers: int = 2
    rank: int = 12
    lr: float = 1e-3
    lr_projector: float = 1e-3
    seed: int = 0
    test_clips: int = 150


def build(out: Path, scratch: Path, settings: BuildSettings | None = None) -> dict[str, Any]:
    """Train projector and base LoRA and write them with their card.

    Args:
        out: Folder for `projector.safetensors`, `lora/` and `README.md`.
        scratch: Folder for tower features (about 0.2 MB a scene) and the weights after each leg; an
            interrupted build goes on with the leg it was in.
        settings: See `BuildSettings`.

    Returns:
        The numbers on the card.
    """
    from pave_world.smol.card import write_weights

    chosen = settings or BuildSettings()
    scratch.mkdir(parents=True, exist_ok=True)
    started = time.time()
    spawn(_work, args=(chosen, str(scratch)), nprocs=chosen.workers)
    return write_weights(out, scratch, chosen, time.time() - started)


def _work(rank: int, settings: BuildSettings, scratch: str) -> None:
    """One process of the data-parallel run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    torch.set_num_threads(1)
    folder = Path(scratch)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / f'rendezvous-{settings.seed}'}",
        rank=rank,
        world_size=settings.workers,
    )
    try:
        model, tokenizer = raw_parts(folder / f"tokenizer-{rank}")
        base = smol_base(model, tokenizer)
        peft = trainable(base, settings)
        # What does not learn is held in the form that this processor multiplies fastest.
        frozen = frozen_in_bf16 if native_precision() == "bf16" else frozen_through_onednn
        done, losses = _resume(peft, folder)
        for number in range(done, len(settings.legs)):
            leg = settings.legs[number]
            scenes = Scenes("train", leg.clips, leg.channels, settings.seed)
            cells = features(base, scenes, folder, rank=rank, workers=settings.workers)
            dist.barrier()  # every process has computed its share
            with frozen(base.inner.language_model):
                losses += fit(base, peft, cells, settings, leg=number, rank=rank)
            if rank == 0:
                state = {"trained": trained_state(peft), "losses": losses, "legs": number + 1}
                torch.save(state, folder / "trained.pt")
            dist.barrier()  # nobody begins the next leg before this one is kept
    finally:
        dist.destroy_process_group()
        (folder / f"rendezvous-{settings.seed}").unlink(missing_ok=True)


def _resume(peft: Any, folder: Path) -> tuple[int, list[float]]:
    """Legs that are behind an interrupted build, and its losses; their weights are put in place."""
    file = folder / "trained.pt"
    if not file.is_file():
        return 0, []
    state = torch.load(file, weights_only=True)
    load_trained(peft, state["trained"])
    return int(state["legs"]), list(state["losses"])


def load_trained(peft: Any, trained: Mapping[str, Tensor]) -> None:
    """Put what `trained_state` gave into the model."""
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if name in trained:
                parameter.copy_(trained[name])


@dataclass(frozen=True)
class Scenes:
    """A row of scenes by number, in which channels take turns.

    Attributes:
        split: Of the embedded world.
        count: How many there are.
        channels: Channels of the scenes, in turn.
        seed: Seed of the world.
    """

    split: str
    count: int
    channels: tuple[Channel, ...]
    seed: int

    def __getitem__(self, index: int) -> Scene:
        """The scene with a number."""
        channel = self.channels[index % len(self.channels)]
        return sample_scene(channel, self.split, index, self.seed)

    @property
    def name(self) -> str:
        """What a file of these scenes is called."""
        return f"{self.split}-{self.seed}-{self.count}-{'-'.join(self.channels)}"


def features(base: Base, scenes: Scenes, folder: Path, rank: int = 0, workers: int = 1) -> Tensor:
    """What the tower sees of all scenes, computed once and mapped from a file.

    Args:
        base: Its tower and preprocessing are used.
        scenes: What to render.
        folder: Where the file is, which all processes share.
        rank: Number of this process; it computes every `workers`-th scene.
        workers: Number of processes.

    Returns:
        Tower cells ``[scenes, views, 36, 1280]`` fp16.
    """
    size = image_side(base.config)  # pixels
    cells = (size // 32) ** 2  # the tower's last map is 32 times smaller
    shape = (scenes.count, len(VIEW_TIMES), cells, base.query_dim)
    file = folder / f"cells-{scenes.name}.bin"
    flat = torch.from_file(str(file), shared=True, size=math.prod(shape), dtype=torch.float16)
    mapped = flat.view(shape)
    for index in range(rank, scenes.count, workers):
        is_there = bool(mapped[index].any())  # a new file holds zeros, and no picture gives these
        if not is_there:
            mapped[index] = _seen(base, scenes[index], size)
    return mapped


@torch.no_grad()
def _seen(base: Base, scene: Scene, size: int) -> Tensor:
    """Tower cells of one scene, ``[views, 36, 1280]`` fp16."""
    pictures = render_frames(scene, VIEW_TIMES, size=size)  # [views, size, size, 3]
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    clip = base.family.prepare(base.settings, frames, torch.tensor(VIEW_TIMES))
    pixels = clip.pixels["pixel_values_videos"][0]
    seen: Tensor = base.inner.vision_tower(pixels).last_hidden_state
    return seen.half()


def trainable(base: Base, settings: BuildSettings) -> Any:
    """Put the LoRA on the language model and let the projector learn."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(settings.seed)
    config = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules=LORA_TARGETS)
    peft = get_peft_model(base.model, config)
    base.inner.multi_modal_projector.requires_grad_(True)
    return peft


def trained_state(peft: Any) -> dict[str, Tensor]:
    """Everything that was trained, by parameter name."""
    trained = {}
    for name, parameter in peft.named_parameters():
        if parameter.requires_grad:
            trained[name] = parameter.detach().clone()
    return trained


def visual_tokens(base: Base, cells: Tensor) -> Tensor:
    """Cells ``[B, views, 36, C]`` -> the tokens the model gets, ``[B, 4 * 9 + 1, D]``.

    They carry gradients into the projector.
    """
    repeats = base.settings.frames // cells.shape[1]  # frames that a view stands for
    frames = cells.float().repeat_interleave(repeats, dim=1)  # [B, 4, 36, C]
    projected = base.inner.multi_modal_projector(frames.flatten(0, 1))  # [B * 4, 36, D]
    pooled = base.inner.apply_pooling(projected)  # [B * 4, 9, D]
    tokens = pooled.unflatten(0, frames.shape[:2]).flatten(1, 2)  # [B, 4 * 9, D]
    newline = base.inner.image_newline.expand(len(tokens), 1, -1)
    return torch.cat([tokens, newline], 1)


def sequence(base: Base, scene: Scene) -> Packed:
    """Visual questions of one scene behind its placeholders."""
    asked = [
        question for question in questions_for(scene, limit=None) if question.channel == "video"
    ]
    prompts = encode_prompts(base, asked[:MOST_QUESTIONS])
    return pack(prompts)


def encode_prompts(base: Base, asked: Sequence[Question]) -> list[Prompt]:
    """Each question with its answer, behind the placeholders of four frames and a newline."""
    video = "<video>" * (base.settings.frames * 9 + 1)
    prompts = []
    for question in asked:
        turn = (question.question, question.answer)
        prompts.append(base.encode_prompt(video, [turn]))
    return prompts


def answer_logits(base: Base, cells: Tensor, packed: list[Packed]) -> tuple[Tensor, Tensor]:
    """Logits at answer positions ``[N, V]`` and the ids expected there ``[N]``."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    positions, mask = positions_and_mask(packed)
    keep, labels = targets(packed)
    rows = [torch.tensor(row.ids) for row in packed]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # [B, L]
    tokens = visual_tokens(base, cells)
    visual = {"video": BaseModelOutputWithPooling(pooler_output=tokens)}
    hidden = base.inner(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        mm_encoder_outputs=visual,
        use_cache=False,
    ).last_hidden_state
    return base.model.lm_head(hidden[keep]), labels


def fit(
    base: Base, peft: Any, cells: Tensor, settings: BuildSettings, *, leg: int, rank: int
) -> list[float]:
    """One leg of the training; returns this process's losses."""
    this = settings.legs[leg]
    scenes = Scenes("train", this.clips, this.channels, settings.seed)
    projector = list(base.inner.multi_modal_projector.parameters())
    lora = [p for name, p in peft.named_parameters() if p.requires_grad and "lora_" in name]
    trained = lora + projector
    rates = [settings.lr * this.peak, settings.lr_projector * this.peak]
    groups = [{"params": lora, "lr": rates[0]}, {"params": projector, "lr": rates[1]}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=this.steps, pct_start=0.05, anneal_strategy="cos"
    )
    losses: list[float] = []
    for step, batch in enumerate(_batches(settings, leg, rank)):
        packed = [sequence(base, scenes[index]) for index in batch]
        # Entered anew in every step: autocast remembers the rounded weights for as long as it
        # lasts, also those that train.
        with torch.autocast("cpu", torch.bfloat16, enabled=native_precision() == "bf16"):
            logits, labels = answer_logits(base, cells[batch], packed)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        _average_gradients(trained, settings.workers)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss))
        if rank == 0 and step % 20 == 19:
            mean = sum(losses[-20:]) / 20
            log.warning("leg %d step %d/%d loss %.3f", leg + 1, step + 1, this.steps, mean)
    return losses


def _batches(settings: BuildSettings, leg: int, rank: int) -> Iterator[list[int]]:
    """Numbers of the scenes that this process takes in each step, in shuffled passes over all."""
    this = settings.legs[leg]
    per_step = settings.batch * settings.workers
    passes = 1 + this.steps * per_step // this.clips
    shuffle = torch.Generator().manual_seed(settings.seed + leg)  # the same in every process
    order = torch.cat([torch.randperm(this.clips, generator=shuffle) for _ in range(passes)])
    for step in range(this.steps):
        first = step * per_step + rank * settings.batch
        yield order[first : first + settings.batch].tolist()


def _average_gradients(parameters: list[nn.Parameter], workers: int) -> None:
    """Give every process the mean gradient, in one exchange."""
    gradients = [p.grad.flatten() for p in parameters if p.grad is not None]
    flat = torch.cat(gradients)
    dist.all_reduce(flat)
    flat /= workers
    parts = flat.split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)
