"""Training on exchanged channels: its cells, its loss against plain loops, and its runs."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from helpers import tiny, tiny_patch, toy
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, Record, Turn, read_records, write_records
from pave.errors import ConfigError, RecordError
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train import TrainConfig, train
from pave.train.batch import UNCOUNTED
from pave.train.batches import Sequences
from pave.train.cells import make_cells
from pave.train.collate import Collator
from pave.train.lessons import lessons_of
from pave.train.objective import AnswerModel, answer_losses
from pave.train.plans import Mixture, Plan
from train.test_processes import _two

CELLS = {"share": 0.5, "loss": "hinge", "margin": 1.0}


def _clips(folder: Path, clips: int = 4) -> list[Record]:
    """Clips with a picture and a channel of their own, asked about both."""
    made = []
    for record in toy.records(folder, clips=clips, questions=1):
        number = int(record.id.partition("-")[0])
        video = str(toy.frames(folder / f"frames{number}", seed=number))
        heard = record.model_copy(update={"video": video, "meta": {"channel": "features"}})
        turn = Turn(question="Which colour?", answer=("red", "dark blue")[number % 2])
        changes = {"id": f"{number}-seen", "turns": [turn], "meta": {"channel": "video"}}
        made += [heard, heard.model_copy(update=changes)]
    write_records(folder / "records.jsonl", made)
    return made


def test_cells_take_their_answer_from_the_side_that_is_asked_about(tmp_path: Path) -> None:
    records = _clips(tmp_path, clips=6)
    by_video = {(record.video, record.meta["channel"]): record for record in records}
    by_side = {(record.channels["features"], record.meta["channel"]): record for record in records}
    cells = make_cells(records, "features")
    conflicts = 0
    for cell in cells.records:
        asked = cell.meta["channel"]
        seen = by_video[cell.video, asked]
        heard = by_side[cell.channels["features"], asked]
        conflicts += seen != heard
        target = seen if asked == "video" else heard
        assert cell.turns == target.turns
        assert cells.wrong[cell.id] != target.turns[-1].answer
        assert cells.wrong[cell.id] in {record.turns[-1].answer for record in records}
    assert conflicts == len(cells.records) / 2
    # More than the three pairs of one round, two questions each.
    assert len(cells.records) > 3 * 2 * 4
    assert make_cells(records, "features") == cells
    assert len({cell.id for cell in cells.records}) == len(cells.records)


def test_what_cannot_be_paired_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = _clips(tmp_path, clips=2)
    other = records[0].model_copy(update={"id": "lone", "turns": [Turn(question="Q", answer="A")]})
    with caplog.at_level(logging.INFO):
        make_cells([*records, other], "features")
    told = caplog.text
    assert "4 of 5 questions are in 2 pairs" in told and "1 question is in no pair" in told
    assert "do not say" not in told
    silent = [record.model_copy(update={"meta": {}}) for record in records]
    make_cells(silent, "features")
    assert "4 of the paired questions do not say in meta.channel what they are about" in caplog.text
    with pytest.raises(RecordError, match="no two clips are asked the same question"):
        make_cells(records[:2], "features")
    open_turn = Turn(question="What", answer=None)
    # It has accepted answers, and none to learn.
    changes = {"turns": [open_turn], "answers": ["dog"]}
    with pytest.raises(RecordError, match="no answer to train on"):
        make_cells([records[0].model_copy(update=changes), *records[1:]], "features")


def test_the_share_of_cells_is_exact_and_even() -> None:
    plan, cells = Plan([3, 2], 1, seed=1), Plan([1, 1], 1, seed=1)
    mixture = Mixture(plan, cells, 0.4)
    assert mixture.per_epoch == math.ceil(5 / 0.6)
    drawn = [mixture[position] for position in range(1000)]
    kinds = [group >= 2 for group, _ in drawn]
    assert sum(kinds) == 400
    assert {sum(kinds[start : start + 5]) for start in range(0, 1000, 5)} == {2}
    own = [sequence for sequence, cell in zip(drawn, kinds, strict=True) if not cell]
    assert own == [plan[position] for position in range(600)]
    assert [mixture[position] for position in (999, 3)] == [drawn[999], drawn[3]]
    assert Mixture(plan, cells, 1.0).per_epoch == cells.per_epoch


def test_the_hinge_by_hand() -> None:
    """Two questions: one leads by 0.5 of a margin of 2, the other by more than it."""
    losses = torch.tensor([3.0, 1.0, 2.0, 2.0, 0.1, 9.0, 9.0], requires_grad=True)
    pairs = torch.tensor([0, 1, 1, -1, 2, -2, -2])
    found = answer_losses(losses, pairs, 2.0)
    assert found.tolist() == pytest.approx([3.0, 1.5, 1.5, 0.0, 0.0, 0.0, 0.0])
    total = found.sum()
    assert total.item() == pytest.approx(3.0 + 2 * (2.0 - 0.5))
    total.backward()
    # Two tokens of the right answer push, one of the wrong one is pushed, a question won is silent.
    assert losses.grad.tolist() == [1.0, 1.0, 1.0, -2.0, 0.0, 0.0, 0.0]


def _trained(folder: Path, family: str) -> tuple[PatchedModel, Features, list[Record]]:
    """A patch that says something already, on clips with cached tokens."""
    records = _clips(folder)
    base = tiny.base(family)
    settings = {"dim": toy.DIM, "rate": 2.0}
    encoder = make_encoder("features", "file", settings)
    features = Features(base, {"patch": encoder}, TokenCache(folder / "cache"), frames=4)
    patched = PatchedModel(base)
    patched.new_patch(
        "features", name="patch", encoder="file", encoder_settings=settings,
        fusion={"hidden": 16, "heads": 2, "layers": 1}, lora=LoraSpec(rank=2, dropout=0.0), seed=0,
    )  # fmt: skip
    tiny_patch.shake(patched, seed=1, scale=0.1)
    return patched, features, records


def _plain_score(
    patched: PatchedModel, features: Features, cell: Record, answer: str
) -> tuple[float, int]:
    """Mean log-probability of an answer's tokens and their number, by one forward pass."""
    clip = features[cell]
    base = patched.base
    asked = [(cell.turns[-1].question, answer)]
    prompt = base.encode_prompt(clip.clip.text, asked)
    ids = prompt.dialogue()
    count = len(prompt.turns[0][1])
    inputs = base.batch([ids], [clip.clip], pixels=False)
    with torch.no_grad():
        logits = patched(
            **inputs, visuals=[clip.visual], channels=[clip.channels], times=[clip.clip.times]
        ).logits[0]
    scores = logits.float().log_softmax(-1)
    found = [scores[place - 1, ids[place]] for place in range(len(ids) - count, len(ids))]
    return float(torch.stack(found).mean()), count


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_vl"])
@pytest.mark.parametrize("questions", [1, 3])
def test_the_loss_is_that_of_a_plain_loop(tmp_path: Path, family: str, questions: int) -> None:
    """Behind a shared prefix or not, ordinary questions beside cells."""
    patched, features, records = _trained(tmp_path, family)
    config = toy.config(
        tmp_path, counterfactual={**CELLS, "margin": 0.3}, questions_per_video=questions
    )
    lessons = lessons_of(config, {"": records})
    data = Sequences(patched.base, features, lessons.groups, lessons.plan, 8, wrong=lessons.wrong)
    data.must_fit(lessons.groups)
    batch = Collator(patched.base, packed=questions > 1)([data[place] for place in range(8)])
    loss = AnswerModel(patched, margin=0.3)(batch)["loss"]

    total, counted, silent = 0.0, 0, 0
    for place in range(8):
        group, chosen = lessons.plan[place]
        for number in chosen:
            record = lessons.groups[group][number]
            right, count = _plain_score(patched, features, record, record.turns[-1].answer or "")
            counted += count
            if record.id in lessons.wrong:
                wrong, _ = _plain_score(patched, features, record, lessons.wrong[record.id])
                total += count * max(0.0, 0.3 - (right - wrong))
                silent += right - wrong > 0.3
            else:
                total -= count * right
    assert int(batch.labels.ne(UNCOUNTED).sum()) == counted
    assert int((batch.labels == UNCOUNTED).sum()) > 0
    assert float(loss) == pytest.approx(total / counted, rel=1e-4)


