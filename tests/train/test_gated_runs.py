"""Runs of a patch with a question gate keep the promises of every training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import saved, tiny, toy
from pave.bases import Base
from pave.data import Record, write_records
from pave.errors import RecordError
from pave.fusion.gate import QuestionGate
from pave.patches.gates import closed_gates
from pave.train import train
from pave.train.control import without_channel
from pave.train.estimate import estimate
from pave.train.estimate_plan import plan
from pave.train.gated import gate_clips
from pave.train.unfinished import patch_of
from train import test_sharded
from train.test_processes import _two
from train.test_resume import KILLED

FUSION = {"hidden": 16, "heads": 2, "layers": 1, "question_gate": True}
GATED: dict[str, Any] = {
    "fusion": FUSION, "gate_share": 0.3, "lr_gate": 0.05, "questions_per_video": 2,
}  # fmt: skip
WEIGHTS = ("fusion.safetensors", "lora/adapter_model.safetensors")


def _apart(ours: Path, theirs: Path) -> float:
    """The largest difference between the weights of two patches, the gate's included."""
    found = 0.0
    for name in WEIGHTS:
        one, two = load_file(ours / name), load_file(theirs / name)
        assert one.keys() == two.keys()
        found = max(found, *(float((one[key] - two[key]).abs().max()) for key in one))
    return found


def _gate(patch: Path) -> dict[str, torch.Tensor]:
    """What a patch folder holds of a question gate."""
    start = "question_gate."
    weights = load_file(patch / "fusion.safetensors")
    return {key.removeprefix(start): weights[key] for key in weights if key.startswith(start)}


def test_clips_for_the_gate_have_its_channel(tmp_path: Path) -> None:
    """Some have, not all; a video that two files show is for the one or for the other."""
    records = toy.records(tmp_path, clips=6, questions=1, with_channel=3)
    groups = [[record] for record in records]
    for seed in range(8):
        assert len(gate_clips(groups, ["features"], 0.3, seed)) == 1
        chosen = gate_clips(groups, ["features"], 0.99, seed)
        assert len(chosen) == 2 and chosen < {0, 1, 2}
    videos = [["a", "b", "c"][number % 3] for number in range(6)]
    shown: list[list[Record]] = []
    for record, video in zip(records, videos, strict=True):
        shown.append([record.model_copy(update={"video": video})])
    for seed in range(8):
        first, second = sorted(gate_clips(shown, ["features"], 0.3, seed, whole_videos=True))
        assert second == first + 3
    for few, said in ((groups[2:], "have 1"), (groups[3:], "have 0")):
        with pytest.raises(RecordError, match=f"two clips with the channel features.* {said}"):
            gate_clips(few, ["features"], 0.3, 0)


def test_autocast_leaves_the_gate_exact() -> None:
    """A question is asked without autocast, so one near the border must not change sides."""
    gate = QuestionGate(64)
    torch.manual_seed(0)
    with torch.no_grad():
        gate.weight.normal_()
        gate.mean.normal_()
    questions = torch.randn(5, 64)
    by_hand = 8 * ((questions - gate.mean) * gate.weight).sum(1)
    with torch.autocast("cpu", torch.bfloat16):
        trained = gate(questions)
    assert trained.dtype == torch.float32
    assert torch.equal(trained, gate(questions))
    assert torch.allclose(trained, by_hand, rtol=1e-5)


def test_accumulation_and_types(tmp_path: Path) -> None:
    """Four passes of a clip are one of four, also where a clip lacks the channel; bf16 trains."""
    toy.records(tmp_path, clips=4, questions=2, with_channel=3)
    patches = {}
    for name, more in (
        ("whole", {"batch_clips": 4}),
        ("parts", {"batch_clips": 1, "accumulation": 4}),
        ("bf16", {"batch_clips": 4, "precision": "bf16"}),
    ):
        base = tiny.base()
        if name == "bf16":
            base.model.to(torch.bfloat16)
        config = toy.config(tmp_path, name, steps=3, **GATED, **more)
        patches[name] = train(config, base=base, progress=False).patch
    assert _apart(patches["whole"], patches["parts"]) < 1e-4
    gate = _gate(patches["whole"])
    assert gate["weight"].abs().max() > 1e-3
    rounded = _gate(patches["bf16"])
    # The optimiser makes much of the sign of small gradients; the questions are those of fp32.
    assert torch.allclose(rounded["mean"], gate["mean"], atol=1e-2)
    assert rounded["weight"].abs().max() > 1e-3


def test_the_control_and_the_estimate(tmp_path: Path) -> None:
    """The control has no gate; the gate is counted: a number for each of D, and one."""
    toy.records(tmp_path, clips=2)
    control = without_channel(toy.config(tmp_path, **GATED))
    assert control.gated == () and control.gate_share == 0.1
    recipe = tmp_path / "gated.yaml"
    text = "{records: r, out: o, channel: audio, encoder: mel, base: 0.5b, fusion: {%s}}\n"
    costs = []
    for settings in ("", "question_gate: true"):
        recipe.write_text(text % settings)
        costs.append(estimate(plan(str(recipe))))
    plain, gated = costs
    assert gated.parameters["trained"] - plain.parameters["trained"] == 896 + 1
    assert gated.memory["activations"] > plain.memory["activations"]


