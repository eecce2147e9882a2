"""Gates of several channels, and gates on exchanged channels: against all that could be drawn."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from helpers import tiny, tiny_patch, toy
from pave.data import ClipFeatures, pack, write_records
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.patches.gates import muted, question_vectors
from pave.patches.new import NewChannel
from pave.train import train
from pave.train.batch import UNCOUNTED
from pave.train.batches import Sample, Sequences
from pave.train.collate import Collator
from pave.train.gated import CLOSED, OPEN, GateLesson, Gating
from pave.train.lessons import lessons_of, read_files
from pave.train.objective import AnswerModel
from train.test_counterfactual import CELLS, _clips, _plain_score
from train.test_joint import ALONE, CHANNELS, _files
from train.test_processes import _two
from train.test_question_gate import FUSION, HEAR, SEE, _features, _patched, _silence

SENSES = ("one", "two", "three")
GATES = [f"patch.{sense}" for sense in SENSES]
ASKED = {HEAR: "dog", SEE: "dark red"}


def _many() -> PatchedModel:
    """A patch of three channels, each with a gate, all of which change what is said."""
    model = PatchedModel(tiny.base())
    fusion = {"side_dim": tiny_patch.DIM, "hidden": 16, "question_gate": True}
    channels = {sense: NewChannel(None, {}, fusion) for sense in SENSES}
    model.new_patch(channels, name="patch", lora=LoraSpec(rank=2, dropout=0.0), seed=0)
    tiny_patch.shake(model, seed=1)
    model.train()
    return model


def _clip(model: PatchedModel) -> ClipFeatures:
    """A clip with all three channels."""
    clip = model.base.clip(tiny.frames(4))
    sides = {}
    for number, name in enumerate(GATES):
        sides[name] = tiny_patch.tokens(seed=number)
    return ClipFeatures(clip, model.base.visual([clip])[0], sides)


def _gradients(model: PatchedModel) -> dict[str, Tensor]:
    """Of all that trains; zero where there is none."""
    found = {}
    for name, parameter in model.trainable_parameters().items():
        gradient = parameter.grad
        found[name] = torch.zeros_like(parameter) if gradient is None else gradient.clone()
    model.zero_grad()
    return found


def _loss(model: PatchedModel, clip: ClipFeatures, closed: Sequence[str], question: str) -> Tensor:
    """What an answer costs by one plain pass, with some channels muted."""
    prompt = model.base.encode_prompt(clip.clip.text, [(question, ASKED[question])])
    packed = pack([prompt])
    inputs = model.base.batch([packed.ids], [clip.clip], pixels=False)
    channels = dict(muted(clip.channels, closed))
    output = model(**inputs, visuals=[clip.visual], channels=[channels], times=[clip.clip.times])
    scores = output.logits[0].float().log_softmax(-1)[packed.keep]
    return -scores.gather(1, torch.tensor(packed.labels)[:, None]).sum()


@pytest.mark.parametrize("alone", [True, False])
def test_the_mean_of_all_draws_is_that_of_all_states(alone: bool) -> None:
    """Three tested gates and four states of the others, against the eight states of all."""
    model = _many()
    clip = _clip(model)
    prompts = [model.base.encode_prompt(clip.clip.text, [turn]) for turn in ASKED.items()]
    packed = pack(prompts)
    collate, objective = Collator(model.base, True, GATES), AnswerModel(model)
    drawn = 0.0
    for tested in GATES:
        others = [name for name in GATES if name != tested]
        for sides in product((OPEN, CLOSED), repeat=2):
            lesson = GateLesson(list(ASKED), tested, dict(zip(others, sides, strict=True)), alone)
            batch = collate([Sample(packed, clip, gate=lesson)])
            assert int(batch.labels.ne(UNCOUNTED).sum()) == len(packed.labels)
            loss = objective(batch)["loss"] / 12
            loss.backward()
            drawn += float(loss.detach())
    found = _gradients(model)

    questions = question_vectors(model.base, list(ASKED))
    gates = [model.patches["patch"].parts[sense].gate for sense in SENSES]
    total = torch.zeros(())
    for sides in product((OPEN, CLOSED), repeat=3):
        closed = [name for name, side in zip(GATES, sides, strict=True) if side == CLOSED]
        for number, question in enumerate(ASKED):
            chance = torch.ones(())
            for gate, side in zip(gates, sides, strict=True):
                assert gate is not None
                chance = chance * torch.sigmoid(side * gate(questions)[number])
            cost = _loss(model, clip, closed, question)
            total = total + (chance * cost.detach() if alone else chance.detach() * cost)
    total = total / len(packed.labels)
    total.backward()
    assert drawn == pytest.approx(float(total.detach()), rel=1e-4)
    for name, gradient in _gradients(model).items():
        # Of the whole tensor: processors round small entries differently. Biases of keys have no
        # gradient but what rounding leaves.
        assert (found[name] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-6, name
        assert bool(gradient.any()) is (("question_gate" in name) is alone), name


def test_gates_and_their_states_are_drawn_evenly() -> None:
    """Among the channels that a clip has; with one of them there is nothing to draw."""
    model = _many()
    clip = _clip(model)
    gating = Gating(GATES, {7})
    chance = random.Random(0)
    counts: Counter[Any] = Counter()
    for _ in range(3000):
        lesson = gating.lesson(7, [HEAR], clip, chance)
        assert lesson.alone and {lesson.tested, *lesson.others} == set(GATES)
        counts[lesson.tested] += 1
        counts.update(lesson.others.items())
    for name in GATES:  # four standard deviations are 103 and 90
        assert abs(counts[name] - 1000) < 103
        assert abs(counts[name, OPEN] - 1000) < 103 and abs(counts[name, CLOSED] - 1000) < 103
    for number in range(2):
        few = ClipFeatures(clip.clip, clip.visual, dict(list(clip.channels.items())[:number]))
        lesson = gating.lesson(7, [HEAR], few, chance)
        assert not lesson.others and lesson.tested == (GATES[0] if number else "")
        assert lesson.alone is bool(number)
    assert not gating.lesson(6, [HEAR], clip, chance).alone


@pytest.mark.parametrize("mixture", [False, True])
def test_cells_are_of_clips_for_the_gate_or_of_none(tmp_path: Path, mixture: bool) -> None:
    """No picture and no sound from which the gate learns is in a cell of the others."""
    records = _clips(tmp_path, clips=8)
    more: dict[str, Any] = {}
    if mixture:
        write_records(tmp_path / "more.jsonl", records)
        files = {name: {"records": tmp_path / f"{name}.jsonl"} for name in ("records", "more")}
        more = {"records": None, "mixture": {"files": files}}
    config = toy.config(tmp_path, fusion=FUSION, gate_share=0.5, counterfactual=CELLS, **more)
    lessons = lessons_of(config, read_files(config))
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    heard: dict[bool, set[str]] = {True: set(), False: set()}
    cells: Counter[bool] = Counter()
    for number, group in enumerate(lessons.groups):
        alone = number in lessons.for_gate
        for record in group:
            seen[alone].add(record.video)
            heard[alone].add(record.channels["features"])
            cells[alone] += record.id in lessons.wrong
    assert len(seen[True]) == len(seen[False]) == 4
    assert not seen[True] & seen[False] and not heard[True] & heard[False]
    assert cells[True] and cells[False]
    assert cells[True] + cells[False] == lessons.cells


@pytest.mark.parametrize(("loss", "questions"), [("hinge", 1), ("hinge", 3), ("ce", 3)])
def test_cells_with_a_gate_against_a_plain_loop(tmp_path: Path, loss: str, questions: int) -> None:
    """The hinge of a question is taken with the residual and without; their mean is its loss."""
    records = _clips(tmp_path, clips=6)
    model, silent = _patched(tiny.base()), _patched(tiny.base())
    _silence(silent)
    features = _features(model.base, tmp_path)
    settings = {**CELLS, "loss": loss, "margin": 0.3}
    config = toy.config(
        tmp_path, fusion=FUSION, gate_share=0.5, counterfactual=settings,
        questions_per_video=questions,
    )  # fmt: skip
    lessons = lessons_of(config, {"": records})
    assert bool(lessons.wrong) is (loss == "hinge")
    gating = Gating(["patch"], lessons.for_gate)
    data = Sequences(
        model.base, features, lessons.groups, lessons.plan, 8, wrong=lessons.wrong, gating=gating
    )
    batch = Collator(model.base, questions > 1, ["patch"])([data[place] for place in range(8)])
    found = AnswerModel(model, margin=0.3)(batch)["loss"]
    found.backward()
    gate = model.patches["patch"].parts["features"].gate
    assert gate is not None and gate.weight.grad is not None

    def cost(of: PatchedModel, record: Any) -> tuple[float, int]:
        right, count = _plain_score(of, features, record, record.turns[-1].answer)
        if record.id not in lessons.wrong:
            return -count * right, count
        wrong, _ = _plain_score(of, features, record, lessons.wrong[record.id])
        return count * max(0.0, 0.3 - (right - wrong)), count

    own = gate.weight.grad.clone()
    model.zero_grad()
    total = torch.zeros(())
    for_gate = torch.zeros(())
    tokens = 0
    for place in range(8):
        group, chosen = lessons.plan[place]
        for number in chosen:
            record = lessons.groups[group][number]
            opened = torch.sigmoid(
                gate(question_vectors(model.base, [record.turns[-1].question]))[0]
            )
            (on, count), (off, _) = cost(model, record), cost(silent, record)
            expected = opened * on + (1 - opened) * off
            total, tokens = total + expected.detach(), tokens + count
            if group in lessons.for_gate:
                for_gate = for_gate + expected
    (for_gate / tokens).backward()
    assert int(batch.labels.ne(UNCOUNTED).sum()) == tokens
    assert float(found.detach()) == pytest.approx(float(total) / tokens, rel=1e-4)
    assert torch.allclose(own, gate.weight.grad, atol=1e-5, rtol=1e-3) and own.any()


def _gated(folder: Path) -> dict[str, Any]:
    """Settings of a run with two channels, each with a gate, on a mixture."""
    channels = json.loads(json.dumps(CHANNELS))
    for part in channels.values():
        part["fusion"]["question_gate"] = True
    mixture = json.loads(json.dumps(_files(folder), default=str))
    return {
        **ALONE, "channels": channels, "mixture": mixture, "gate_share": 0.4, "lr_gate": 0.02,
        "questions_per_video": 2,
    }  # fmt: skip


def _weights(patch: Path) -> dict[str, Tensor]:
    """All weights of a patch."""
    found = {}
    for path in sorted(patch.rglob("*.safetensors")):
        found |= load_file(path)
    return found


@pytest.mark.slow
def test_a_run_with_two_gates_goes_on_bit_equal(tmp_path: Path) -> None:
    settings = {**_gated(tmp_path), "steps": 6, "save_every": 2, "batch_clips": 2}
    again = toy.gone_on(toy.config(tmp_path, **settings))
    assert again.resumed_from == 4
    gates = [name for name in _weights(again.patch) if name.endswith("question_gate.weight")]
    assert len(gates) == 2


@pytest.mark.slow
def test_two_processes_draw_gates_as_one(tmp_path: Path) -> None:
    settings = {**_gated(tmp_path), "steps": 4, "lora_per_channel": True}
    done = _two(tmp_path, settings)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    config = toy.config(tmp_path, "one", **settings, batch_clips=1, accumulation=2)
    one = _weights(train(config, base=tiny.base(), progress=False).patch)
    two = _weights(tmp_path / "two" / "patch")
    for name, value in one.items():
        assert (value - two[name]).abs().max() < 1e-4, name


@pytest.mark.slow
def test_a_run_with_a_gate_on_cells_goes_on_bit_equal(tmp_path: Path) -> None:
    _clips(tmp_path, clips=6)
    settings = {
        "fusion": FUSION, "gate_share": 0.5, "lr_gate": 0.02, "counterfactual": CELLS, "steps": 6,
        "save_every": 2, "batch_clips": 2, "accumulation": 2, "questions_per_video": 2,
    }  # fmt: skip
    again = toy.gone_on(toy.config(tmp_path, **settings))
    assert again.resumed_from == 4