def test_with_cross_entropy_cells_are_records(tmp_path: Path) -> None:
    patched, features, records = _trained(tmp_path, "llava_onevision")
    config = toy.config(tmp_path, counterfactual={"share": 1, "loss": "ce"})
    lessons = lessons_of(config, {"": records})
    data = Sequences(patched.base, features, lessons.groups, lessons.plan, 4, wrong=lessons.wrong)
    batch = Collator(patched.base, packed=False)([data[place] for place in range(4)])
    assert batch.pairs is None
    loss = AnswerModel(patched)(batch)["loss"]
    total, counted = 0.0, 0
    for place in range(4):
        group, chosen = lessons.plan[place]
        cell = lessons.groups[group][chosen[0]]
        assert group >= len(lessons.clips)
        mean, count = _plain_score(patched, features, cell, cell.turns[-1].answer or "")
        total, counted = total - mean * count, counted + count
    assert float(loss) == pytest.approx(total / counted, rel=1e-4)


def test_earlier_turns_of_a_cell_are_context(tmp_path: Path) -> None:
    """What counts is the last answer, in both of its forms."""
    patched, features, records = _trained(tmp_path, "llava_onevision")
    first = Turn(question="Ready?", answer="yes")
    longer = [record.model_copy(update={"turns": [first, *record.turns]}) for record in records[:4]]
    config = toy.config(tmp_path, counterfactual={**CELLS, "share": 1}, questions_per_video=2)
    lessons = lessons_of(config, {"": longer})
    data = Sequences(patched.base, features, lessons.groups, lessons.plan, 8, wrong=lessons.wrong)
    for place in range(8):
        group, chosen = lessons.plan[place]
        packed = data[place].packed
        for number, index in enumerate(chosen, 1):
            cell = lessons.groups[group][index]
            answers = {number: cell.turns[-1].answer, -number: lessons.wrong[cell.id]}
            for side, answer in answers.items():
                labels = [
                    label
                    for label, pair in zip(packed.labels, packed.pairs, strict=True)
                    if pair == side
                ]
                assert patched.base.decode(labels).strip() == answer


