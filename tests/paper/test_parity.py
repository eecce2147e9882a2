"""A checkpoint of the authors, converted, computes what their own code computes.

In training as in answering.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers import paper
from helpers.paper import FACTS, close, without_placeholders
from pave.answer import Questions, Sampling, generate
from pave.bases import InputSpec
from pave.model import PatchedModel
from pave.paper import AUTHORS_INPUTS
from pave.patches import read_config
from pave.train.batches import Sequences
from pave.train.collate import Collator
from pave.train.objective import AnswerModel
from pave.train.plans import Plan

GOLD = paper.goldens()
PREFIX = "base_model.model.model."


@pytest.fixture(scope="module", params=["as converted", "saved and loaded"])
def patched(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    made = paper.converted(folder / "patch")
    if request.param == "saved and loaded":
        made = paper.model(made).save_patch(folder / "again")
    return paper.model(made, trainable=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def batch(patched, store):
    found = paper.records()
    features = paper.features(patched, store)
    features.precompute(found.records)
    data = Sequences(
        patched.base, features, [[record] for record in found.records], Plan([1, 1], 1, 0), 2
    )
    samples = sorted((data[0], data[1]), key=lambda sample: -len(sample.packed.ids))
    return samples, Collator(patched.base, packed=False)(samples)


def test_samples_without_media_are_listed():
    found = paper.records()
    assert [record.id for record in found.records] == ["q0", "q1"]
    assert list(found.missing) == ["q2"]


def test_token_ids_and_labels(patched, batch):
    for row, sample in enumerate(batch[0]):
        packed, pad = sample.packed, 273
        wanted = GOLD["batch.input_ids"][row].tolist()
        wanted = wanted[
            : next(
                (i for i in range(1, len(wanted)) if wanted[i - 1 : i + 1] == [pad, pad]),
                len(wanted) + 1,
            )
            - 1
        ]
        assert without_placeholders(packed.ids, patched.base.placeholder_id) == wanted
        labels = torch.full((len(packed.ids),), -100)
        labels[torch.tensor(packed.keep) + 1] = torch.tensor(packed.labels)
        spots = [i for i, token in enumerate(packed.ids) if token != patched.base.placeholder_id]
        gold = [
            label
            for label, token in zip(GOLD["batch.labels"][row].tolist(), wanted, strict=False)
            if token != -200
        ]
        assert labels[spots].tolist()[1:] == gold[1:]  # nothing predicts the first token


def test_pixels_tokens_and_queries(patched):
    for row, video in enumerate(("vidA", "vidB")):
        clip = paper.clip(patched, video)
        visual = patched.base.visual([clip])[0]
        close(
            clip.pixels["pixel_values_videos"][0, :, :, ::8, ::8][:, :, ::7, ::7],
            GOLD[f"batch.pixel_values_stride8.{row}.every7"],
            1e-6,
        )
        close(visual.query[:, ::29], GOLD[f"slow_feats.{row}.every29"])
        close(visual.grid()[:, ::29], GOLD[f"image_features_projected.{row}.every29"])
        assert visual.layout.total == len(visual.tokens) == paper.FRAMES * 14 * 15


def run(patched, inputs):
    """The loss, and the embeddings that went into the language model."""
    seen = []
    handle = patched.base.inner.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    try:
        return AnswerModel(patched)(inputs)["loss"], seen[0]
    finally:
        handle.remove()


def test_loss_embeddings_and_gradients(patched, batch):
    patched.eval()
    loss, embeds = run(patched, batch[1])
    close(loss.detach(), GOLD["train.loss"][0])
    own = batch[1].inputs["attention_mask"][:, ::41, None].bool()
    close(
        (embeds[:, ::41] * own).detach(),
        GOLD["train.inputs_embeds.every41"][:, : own.shape[1]] * own,
    )
    loss.backward()
    fusion = patched.patches["authors"].fusion
    from pave.paper import authors_name

    grads = {
        authors_name(name): p.grad for name, p in fusion.named_parameters() if p.grad is not None
    }
    wanted = {
        key.split("temporal_aggregator.")[1]: value
        for key, value in GOLD.items()
        if key.startswith("grad.")
    }
    assert grads.keys() == wanted.keys()
    for name, grad in grads.items():
        close(grad, wanted[name])
    norms = {
        key.replace(".language_model", ""): p.grad.norm()
        for key, p in patched.patches["authors"].lora.parameters().items()
    }
    gold = {
        k.removeprefix("gradnorm.").replace(".default", ""): v
        for k, v in GOLD.items()
        if k.startswith("gradnorm.")
    }
    assert norms.keys() == gold.keys()
    for name, norm in norms.items():
        close(norm, gold[name][0])
    patched.zero_grad()


def test_pixels_and_cached_tokens_give_the_same_logits(patched, batch):
    clips = [paper.clip(patched, video) for video in ("vidA", "vidB")]
    rows = [sample.packed.ids for sample in batch[0]]
    inputs = patched.base.batch(rows, clips, pad="right")
    side = batch[1].channels
    with torch.no_grad():
        logits = patched(side, [clip.times for clip in clips], **inputs).logits
        light = {key: value for key, value in inputs.items() if key != "pixel_values_videos"}
        cached = patched(
            side, [clip.times for clip in clips], patched.base.visual(clips), **light
        ).logits
    close(logits, cached, 2e-5)  # the tower sees two clips at once or one at a time
    expanded = max(len(row) for row in rows)
    close(logits[0, expanded - 130 : expanded][::13], GOLD["train.logits_last130.every13"][0])


CASES = {
    "audio_vidA": ("vidA", "audio", "vidA.pt", "What is the sound in the video?"),
    "audio_vidB": ("vidB", "audio", "vidB.pt", "What is the sound in the video?"),
    "video_vidA": ("vidA", "frames", "vidA_languagebind.pt", "How many instruments?"),
}


@pytest.mark.parametrize("case", CASES)
def test_answers(patched, case):
    video, channel, file, question = CASES[case]
    patched.eval()
    base, name = patched.base, f"infer_{case}"
    clip = paper.clip(patched, video)
    prompt = base.encode_prompt(clip.text, [(question, None)])
    assert (
        without_placeholders(prompt.ask(), base.placeholder_id)
        == GOLD[f"{name}.input_ids"][0].tolist()
    )
    side = [{"authors": paper.encoder(channel).encode(paper.DATA / "feat" / file)}]
    inputs = base.batch([prompt.ask()], [clip])
    with torch.no_grad():
        close(
            patched(side, [clip.times], **inputs).logits[:, -4:],
            GOLD[f"{name}.prefill_logits_last"],
        )
    wanted = FACTS[f"{name}.greedy_tokens"]
    options = {"do_sample": False, "max_new_tokens": len(wanted)}
    ids = patched.generate(side, [clip.times], **inputs, **options)
    assert ids[0, inputs["input_ids"].shape[1] :].tolist() == wanted


def test_evaluation_gives_the_same_answers(patched, store):
    patched.eval()
    record = paper.records().records[0]
    clip = paper.features(patched, store)[record]
    prompt = patched.base.encode_prompt(clip.clip.text, [("What is the sound in the video?", None)])
    asked = Questions(clip, prompt.prefix, [prompt.ask()[len(prompt.prefix) :]])
    assert generate(patched, [asked], Sampling(6))[0][0] == FACTS["infer_audio_vidA.greedy_tokens"]


def test_training_follows_the_authors(patched, batch):
    patched.eval()
    before = {name: p.detach().clone() for name, p in patched.trainable_parameters().items()}
    parameters = list(patched.trainable_parameters().values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    model, losses, norms = AnswerModel(patched), [], []
    for _ in range(5):
        optimizer.zero_grad()
        loss = model(batch[1])["loss"]
        losses.append(float(loss.detach()))
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, FACTS["max_grad_norm"])))
        optimizer.step()
    patched.load_trainable(before)
    patched.zero_grad()
    assert losses == pytest.approx(FACTS["adamw_lr1e-3_clip0.1_losses"], abs=1e-4)
    assert norms[:4] == pytest.approx(FACTS["grad_norms_before_clip"], abs=1e-4)


@pytest.mark.parametrize("newline", ["grid", "frame", "one_token", "no_token"])
def test_every_place_of_the_newline(newline, tmp_path):
    folder = paper.converted(tmp_path / "patch")
    manifest = json.loads((folder / "patch.json").read_text())
    manifest["inputs"]["newline"] = newline
    (folder / "patch.json").write_text(json.dumps(manifest))
    model = paper.model(folder)
    side = [{"audio": paper.encoder().encode(paper.DATA / "feat" / "vidA.pt")}]
    embeds, logits, length = prompted(model, side)
    assert length == FACTS["variants"][newline]
    close(embeds[:, ::37], GOLD[f"variant.newline_{newline}.every37th"])
    if newline == "grid":
        with model.disable_patches():
            close(prompted(model, side)[0][:, ::7], GOLD["variant.no_patch_grid.every7th"])
        close(prompted(model, None)[0][:, ::7], GOLD["variant.no_patch_grid.every7th"])


def prompted(model: PatchedModel, side):
    """Embeddings, logits and length of a prompt."""
    clip = paper.clip(model, "vidA")
    prompt = model.base.encode_prompt(clip.text, [("What is the sound in the video?", None)])
    seen = []
    handle = model.base.inner.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with torch.no_grad():
        logits = model(side, [clip.times], **model.base.batch([prompt.ask()], [clip])).logits
    handle.remove()
    return seen[0], logits, len(prompt.ask())


@pytest.mark.parametrize("pool", ["average", "max", "bilinear"])
def test_every_pooling(pool):
    base = paper.base()
    base.use(AUTHORS_INPUTS.model_copy(update={"pool": pool}))
    model = PatchedModel(base)
    visual = base.visual([paper.clip(model, "vidA")])[0]
    after, before = FACTS["variants"][f"pool_{pool}"]
    assert [list(visual.grid().shape), list(visual.query.shape)] == [after, before]
    close(visual.query[:, ::13], GOLD[f"variant.pool_{pool}.before_mlp_every13th"])
    assert prompted(model, None)[1].isfinite().all()
    model.unpatch()
    base.use(InputSpec())
    assert "apply_pooling" not in base.inner.__dict__


def test_the_head_is_cut_to_the_tokenizer():
    base = paper.base()
    assert (
        base.model.lm_head.weight.shape[0]
        == FACTS["config_vocab_after_load"]
        == base.config.get_text_config().vocab_size
    )
    assert base.model.get_input_embeddings().weight.shape[0] == FACTS["embed_rows_after_load"] + 2


def test_the_folder_says_how_the_base_was_fed(tmp_path: Path):
    config = read_config(paper.converted(tmp_path / "patch"))
    assert config.inputs == AUTHORS_INPUTS
    assert (config.channel, config.encoder.name, config.lora.rank, config.lora.alpha) == (
        "audio",
        "official",
        64,
        16,
    )
