"""Training end to end on a tiny base: what it learns, writes, gives back and refuses."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from helpers import tiny, toy
from pave.data import read_records
from pave.errors import ConfigError, PatchError, RecordError, TrainError
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train import train
from pave.train.checkpoints import DIGESTS, newest_checkpoint, processes_of, publish, save_weights
from pave.train.folder import LOG_NAME, STEP
from pave.train.precision import native_precision
from pave.train.progress import read_log
from pave.train.run_files import COLUMNS, RunFiles
from pave.train.runs import find_runs
from pave.train.trainer import optimiser_groups


def _weights(folder):
    return {
        **load_file(folder / "fusion.safetensors"),
        **load_file(folder / "lora" / "adapter_model.safetensors"),
    }


def _log(config):
    return [json.loads(line) for line in (config.out / LOG_NAME).read_text().splitlines()]


def test_a_run_shorter_than_the_log_interval_has_a_loss(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    config = toy.config(tmp_path, "short", steps=2, log_every=10)
    result = train(config, base=tiny.base(), progress=False)
    assert math.isfinite(result.final_loss) and [row["step"] for row in _log(config)] == [2]
    assert math.isfinite(
        json.loads((result.patch / "patch.json").read_text())["training"]["final_loss"]
    )


def test_the_patch_learns_what_only_the_channel_tells(tmp_path):
    toy.records(tmp_path, clips=8, questions=3)
    more = {
        "steps": 60,
        "batch_clips": 4,
        "questions_per_video": 3,
        "lr_lora": 0.01,
        "lr_fusion": 0.01,
        "lr_gate": 0.05,
    }
    base = toy.sharp_base()
    heard = train(toy.config(tmp_path, "patch", **more), base=base, progress=False)
    alone = train(toy.config(tmp_path, "alone", channel=None, **more), base=base, progress=False)
    chance = math.log(len(toy.SOUNDS))
    letters = (
        5  # "dog" or "horse" and an end, on average: after the first letter everything is certain
    )
    assert heard.final_loss < 0.1 * chance / letters
    assert alone.final_loss > 0.9 * chance / letters
    rows = _log(toy.config(tmp_path, "patch"))
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[0]["residual_ratio"] == 0 < rows[-1]["residual_ratio"]


def test_what_a_run_writes_and_gives_back(tmp_path):
    records = toy.records(tmp_path, clips=3, questions=2, with_channel=2)
    base = tiny.base()
    keys = list(base.model.state_dict())
    config = toy.config(
        tmp_path,
        epochs=2,
        batch_clips=2,
        questions_per_video=2,
        log_every=2,
        prompt="Listen. {question}",
    )
    result = train(config, base=base, progress=False)
    assert (result.steps, result.resumed_from, result.patch) == (3, 0, config.out / "patch")
    assert list(base.model.state_dict()) == keys  # the base is plain again
    assert {p.requires_grad for p in base.model.parameters()} == {False}

    patched = PatchedModel(base)
    patched.load_patch(result.patch)
    info = json.loads((result.patch / "patch.json").read_text())
    assert info["prompt"] == "Listen. {question}"
    assert {"steps": 3, "clips": 3, "questions": 6, "seed": 0}.items() <= info["training"].items()
    assert result.trainable_parameters == patched.info()["patch_parameters"]
    last = newest_checkpoint(config.out / "checkpoints")
    saved = load_file(last / "model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) == result.trainable_parameters
    assert (config.out / "settings.yaml").exists()
    row = _log(config)[0]
    assert row["step"] == 2
    assert {
        "loss",
        "grad_norm",
        "lr_lora",
        "lr_fusion",
        "lr_gate",
        "residual_ratio",
        "seconds",
    } <= row.keys()

    before = _weights(result.patch)
    again = train(
        config, base=_fresh(patched), progress=False
    )  # a finished run is not trained again
    assert again.resumed_from == 3
    assert all(torch.equal(before[name], tensor) for name, tensor in _weights(again.patch).items())
    with pytest.raises(TrainError, match="other seed; use another folder"):
        train(
            toy.config(
                tmp_path,
                epochs=2,
                batch_clips=2,
                questions_per_video=2,
                prompt="Listen. {question}",
                seed=1,
            ),
            base=base,
        )
    assert records == read_records(config.records)


def _fresh(patched):
    patched.unpatch()
    return patched.base


@pytest.mark.parametrize(
    "other",
    [
        {"batch_clips": 1, "accumulation": 4},
        {"gradient_checkpointing": True},
        {"questions_per_video": 2, "batch_clips": 4},
    ],
)
def test_ways_to_cut_a_batch_give_the_same_weights(tmp_path, other):
    """Answers differ in length, so a mean of means would be off by much more than rounding."""
    toy.records(tmp_path, clips=4, questions=1)
    first = train(
        toy.config(tmp_path, "a", steps=3, batch_clips=4, lr_gate=0.01),
        base=tiny.base(),
        progress=False,
    )
    config = toy.config(tmp_path, "b", **{"steps": 3, "batch_clips": 4, "lr_gate": 0.01, **other})
    second = train(config, base=tiny.base(), progress=False)
    ours, theirs = _weights(first.patch), _weights(second.patch)
    scale = max(float(tensor.abs().max()) for tensor in ours.values())
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).abs().max() < 2e-3 * scale, name


@pytest.mark.parametrize("family", ["qwen2_vl", "internvl"])
def test_bf16_and_other_families(tmp_path, family):
    toy.records(tmp_path, clips=2, questions=1)
    result = train(
        toy.config(tmp_path, steps=2, batch_clips=2, precision="bf16"),
        base=tiny.base(family),
        progress=False,
    )
    assert math.isfinite(result.final_loss)
    assert {tensor.dtype for tensor in load_file(result.patch / "fusion.safetensors").values()} == {
        torch.float32
    }


def test_lora_and_fusion_train_in_fp32_on_a_half_precision_base(tmp_path):
    base = tiny.base()
    base.model.to(torch.bfloat16)
    patched = PatchedModel(base)
    patched.new_patch(
        "features",
        encoder=None,
        fusion={"side_dim": 8, "hidden": 16, "heads": 2},
        lora=LoraSpec(rank=2),
    )
    assert {parameter.dtype for parameter in patched.trainable_parameters().values()} == {
        torch.float32
    }


def test_a_batch_without_the_channel_still_gives_every_weight_a_gradient(tmp_path):
    """Several processes wait for each other's gradients; a weight without one would stop them."""
    base = tiny.base()
    patched = PatchedModel(base)
    patched.new_patch(
        "features", encoder=None, fusion={"side_dim": 8, "hidden": 16, "heads": 2, "layers": 1}
    )
    patched.train()
    clip = tiny.clips(base, [4])[0]
    ids = base.encode_prompt(clip.text, [("What?", None)]).ask()
    patched(**base.batch([ids], [clip]), channels=[{}]).logits.sum().backward()
    gradients = [parameter.grad for parameter in patched.trainable_parameters().values()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_what_cannot_be_trained_is_told(tmp_path):
    toy.records(tmp_path, clips=1, questions=1)
    lines = (tmp_path / "records.jsonl").read_text().replace('"answer": "dog"', '"answer": null')
    (tmp_path / "open.jsonl").write_text(lines)
    with pytest.raises(RecordError, match="record 0-0: its last question has no answer"):
        train(
            toy.config(tmp_path, records=tmp_path / "open.jsonl"), base=tiny.base(), progress=False
        )
    base = tiny.base()
    hot = toy.config(
        tmp_path, "hot", steps=30, batch_clips=1, lr_lora=1e30, lr_gate=1e30, lr_fusion=1e30
    )
    with pytest.raises(TrainError, match=r"the loss became (nan|inf) by step"):
        train(hot, base=base, progress=False)
    PatchedModel(base).unpatch()  # the base was given back all the same


def test_each_part_has_its_own_rate(tmp_path):
    base = tiny.base()
    patched = PatchedModel(base)
    config = toy.config(tmp_path, lr_lora=1.0, lr_fusion=2.0, lr_gate=3.0, weight_decay=0.5)
    patched.new_patch("features", encoder="file", encoder_settings={"dim": 8}, lora=config.lora)
    groups = optimiser_groups(patched, config)
    assert sum(len(group["params"]) for group in groups) == len(patched.trainable_parameters())
    assert {(group["name"], group["lr"], group["weight_decay"]) for group in groups} == {
        ("lora", 1.0, 0.5),
        ("fusion", 2.0, 0.5),
        ("fusion", 2.0, 0.0),
        ("gate", 3.0, 0.0),
    }


def test_incomplete_checkpoints_are_passed_over(tmp_path):
    parts = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    for step in (2, 4, 6, 10):
        folder = tmp_path / f"checkpoint-{step}"
        save_weights(folder, {"a": torch.zeros(2)})
        for part in parts:
            (folder / part).write_bytes(b"x")
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert newest_checkpoint(tmp_path).name == "checkpoint-10"
    (tmp_path / "checkpoint-10" / "optimizer.pt").unlink()
    (tmp_path / "checkpoint-6" / "model.safetensors").write_bytes(b"\0" * 50)
    (tmp_path / "checkpoint-4" / "trainer_state.json").write_text('{"global')
    assert newest_checkpoint(tmp_path).name == "checkpoint-2"
    # Of two processes now.
    for rank in (0, 1):
        (tmp_path / "checkpoint-10" / f"rng_state_{rank}.pth").write_bytes(b"x")
    (tmp_path / "checkpoint-10" / "rng_state.pth").unlink()
    (tmp_path / "checkpoint-10" / "optimizer.pt").write_bytes(b"x")
    assert newest_checkpoint(tmp_path).name == "checkpoint-10"
    assert (processes_of(tmp_path / "checkpoint-10"), processes_of(tmp_path / "checkpoint-2")) == (
        2,
        1,
    )
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_a_checkpoint_that_is_published_stays(tmp_path):
    for step in (1, 3, 8, 9):  # the last two were cut off by a kill
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "staging").mkdir()
    publish(tmp_path / "staging", tmp_path / "checkpoint-4", keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-3", "checkpoint-4"]


def test_a_run_goes_on_with_the_same_base_and_as_many_sequences_a_step(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    config = toy.config(tmp_path, "run", steps=2, save_every=1, batch_clips=2, accumulation=2)
    train(config, base=tiny.base(), progress=False)
    with pytest.raises(TrainError, match="holds a run with other base"):
        train(config, base=tiny.base(seed=7), progress=False)
    note = config.out / "run.json"
    ours = note.read_text()
    # As an older pave wrote it in each of two processes, which left a random state each.
    noted = json.loads(ours)
    noted["sequences_a_step"] = noted.pop(STEP)
    note.write_text(json.dumps(noted))
    for folder in (config.out / "checkpoints").iterdir():
        for rank in (0, 1):
            (folder / f"rng_state_{rank}.pth").write_bytes((folder / "rng_state.pth").read_bytes())
        (folder / "rng_state.pth").unlink()
        (folder / DIGESTS).unlink()  # else it would be another, damaged checkpoint
    said = (
        "a run with 8 sequences a step, and 1 process x batch_clips 2 x accumulation 2 are 4; "
        "set accumulation to 4, or use resume=never"
    )
    with pytest.raises(TrainError, match=said):
        train(config, base=tiny.base(), progress=False)
    for settings, rest in (({"batch_clips": 3}, "whose product is 8"), ({"seed": 1}, "other seed")):
        with pytest.raises(TrainError, match=rest):
            train(config.model_copy(update=settings), base=tiny.base(), progress=False)
    # One process goes on in place of two.
    alone = config.model_copy(update={"accumulation": 4})
    assert train(alone, base=tiny.base(), progress=False).resumed_from == 2
    anew = config.model_copy(update={"resume": "never"})
    assert train(anew, base=tiny.base(), progress=False).resumed_from == 0
    assert note.read_text() == ours


def test_the_native_precision_follows_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for units, wanted in (
        ({"avx512_bf16": True}, "bf16"),
        ({"avx512_bf16": False, "avx2": True}, "fp32"),
        ({}, "fp32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: units, raising=False)
        assert native_precision() == wanted


def test_wrong_fusion_settings_show_before_clips_are_encoded(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    config = toy.config(tmp_path, "wrong", steps=1, fusion={"hiden": 8})
    with pytest.raises(ConfigError, match="hiden: there is no such field"):
        train(config, base=tiny.base(), progress=False)
    assert not list(config.cache_folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nope", "no module of the language model is called nope"),
        ("mlp", "mlp is a .*MLP, which cannot have a LoRA"),
    ],
)
def test_lora_targets_are_checked_before_anything_is_encoded(tmp_path, target, words):
    toy.records(tmp_path, clips=2, questions=1)
    with pytest.raises(PatchError, match=words):
        train(
            toy.config(tmp_path, steps=1, lora__targets=[target]), base=tiny.base(), progress=False
        )
    assert not list((tmp_path / "store").rglob("*.safetensors"))


def test_lora_targets_are_found_under_the_loras_of_the_patches_below(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    targets = {"lora__targets": ["q_proj"], "steps": 1}
    first = train(toy.config(tmp_path, "a", **targets), base=tiny.base(), progress=False)
    again = toy.config(tmp_path, "b", channel=None, base_patches=[str(first.patch)], **targets)
    assert train(again, base=tiny.base(), progress=False).steps == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"\xff\x00", b"[" * 100_000],
    ids=["empty", "cut", "list", "binary", "deep"],
)
def test_a_damaged_run_is_named(tmp_path, content):
    toy.records(tmp_path, clips=2, questions=1)
    config = toy.config(tmp_path, steps=1, save_every=1)
    train(config, base=tiny.base(), progress=False)
    (config.out / "run.json").write_bytes(content)
    with pytest.raises(
        TrainError,
        match="run.json is damaged .*; use another folder, or resume=never to start over",
    ):
        train(config, base=tiny.base(), progress=False)
    train(config.model_copy(update={"resume": "never"}), base=tiny.base(), progress=False)


def test_lines_of_a_log_that_are_no_rows_are_passed_over(tmp_path):
    (tmp_path / "log").write_bytes(
        b'{"step": 1, "loss": 2.0}\n[1]\nnull\n{"step": "x", "loss": 1}\n\xff\n'
        b'{"step": 2, "loss": 1.5}\n{"st'
    )
    assert [row["step"] for row in read_log(tmp_path / "log")] == [1, 2]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    "value",
    ['"3"', "[1]", "{}", "true", "NaN", "-Infinity", "1e999", "1" * 400, "-1.5e999", '""'],
)
def test_rows_with_values_of_other_types_are_passed_over(tmp_path, column, value):
    """What is made of a log reckons with its numbers: the table, the page, `pave runs`."""
    sound = {"step": 1, "loss": 2.0, "grad_norm": 1.0, "seconds": 3, "seconds_left": None}
    wrong = {**{name: json.dumps(content) for name, content in sound.items()}, column: value}
    row = ", ".join(f'"{name}": {content}' for name, content in wrong.items())
    (tmp_path / LOG_NAME).write_text(f"{json.dumps(sound)}\n{{{row}}}\n")
    (tmp_path / "settings.yaml").write_text("{}")
    rows = read_log(tmp_path / LOG_NAME)
    RunFiles(tmp_path, rows, 10).close("ended")
    assert [run.step for run in find_runs(tmp_path)] == [1]
    overflowed = column == "grad_norm" and value in ("NaN", "-Infinity", "1e999", "-1.5e999")
    assert len(rows) == 1 + overflowed


@pytest.mark.parametrize("step", ["0", "-1", "1.5"])
def test_a_row_belongs_to_a_step(tmp_path, step):
    (tmp_path / "log").write_text(f'{{"step": {step}, "loss": 1}}\n')
    assert read_log(tmp_path / "log") == []
