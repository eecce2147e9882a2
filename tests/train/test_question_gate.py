"""A gate that reads questions: its loss against plain passes, and the promises on every family."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import tiny, tiny_patch, tinyrun, toy
from pave.answer import Sampling, log_probabilities, questions_about
from pave.answer.asking import answers_about
from pave.bases import Base
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import ClipFeatures, Features, Record, Turn, read_records, write_records
from pave.errors import ConfigError
from pave.evaluate.clip_arm import open_turns
from pave.model import PatchedModel
from pave.model.combine import combine_patches
from pave.patches import LoraSpec
from pave.patches.gates import closed_gates, question_vectors
from pave.train import TrainConfig, train
from pave.train.batch import UNCOUNTED
from pave.train.batches import Sequences
from pave.train.collate import Collator
from pave.train.gated import Gating, centre_gates
from pave.train.lessons import lessons_of
from pave.train.objective import AnswerModel
from pave.vllm.patches import load_served

FAST = "llava_onevision"
FAMILIES = [
    pytest.param(family, marks=() if family == FAST else pytest.mark.slow)
    for family in tiny.FAMILIES
]
SETTINGS = {"dim": toy.DIM, "rate": 2.0}
FUSION = {"hidden": 16, "heads": 2, "layers": 1, "question_gate": True}
HEAR, SEE = "What do you hear?", "Which colour has it?"
GREEDY = Sampling(4)


def _patched(base: Base, *, gate: bool = True) -> PatchedModel:
    """With a random patch, which changes what the base says."""
    model = PatchedModel(base)
    model.new_patch(
        "features", name="patch", encoder="file", encoder_settings=SETTINGS,
        fusion={**FUSION, "question_gate": gate}, lora=LoraSpec(rank=2, dropout=0.0), seed=0,
    )  # fmt: skip
    tiny_patch.shake(model, seed=1)
    return model


def _leave_open(model: PatchedModel) -> None:
    """Open the gate for every question."""
    gate = model.patches["patch"].parts["features"].gate
    assert gate is not None
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.zero_()


def _silence(model: PatchedModel) -> None:
    """Let the fusions add nothing; what is left of a patch is its LoRA."""
    with torch.no_grad():
        for patch in model.patches.values():
            for part in patch.parts.values():
                norm: Any = part.fusion.norm
                norm.weight.zero_()
                norm.bias.zero_()


def _features(base: Base, folder: Path, key: str = "patch") -> Features:
    encoder = make_encoder("features", "file", SETTINGS)
    return Features(base, {key: encoder}, TokenCache(folder / "cache"), frames=4)


def _loss_of(model: PatchedModel, clip: ClipFeatures, record: Record) -> tuple[float, int]:
    """Negative log-probability of an answer and its number of tokens, by one plain pass."""
    turn = record.turns[-1]
    prompt = model.base.encode_prompt(clip.clip.text, [(turn.question, turn.answer)])
    ids, count = prompt.dialogue(), len(prompt.turns[0][1] or [])
    inputs = model.base.batch([ids], [clip.clip], pixels=False)
    with torch.no_grad():
        logits = model(
            **inputs, visuals=[clip.visual], channels=[clip.channels], times=[clip.clip.times]
        ).logits[0]
    scores = logits.float().log_softmax(-1)
    found = [scores[place - 1, ids[place]] for place in range(len(ids) - count, len(ids))]
    return -float(torch.stack(found).sum()), count


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_vl"])
@pytest.mark.parametrize(
    ("questions", "clip", "has_channel"), [(1, 1, True), (3, 1, True), (3, 2, False)]
)
def test_the_loss_is_the_one_to_expect_of_a_gate_that_is_drawn(
    tmp_path: Path, family: str, questions: int, clip: int, has_channel: bool
) -> None:
    """Behind a shared prefix or not; a clip without the channel counts once and trains the LoRA."""
    records = toy.records(tmp_path, clips=3, with_channel=2)
    model = _patched(tiny.base(family))
    features = _features(model.base, tmp_path)
    config = toy.config(tmp_path, questions_per_video=questions)
    lessons = lessons_of(config, {"": records})
    gating = Gating(["patch"], {clip})
    data = Sequences(model.base, features, lessons.groups, lessons.plan, 9, gating=gating)
    for_gate = {record.id for record in lessons.groups[clip]}
    centre_gates(model, lessons.groups)
    samples = [data[place] for place in range(lessons.plan.per_epoch)]
    collate = Collator(model.base, questions > 1, ["patch"])
    batch = collate(samples)
    model.train()  # where a LoRA works without its channel, too
    loss = AnswerModel(model)(batch)["loss"]
    loss.backward()
    gate = model.patches["patch"].parts["features"].gate
    assert gate is not None and gate.weight.grad is not None

    # By hand: the words' mean, of length 1; what is closed adds nothing to the visual tokens.
    table = model.base.model.get_input_embeddings().weight
    silent = _patched(tiny.base(family))
    _silence(silent)
    silent.train()
    mean = question_vectors(model.base, ["What", "What?", "What??"]).mean(0)
    assert torch.allclose(gate.mean, mean, atol=1e-6)
    total, tokens = 0.0, 0
    slope = torch.zeros_like(gate.weight)
    for record in records:
        ids = model.base.tokenizer(record.turns[0].question, add_special_tokens=False)["input_ids"]
        words = table[torch.tensor(ids)].mean(0)
        words = words / words.norm()
        words = (words - mean) * len(words) ** 0.5
        logit = float((words @ gate.weight + gate.bias).detach())
        opened = 1 / (1 + math.exp(-logit))
        on, count = _loss_of(model, features[record], record)
        tokens += count
        if not record.channels:
            total += on
            continue
        off, _ = _loss_of(silent, features[record], record)
        total += opened * on + (1 - opened) * off
        if record.id in for_gate:
            slope += opened * (1 - opened) * (on - off) * words
    assert int(batch.labels.ne(UNCOUNTED).sum()) == tokens
    assert float(loss.detach()) == pytest.approx(total / tokens, rel=1e-4)
    assert torch.allclose(gate.weight.grad, slope / tokens, atol=1e-5, rtol=1e-3)
    assert bool(slope.any()) is has_channel
    # LoRA and fusion learn nothing from a clip that is for the gate.
    places = range(lessons.plan.per_epoch)
    alone = [samples[place] for place in places if lessons.plan[place][0] == clip]
    model.zero_grad()
    AnswerModel(model)(collate(alone))["loss"].backward()
    for name, parameter in model.trainable_parameters().items():
        moved = bool(parameter.grad is not None and parameter.grad.any())
        in_gate = "question_gate" in name
        assert moved == (in_gate if has_channel else "lora" in name), name


def test_questions_of_both_kinds_share_a_call(tmp_path: Path) -> None:
    """Mixed, each is answered as with its own kind of patch; the order of questions stays."""
    record = toy.records(tmp_path, clips=1)[0]
    model, silent, heard = (_patched(tiny.base()) for _ in range(3))
    tiny_patch.divide(model, "patch", HEAR, SEE)
    _silence(silent)
    for other in (silent, heard):
        _leave_open(other)
    clip = _features(model.base, tmp_path)[record]
    asked = [SEE, HEAR, SEE, HEAR, HEAR]
    assert closed_gates(model.base, model.patches, SEE) == {"patch"}
    assert closed_gates(model.base, model.patches, HEAR) == set()
    said = answers_about(model, clip, asked, GREEDY)
    with_it = answers_about(heard, clip, [HEAR], GREEDY)
    without = answers_about(silent, clip, [SEE], GREEDY)
    assert said == [*without, *with_it, *without, *with_it, *with_it]
    several = Sampling(4, temperature=1.0, n=3, seed=0)
    one = answers_about(model, clip, [SEE], several)
    assert one == answers_about(silent, clip, [SEE], several) and len(one) == 3

    def weighed(of: PatchedModel, questions: list[str]) -> list[list[float]]:
        put = questions_about(of, clip, [[(question, None)] for question in questions])
        return log_probabilities(of, [put], [[["yes", "no"]] * len(questions)])[0]

    # The residual does something.
    assert weighed(heard, [SEE])[0] != pytest.approx(weighed(silent, [SEE])[0], rel=1e-2)
    found = weighed(model, asked)
    for question, scores in zip(asked, found, strict=True):
        other = silent if question == SEE else heard
        assert scores == pytest.approx(weighed(other, [question])[0], rel=1e-4)
    # In a talk the last question decides.
    for question, other in ((SEE, silent), (HEAR, heard)):
        content = [{"type": "video", "video": record.video, "channels": record.channels}]
        talk = [
            {"role": "user", "content": [*content, {"type": "text", "text": HEAR}]},
            {"role": "assistant", "content": "A dog."},
            {"role": "user", "content": question},
        ]
        assert model.chat(talk, sampling=GREEDY) == other.chat(talk, sampling=GREEDY)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_with_a_gate_keeps_the_promises(family: str, tmp_path: Path) -> None:
    """Fresh, off, or without the channel it is the base; saved it is itself."""
    records = toy.records(tmp_path, clips=2, questions=2)
    asked = [HEAR, SEE]
    for number, record in enumerate(records):
        turn = Turn(question=asked[number % 2], answer=record.turns[0].answer)
        records[number] = record.model_copy(update={"turns": [turn]})
    write_records(tmp_path / "records.jsonl", records)
    base = tiny.base(family)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    shared = 2 if family in tiny.SHARING else 1
    config = toy.config(
        tmp_path, steps=3, lr_gate=0.05, lr_lora=0.05, questions_per_video=shared, workers=0,
        fusion=FUSION,
    )  # fmt: skip
    patch = train(config, base=base, progress=False).patch
    after = base.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    features = _features(base, tmp_path)
    record = read_records(tmp_path / "records.jsonl")[0]
    clip = features[record]
    prompt = base.encode_prompt(clip.clip.text, open_turns(record)).dialogue()
    inputs = base.batch([prompt], [clip.clip], pixels=False)

    def logits(model: PatchedModel, question: str | None, channels: Any = None) -> Tensor:
        """Of the first answer token, as a question of these words hears the clip."""
        if channels is None:
            put = questions_about(model, clip, [[(question or "", None)]])
            closed = put.closed[0] if put.closed else ()
            channels = {**put.features.channels}
            for name in closed:
                del channels[name]
        times, visuals = [clip.clip.times], [clip.visual]
        with torch.no_grad():
            found: Tensor = model(
                **inputs, channels=[channels], times=times, visuals=visuals
            ).logits
        return found

    model = PatchedModel(base)
    model.new_patch(
        "features", name="patch", encoder="file", encoder_settings=SETTINGS, fusion=FUSION, seed=3
    )
    plain = answers_about(model, clip, asked, GREEDY)
    fresh = logits(model, HEAR, clip.channels)
    with model.disable_patches():
        assert torch.equal(logits(model, HEAR, clip.channels), fresh)
    model.delete_patch("patch")
    name = model.load_patch(patch, name="patch")
    tiny_patch.divide(model, "patch", HEAR, SEE)
    with model.disable_patches():
        assert answers_about(model, clip, asked, GREEDY) == plain
        assert torch.equal(logits(model, HEAR, clip.channels), fresh)
    missing = ClipFeatures(clip.clip, clip.visual, {})
    assert torch.equal(logits(model, HEAR, {}), fresh)
    assert answers_about(model, missing, asked, GREEDY) == plain
    assert not torch.equal(logits(model, HEAR, clip.channels), fresh)
    # Merged, and saved and loaded again: as before.
    said = answers_about(model, clip, asked, GREEDY)
    other = PatchedModel(tiny.base(family))
    other.load_patch(model.save_patch(tmp_path / "again", name=name), name="patch")
    assert answers_about(other, clip, asked, GREEDY) == said
    assert torch.equal(logits(other, HEAR, clip.channels), logits(model, HEAR, clip.channels))
    for question in asked:
        closed = closed_gates(base, model.patches, question)
        assert closed_gates(other.base, other.patches, question) == closed
    model.merge()
    assert answers_about(model, clip, asked, GREEDY) == said


def test_the_folder_tells_of_a_gate_only_where_there_is_one(tmp_path: Path) -> None:
    """So that older versions read all other patches."""
    for gate in (True, False):
        model = _patched(tiny.base(), gate=gate)
        written = json.loads((model.save_patch(tmp_path / str(gate)) / "patch.json").read_text())[
            "fusion"
        ]
        assert written.get("question_gate") == (True if gate else None)
        assert model.info()["patches"]["patch"]["question_gate"] is gate
        trainable = model.trainable_parameters()
        assert ("patch.fusion.question_gate.weight" in trainable) is gate
        groups = model.patches["patch"].parameter_groups()
        assert len(groups["gate"]) == (4 if gate else 2)
        model.unpatch()


def test_gates_of_joined_patches_are_their_own(tmp_path: Path) -> None:
    """Of two channels in one patch each is heard by its own questions."""
    base = tiny.base()
    folders = []
    for number, channel in enumerate(("left", "right")):
        model = PatchedModel(base)
        tiny_patch.add(model, channel, fusion={"question_gate": True}, seed=number)
        tiny_patch.divide(model, channel, HEAR, SEE)
        if number:
            (part,) = model.patches[channel].parts.values()
            assert part.gate is not None
            with torch.no_grad():
                part.gate.weight.neg_()
                part.gate.bias.neg_()
        folders.append(model.save_patch(tmp_path / channel))
        model.unpatch()
    both = combine_patches(folders, tmp_path / "both", base)
    model = PatchedModel(base)
    name = model.load_patch(both)
    assert closed_gates(base, model.patches, HEAR) == {f"{name}.right"}
    assert closed_gates(base, model.patches, SEE) == {f"{name}.left"}


def test_what_does_not_go_with_a_gate_is_refused(tmp_path: Path) -> None:
    toy.records(tmp_path, clips=2)
    model = _patched(tiny.base())
    below = model.save_patch(tmp_path / "below")
    model.unpatch()
    config = toy.config(tmp_path, steps=1, base_patches=(str(below),))
    with pytest.raises(ConfigError, match="cannot be trained on top of it"):
        train(config, base=tiny.base(), progress=False)
    assert TrainConfig.model_validate(config.model_dump()).gated == ()


def test_vllm_refuses_a_gate(tmp_path: Path) -> None:
    """It adds the residual before it has read the question."""
    made = tinyrun.make(tmp_path, clips=1)
    model = PatchedModel(tiny.base())
    model.new_patch(
        "audio", name="p", lora=LoraSpec(rank=2), fusion={"hidden": 32, "question_gate": True}
    )
    folder = model.save_patch(tmp_path / "gated")
    with pytest.raises(ConfigError, match="patch 'sound': has a question gate"):
        load_served(str(made.base), {"sound": folder})