@pytest.mark.slow
def test_nothing_is_encoded_for_cells(tmp_path: Path) -> None:
    _clips(tmp_path)
    plain = toy.config(tmp_path, "plain", steps=1)
    train(plain, base=tiny.base(), progress=False)
    before = sorted(plain.cache_folder.rglob("*.safetensors"))
    config = toy.config(tmp_path, "cells", steps=2, counterfactual=CELLS, questions_per_video=2)
    result = train(config, base=tiny.base(), progress=False)
    assert sorted(config.cache_folder.rglob("*.safetensors")) == before
    facts = json.loads((result.patch / "patch.json").read_text())["training"]
    assert facts["questions"] == 8 and facts["clips"] == 4
    assert facts["counterfactual"] == CELLS and facts["cells"] >= 16


@pytest.mark.slow
def test_a_run_on_cells_goes_on_bit_equal(tmp_path: Path) -> None:
    _clips(tmp_path)
    settings = {
        "steps": 6, "save_every": 2, "batch_clips": 2, "accumulation": 2, "questions_per_video": 2,
        "fusion__dropout": 0.2, "lr_gate": 0.01, "counterfactual": CELLS,
    }  # fmt: skip
    again = toy.gone_on(toy.config(tmp_path, "cells", **settings))
    assert again.resumed_from == 4
    other = load_file(again.patch / "fusion.safetensors")
    plain = toy.config(tmp_path, "plain", **{**settings, "counterfactual": None})
    trained = train(plain, base=tiny.base(), progress=False).patch / "fusion.safetensors"
    assert any(not torch.equal(other[key], value) for key, value in load_file(trained).items())


@pytest.mark.slow
def test_two_processes_equal_one_on_cells(tmp_path: Path) -> None:
    _clips(tmp_path)
    settings = {"steps": 4, "lr_gate": 0.01, "questions_per_video": 2, "counterfactual": CELLS}
    done = _two(tmp_path, settings)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    config = toy.config(tmp_path, "one", batch_clips=2, **settings)
    one = train(config, base=tiny.base(), progress=False)
    for name in ("fusion.safetensors", "lora/adapter_model.safetensors"):
        ours, theirs = load_file(one.patch / name), load_file(tmp_path / "two" / "patch" / name)
        for key, tensor in ours.items():
            assert (tensor - theirs[key]).abs().max() < 1e-4, key


def test_a_channel_is_left_out_with_its_probability(tmp_path: Path) -> None:
    """By seed and position alone; the LoRA of what is left has something to learn."""
    patched, features, records = _trained(tmp_path, "llava_onevision")
    lessons = lessons_of(toy.config(tmp_path), {"": records})

    def shown(seed: int) -> list[bool]:
        plan = Plan([2, 2, 2, 2], 1, seed)
        data = Sequences(
            patched.base, features, lessons.groups, plan, 200, absent={"features": 0.3}
        )
        return [bool(data[place].features.channels) for place in range(200)]

    drawn = shown(0)
    assert 0.6 < sum(drawn) / 200 < 0.8  # 0.7, three standard deviations to each side
    assert shown(0) == drawn != shown(1)
    data = Sequences(patched.base, features, lessons.groups, Plan([2] * 4, 1, 0), 200)
    assert all(data[place].features.channels for place in range(20))
    missing = drawn.index(False)
    data = Sequences(
        patched.base, features, lessons.groups, Plan([2] * 4, 1, 0), 200, absent={"features": 0.3}
    )
    batch = Collator(patched.base, packed=False)([data[missing]])
    patched.train()
    AnswerModel(patched)(batch)["loss"].backward()
    for name, parameter in patched.trainable_parameters().items():
        moved = bool(parameter.grad is not None and parameter.grad.any())
        assert moved == name.startswith("patch.lora"), name


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="counterfactual and modality_dropout need a channel"):
        toy.config(tmp_path, channel=None, counterfactual=CELLS)
    with pytest.raises(ConfigError, match="set counterfactual or modality_dropout, not both"):
        toy.config(tmp_path, counterfactual=CELLS, modality_dropout=0.3)
    with pytest.raises(ValidationError):
        TrainConfig(records="r", out="o", channel="audio", encoder="mel", modality_dropout=1.0)
    records = _clips(tmp_path, clips=2)
    one_clip = [records[0], records[1]]
    write_records(tmp_path / "records.jsonl", one_clip)
    config = toy.config(tmp_path, steps=1, counterfactual=CELLS)
    with pytest.raises(RecordError, match="nothing can be swapped"):
        train(config, base=tiny.base(), progress=False)
    assert read_records(config.records)