@pytest.mark.slow
def test_a_killed_run_ends_bit_equal_and_its_checkpoint_is_whole(tmp_path: Path) -> None:
    """With dropout, an aligned start, validation, and a clip without the channel."""
    toy.records(tmp_path, clips=6, questions=3, with_channel=5)
    settings = {
        **GATED, "steps": 6, "save_every": 3, "batch_clips": 2, "accumulation": 2,
        "align_steps": 2, "fusion__dropout": 0.2, "lora__dropout": 0.2,
        "validation": {"clips": 1, "every": 3},
    }  # fmt: skip
    config = toy.config(tmp_path, "whole", **settings)
    whole = train(config, base=tiny.base(), progress=False)
    toy.killed(KILLED, tmp_path, "step 5", repr(settings))
    # What it held at its third step: the mean question too, which no optimiser moves.
    early = patch_of(tmp_path / "killed", loaded=tiny.base())
    assert early.name == "patch-3"
    assert torch.equal(_gate(early)["mean"], _gate(whole.patch)["mean"])
    assert _gate(early)["mean"].any()
    config = toy.config(tmp_path, "killed", **settings)
    resumed = train(config, base=tiny.base(), progress=False)
    assert resumed.resumed_from == 3
    assert toy.weights(resumed.patch) == toy.weights(whole.patch)
    last = patch_of(tmp_path / "killed", loaded=tiny.base())
    assert toy.weights(last) == toy.weights(whole.patch)
    assert resumed.validation == whole.validation


@pytest.mark.slow
def test_a_run_from_a_patch_keeps_its_mean_question(tmp_path: Path) -> None:
    """The weights were learnt with it; also where the run is killed and goes on."""
    made = toy.records(tmp_path, clips=3, questions=1)
    first = toy.config(tmp_path, "first", steps=1, **GATED)
    origin = train(first, base=tiny.base(), progress=False).patch
    for number, record in enumerate(made):
        turn = record.turns[0].model_copy(update={"question": "Is it loud?"})
        made[number] = record.model_copy(update={"turns": [turn]})
    write_records(tmp_path / "records.jsonl", made)
    settings = {**GATED, "steps": 6, "save_every": 3, "start_from": str(origin)}
    config = toy.config(tmp_path, "whole", **settings)
    whole = train(config, base=tiny.base(), progress=False)
    assert torch.equal(_gate(whole.patch)["mean"], _gate(origin)["mean"])
    toy.killed(KILLED, tmp_path, "step 5", repr(settings))
    config = toy.config(tmp_path, "killed", **settings)
    resumed = train(config, base=tiny.base(), progress=False)
    assert resumed.resumed_from == 3
    assert toy.weights(resumed.patch) == toy.weights(whole.patch)


@pytest.mark.slow
def test_validation_asks_the_gate_and_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates of nothing change no score, so patience ends the run."""
    asked: list[str] = []

    def listen(base: Base, patches: Any, question: str) -> frozenset[str]:
        asked.append(question)
        return closed_gates(base, patches, question)

    monkeypatch.setattr("pave.answer.questions.closed_gates", listen)
    toy.records(tmp_path, clips=5, questions=2)
    still = {"lr_lora": 1e-30, "lr_fusion": 1e-30, "lr_gate": 1e-30}
    validation = {"clips": 2, "every": 1, "patience": 2}
    settings = {**GATED, **still, "steps": 9, "validation": validation}
    config = toy.config(tmp_path, **settings)
    result = train(config, base=tiny.base(), progress=False)
    assert result.steps == 3
    rows = map(json.loads, (config.out / "train_log.jsonl").read_text().splitlines())
    scores = [row["validation"] for row in rows if "validation" in row]
    assert len(scores) == 3 and len(set(map(str, scores))) == 1
    assert len(asked) == 3 * 2 * 2  # validations, clips, questions


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """One of them has a clip without the channel, or one that is not for the gate."""
    toy.records(tmp_path, clips=4, questions=2, with_channel=3)
    settings = {**GATED, "steps": 4, "accumulation": 2, "gradient_checkpointing": True}
    done = _two(tmp_path, settings)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    config = toy.config(tmp_path, "one", **{**settings, "batch_clips": 1, "accumulation": 4})
    one = train(config, base=tiny.base(), progress=False)
    assert _apart(one.patch, tmp_path / "two" / "patch") < 1e-4


@pytest.mark.slow
def test_a_base_in_shares_equals_a_whole_one(tmp_path: Path) -> None:
    """FSDP: questions are read in the embeddings, which every process has whole."""
    saved.base("qwen3_vl", tmp_path / "base")
    toy.records(tmp_path, clips=4, questions=2, with_channel=3)
    for engine in ("ddp", "fsdp"):
        test_sharded._two(tmp_path, engine, engine=engine, **{**GATED, "steps": 4})
    assert _apart(tmp_path / "fsdp" / "patch", tmp_path / "ddp" / "patch") < 1e-5
