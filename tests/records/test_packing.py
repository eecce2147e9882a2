"""Packing: who sees whom, which positions count, exactness against one sequence a question."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import tiny, toy
from pave.bases.prompt import Prompt
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, group_by_clip, pack, positions_and_mask, read_records, targets
from pave.errors import ConfigError, RecordError
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train.attention import attend_with
from pave.train.batches import Sequences
from pave.train.collate import Collator
from pave.train.objective import AnswerModel
from pave.train.plans import Plan

IDS = st.lists(st.integers(1, 99), min_size=1, max_size=4)
DIALOGUES = st.lists(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=3), min_size=1, max_size=4)


def prompt_of(prefix, turns):
    """A 7 opens each further turn."""
    return Prompt(prefix, turns, [[7, *question] for question, _ in turns])


@given(st.lists(st.tuples(IDS, DIALOGUES), min_size=1, max_size=3))
def test_mask_positions_and_targets_by_definition(drawn):
    packed = [
        pack([prompt_of(prefix, turns) for turns in dialogues]) for prefix, dialogues in drawn
    ]
    positions, mask = positions_and_mask(packed)
    keep, labels = targets(packed)
    expected = []
    for row, (prefix, dialogues) in enumerate(drawn):
        owner = [0] * len(prefix)
        place = list(range(len(prefix)))
        for number, turns in enumerate(dialogues, 1):
            ids = prompt_of([], turns).dialogue()
            owner += [number] * len(ids)
            place += range(len(prefix), len(prefix) + len(ids))
        ids = packed[row].ids
        assert len(ids) == len(owner)
        assert positions[row, : len(ids)].tolist() == place
        for i in range(len(ids)):
            sees = [j <= i and owner[j] in (0, owner[i]) for j in range(len(ids))]
            assert mask[row, 0, i, : len(ids)].tolist() == sees
            assert not mask[row, 0, i, len(ids) :].any()
        assert mask[row, 0].any(1).all()  # no empty softmax, padding included
        assert [ids[i + 1] for i in packed[row].keep] == packed[row].labels
        answers = [token for turns in dialogues for _, answer in turns for token in answer]
        assert packed[row].labels == answers
        assert keep[row].nonzero().squeeze(1).tolist() == packed[row].keep
        expected += answers
    assert labels.tolist() == expected


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(RecordError, match="same clip"):
        pack([Prompt([1], [([2], [3])]), Prompt([9], [([2], [3])])])
    with pytest.raises(RecordError, match="an answer in every turn"):
        pack([Prompt([1], [([2], [])])])
    with pytest.raises(RecordError, match="question in every turn"):
        pack([Prompt([1], [([], [2])])])
    for kind in ("sliding_attention", "linear_attention"):
        base = tiny.base("qwen2_vl")
        base.config.get_text_config().layer_types = ["full_attention", kind]
        with pytest.raises(
            ConfigError,
            match=rf"{kind}, which would carry one question .* questions_per_video to 1",
        ):
            Collator(base, packed=True)
    Collator(base, packed=False)  # one dialogue a sequence works with any attention
    base = tiny.base("llava_next_video")
    base.config.get_text_config().sliding_window = 4096  # as Mistral says it
    with pytest.raises(ConfigError, match="sliding_attention"):
        Collator(base, packed=True)
    base = tiny.base()
    for attention in ("flash_attention_2", "flex_attention"):
        attend_with(base, attention)
        with pytest.raises(
            ConfigError, match=f"{attention} cannot be told on cpu .* load the base with sdpa"
        ):
            Collator(base, packed=True)


def _model(family, folder):
    """A tiny patched model whose every trainable weight matters, and its data."""
    base = tiny.base(family)
    toy.records(folder, clips=3, questions=3, with_channel=2)
    groups = group_by_clip(read_records(folder / "records.jsonl"))
    encoder = make_encoder("features", "file", {"dim": toy.DIM, "rate": 2.0})
    features = Features(base, {"features": encoder}, TokenCache(folder / "store"), frames=4)
    patched = PatchedModel(base)
    patched.new_patch(
        "features",
        encoder="file",
        encoder_settings={"dim": toy.DIM, "rate": 2.0},
        fusion={"hidden": 16, "heads": 2, "layers": 1},
        lora=LoraSpec(rank=4, alpha=8, dropout=0.0),
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in patched.trainable_parameters().values():
            parameter.normal_(0, 0.2)
    return base, groups, features, AnswerModel(patched).train()


def _gradients(model, loss):
    loss.backward()
    found = {
        name: p.grad.clone()
        for name, p in model.patched.trainable_parameters().items()
        if p.grad is not None
    }
    model.zero_grad()
    return found


@pytest.mark.parametrize("family", tiny.SHARING)
@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
def test_packed_loss_and_gradients_equal_separate_ones(family, attention, tmp_path, flex_on_cpu):
    base, groups, features, model = _model(family, tmp_path)
    attend_with(base, attention)
    packs = Sequences(base, features, groups, Plan([3, 3, 3], 3, seed=1), length=3)
    batch = Collator(base, packed=True)([packs[i] for i in range(3)])
    assert len(batch.inputs["attention_mask"].shape) == 4
    loss = model(batch)["loss"]
    assert model.ratio > 0
    gradients = _gradients(model, loss)

    singles = Sequences(base, features, groups, Plan([3, 3, 3], 1, seed=1), length=9)
    collate = Collator(base, packed=False)
    parts = [collate([singles[i]]) for i in range(9)]
    total = sum(part.labels.numel() for part in parts)
    apart = sum(model(part, num_items_in_batch=total)["loss"] for part in parts)
    assert loss.item() == pytest.approx(apart.item(), rel=1e-5)
    others = _gradients(model, apart)
    assert gradients.keys() == others.keys() == model.patched.trainable_parameters().keys()
    largest = max(gradient.abs().max() for gradient in others.values())
    for name, gradient in gradients.items():
        # A key bias has no gradient in exact arithmetic, so each tensor's own size is no scale for
        # rounding.
        scale = others[name].abs().max().clamp_min(0.01 * largest)
        assert (gradient - others[name]).abs().max() <= 1e-5 * scale, name


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_vl", "qwen3_vl", "video_llama_3"])
def test_loss_equals_the_models_own(family, tmp_path):
    base, groups, features, model = _model(family, tmp_path)
    model.eval()
    data = Sequences(base, features, groups, Plan([3, 3, 3], 1, seed=0), length=4)
    samples = [data[i] for i in range(4)]
    batch = Collator(base, packed=False)(samples)
    labels = torch.full_like(batch.inputs["input_ids"], -100)
    for row, sample in enumerate(samples):
        labels[row, torch.tensor(sample.packed.keep) + 1] = torch.tensor(sample.packed.labels)
    with torch.no_grad():
        loss = model(batch)["loss"]
        tokens = {name: getattr(batch, name) for name in ("visuals", "channels", "times")}
        own = model.patched(**batch.inputs, **tokens, labels=labels).loss
    assert loss.item() == pytest.approx(own.item(), rel=1e-5)


@pytest.mark.parametrize("family", tiny.SHARING)
def test_the_head_runs_on_answer_positions_only(family, tmp_path):
    base, groups, features, model = _model(family, tmp_path)
    shapes = []
    base.model.lm_head.register_forward_hook(
        lambda module, args, output: shapes.append((args[0].shape[0], output.shape))
    )
    data = Sequences(base, features, groups, Plan([3, 3, 3], 2, seed=0), length=4)
    batch = Collator(base, packed=True)([data[i] for i in range(4)])
    model(batch)["loss"].backward()
    answers = batch.labels.numel()
    assert answers < batch.inputs["input_ids"].numel() / 4
    assert shapes == [(answers, (answers, tiny.VOCAB))]


@pytest.mark.parametrize("family", tiny.UNSHARED)
def test_families_with_other_layers_train_on_one_dialogue_a_sequence(family, tmp_path):
    """Packing is refused; padding and company in a batch change nothing of a sequence."""
    base, groups, features, model = _model(family, tmp_path)
    with pytest.raises(ConfigError, match="attention.* questions_per_video to 1"):
        Collator(base, packed=True)
    data = Sequences(base, features, groups, Plan([3, 3, 3], 1, seed=1), length=6)
    collate = Collator(base, packed=False)
    samples = [data[i] for i in range(6)]
    assert len({len(sample.packed.ids) for sample in samples}) > 1
    loss = model(collate(samples))["loss"]
    gradients = _gradients(model, loss)
    parts = [collate([sample]) for sample in samples]
    total = sum(part.labels.numel() for part in parts)
    apart = sum(model(part, num_items_in_batch=total)["loss"] for part in parts)
    assert loss.item() == pytest.approx(apart.item(), rel=1e-5)
    others = _gradients(model, apart)
    assert gradients.keys() == others.keys() == model.patched.trainable_parameters().keys()
    largest = max(gradient.abs().max() for gradient in others.values())
    for name, gradient in gradients.items():
        assert (gradient - others[name]).abs().max() <= 1e-4 * largest, name


def test_a_dialogue_is_one_block_with_loss_on_each_answer(tmp_path):
    base = tiny.base()
    prompt = base.encode_prompt("<video>", [("a?", "bb"), ("c?", "d")])
    packed = pack([prompt])
    assert packed.ids == prompt.dialogue()
    assert base.decode(packed.labels) == "bbd"
    assert packed.blocks == [len(packed.ids) - packed.prefix]
