"""What a recipe costs: published parameter counts to the last digit, shares, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from pave.errors import BaseError, ConfigError, PatchError
from pave.train.estimate import estimate
from pave.train.estimate_plan import plan

# PAVE's numbers: fusion, LoRA of rank 64, both.
COUNTS = {
    "V5_1_3_audio_languagebind": (6_235_776, 35_192_832, 41_428_608),
    "V5_1_3_audio_languagebind_7B": (8_996_352, 161_480_704, 170_477_056),
    "V5_1_3_audio_languagebind_7B_3layers": (10_833_920, 161_480_704, 172_314_624),
    "V5_1_3_egoexo_7B": (9_061_888, 161_480_704, 170_542_592),
    "V5_1_3_multi_side_audio_languagebind_7B": (17_992_704, 161_480_704, 179_473_408),
}


@pytest.mark.parametrize("name", COUNTS)
def test_published_counts(name):
    found = estimate(plan(name))
    assert (
        found.parameters["fusion"],
        found.parameters["lora"],
        found.parameters["trained"],
    ) == COUNTS[name]
    assert found.tokens["visual"] == 32 * 14 * 15


def test_operations_of_a_7b_base():
    sound, scene = (estimate(plan(f"V5_1_3_{name}_7B")) for name in ("audio_languagebind", "3d"))
    assert 0.0007 < sound.share < scene.share < 0.0014
    # Worked out by hand in multiply-adds: 48.8 T in the language model, 10.3 T in the tower (10.7
    # with the projector).
    assert sound.flops["language_model"] / 2e12 == pytest.approx(48.8, abs=0.05)
    assert sound.flops["tower"] / 2e12 == pytest.approx(10.7, abs=0.1)
    assert sound.flops["patch"] / 2e9 == pytest.approx(46.5, abs=0.1)


def test_a_recipe_file(tmp_path):
    recipe = {
        "base": "lmms-lab/llava-onevision-qwen2-0.5b-ov",
        "records": "r.jsonl",
        "out": "o",
        "channel": "audio",
        "encoder": "mel",
        "lora": {"rank": 64, "alpha": 16},
        "inputs": {"newline": "grid", "chat": "llava"},
        "batch_clips": 2,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    found = estimate(plan(str(path), side=(300, 1)))
    assert (found.parameters["lora"], found.tokens["side"], found.batch) == (35_192_832, 300, 2)
    again = estimate(plan(str(path), batch=4))
    assert (
        again.memory["activations"] == 2 * found.memory["activations"] and not again.checkpointing
    )
    for layers, hidden in (
        (0, 896),
        (1, 448),
    ):  # an output MLP that needs the base's width to be as it is
        path.write_text(
            yaml.safe_dump(
                {**recipe, "fusion": {"hidden": hidden, "heads": 7, "output_layers": layers}}
            )
        )
        assert estimate(plan(str(path))).parameters["fusion"] != found.parameters["fusion"] > 0
    alone = {**recipe, "channel": None, "encoder": None}
    both = {"audio": {"encoder": "mel"}, "views": {"encoder": "mel", "fusion": {"side_dim": 8}}}
    path.write_text(yaml.safe_dump({**alone, "channels": both, "lora_per_channel": True}))
    joint = estimate(plan(str(path), side=(300, 1)))
    assert joint.parameters["lora"] == 2 * 35_192_832 and joint.tokens["side"] == 600
    assert joint.parameters["fusion"] > found.parameters["fusion"]
    path.write_text(yaml.safe_dump(alone))
    control = estimate(plan(str(path)))
    assert (control.parameters["fusion"], control.share, control.parameters["lora"]) == (
        0,
        0,
        35_192_832,
    )


def test_long_questions_cost_what_their_tokens_cost():
    """One more token a question, of 8 questions: 8 more tokens of a sequence, 24 layers."""
    wanted = replace(plan("V5_1_3", base="0.5b", batch=1), questions=8, checkpointing=False)
    costs = []
    for words in (10, 11, 12):
        found = estimate(replace(wanted, question_tokens=words))
        assert found.tokens["prompt"] == found.tokens["visual"] + words
        costs.append(found.memory["activations"])
    # Fused attention: no square of tokens.
    assert costs[1] - costs[0] == costs[2] - costs[1] > 8 * 24 * 8 * 896


def test_what_cannot_be_estimated(tmp_path):
    with pytest.raises(ConfigError, match="neither a recipe nor a config"):
        plan("nothing.yaml")
    with pytest.raises(ConfigError, match="needs a base with out_dim 3584, but this one has 896"):
        estimate(plan("V5_1_3_7B", base="0.5b"))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (
            {"fusion": {"hidden": "wide"}},
            ConfigError,
            "recipe.yaml: fusion.hidden: Input should be a valid integer",
        ),
        (
            {"fusion": {"hiden": 3}},
            ConfigError,
            "recipe.yaml: fusion.hiden: there is no such field",
        ),
        (
            {"fusion": {"layers": 10**9}},
            ConfigError,
            "fusion.layers: Input should be less than or equal to 1000",
        ),
        (
            {"lora": {"targets": ["nope"]}},
            PatchError,
            "no module of the language model is called nope",
        ),
    ],
)
def test_a_wrong_recipe_is_named_in_words(tmp_path, settings, error, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "base": "0.5b",
                "records": "r",
                "out": "o",
                "channel": "audio",
                "encoder": "mel",
                **settings,
            }
        )
    )
    with pytest.raises(error, match=words) as caught:
        estimate(plan(str(path)))
    assert "\n" not in str(caught.value)


def test_an_empty_base_is_not_the_recipes_own():
    with pytest.raises(BaseError, match="an empty name: neither a folder"):
        estimate(plan("V5_1_3", base=""))


def test_a_question_gate_doubles_what_the_language_model_keeps():
    without = plan("V5_1_3_audio_languagebind", batch=1)
    gated = tuple(fusion.model_copy(update={"question_gate": True}) for fusion in without.fusions)
    found, plain = estimate(replace(without, fusions=gated)), estimate(without)
    assert found.parameters["fusion"] == plain.parameters["fusion"] + 896 + 1  # u and b
    assert found.flops == plain.flops and found.tokens == plain.tokens
    # Checkpointed, and so what is kept of a clip is the language model's; the rest is there once.
    bare = estimate(replace(without, batch=2))
    assert found.memory["activations"] == bare.memory["activations"]
