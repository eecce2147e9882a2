"""The reader of the authors' files is exact about names and refuses what does not fit."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from pave.errors import ChannelError, ConfigError, PatchError
from pave.fusion import Fusion
from pave.fusion_costs import fusion_parameters
from pave.paper import (
    authors_name,
    fusion_config,
    list_configs,
    load_fusion,
    side_from_batch,
    side_from_disk,
)

CONFIGS = json.loads(
    (Path(__file__).parents[1] / "data" / "fusion" / "official_configs.json").read_text()
)
TINY = {
    "input_dim": 10,
    "output_dim": 16,
    "embed_dim": 12,
    "fast_input_mapping_type": "linear",
    "query_input_dim": 6,
    "cross_attn_hidden_dim": 8,
    "num_cross_attn_head": 2,
    "num_cross_attn_layer": 2,
    "use_3d_rope": False,
    "use_output_norm": True,
    "use_slow_feat_before_mlp": True,
}


def official_state(prefix="", part="temporal_aggregator", seed=0, **kwargs):
    torch.manual_seed(seed)
    fusion = Fusion(fusion_config({**TINY, **kwargs}))
    return {
        f"{prefix}{part}.{authors_name(name)}": torch.randn_like(value)
        for name, value in fusion.state_dict().items()
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_released_configs(name):
    entry = CONFIGS[name]
    config = fusion_config(name)
    assert (
        config
        == fusion_config(entry["python_class"])
        == fusion_config(entry["kwargs"])
        == fusion_config(entry)
    )
    assert fusion_parameters(config) == entry["num_params"]
    assert (
        fusion_parameters(config, idle=False)
        == entry["num_params"] - entry["num_params_never_used_v_linear"]
    )
    assert config.tie_kv and config.alignment == "groups" and config.query == "pre_projector"
    assert (config.rope == "3d") == name.endswith("V5_1_2")


def test_names_shapes_and_initial_values():
    entry = CONFIGS["VideoFeatModelArgumentsV5_1_3_audio_7B_3layers"]
    state = {
        authors_name(k): v
        for k, v in Fusion(fusion_config("V5_1_3_audio_7B_3layers")).state_dict().items()
    }
    assert {
        f"base_model.model.model.temporal_aggregator.{k}": list(v.shape) for k, v in state.items()
    } == entry["state_dict"]
    assert {k for k, v in state.items() if not v.any()} == set(entry["zero_at_init"])
    assert {k for k, v in state.items() if bool((v == 1).all())} == set(entry["ones_at_init"])


def test_the_published_size_and_later_names():
    assert fusion_parameters(fusion_config("V5_1_3_audio_languagebind_7B")) == 8_996_352
    assert fusion_parameters(fusion_config("V5_1_3_egoexo_7B")) == 9_061_888
    assert fusion_parameters(fusion_config("V5_1_3_audio_languagebind_3layers")) == 8_073_344
    assert (
        2 * fusion_parameters(fusion_config("V5_1_3_multi_side_audio_languagebind_7B"))
        == 17_992_704
    )
    assert fusion_config({"temporal_aggregator_type": "ssmv5", "kwargs": TINY}) == fusion_config(
        TINY
    )
    assert all(fusion_config(name) for name in list_configs())


def test_constructor_defaults():
    bare = {"input_dim": 10, "output_dim": 16, "embed_dim": 12, "fast_input_mapping_type": "linear"}
    config = fusion_config({**bare, "cross_attn_hidden_dim": 256, "num_cross_attn_head": 2})
    assert (config.rope, config.layers, config.dropout, config.query_dim) == ("3d", 1, 0.1, 896)
    assert (config.output_norm, config.query, config.output_layers) == (False, "projected", 2)


def test_rarely_used_arguments():
    assert fusion_config({**TINY, "mlp_depth": 1}).output_layers == 1
    assert (
        fusion_config({**TINY, "mlp_depth": 1, "use_output_norm": False, "output_dim": 99}).out_dim
        == 16
    )
    assert fusion_config({**TINY, "use_output_mlp": False, "output_dim": 8}).output_layers == 0
    assert fusion_config(
        {**TINY, "query_type": "learnable", "chunks_number": 4, "number_of_query": 9}
    ).learnable_query == (
        4,
        9,
    )
    state = official_state(train_addition_start_end_tokens=True, query_type="learnable")
    assert {"temporal_aggregator.start_end_tokens", "temporal_aggregator.learnable_query"} <= set(
        state
    )
    load_fusion(
        state,
        fusion_config({**TINY, "train_addition_start_end_tokens": True, "query_type": "learnable"}),
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("V9", "there is no official fusion config 'V9'"),
        ({**TINY, "temporal_aggregator_type": "ssm"}, "'ssm' is not supported"),
        ({**TINY, "hidden": 3}, "unknown arguments of an official fusion: hidden"),
        ({**TINY, "fast_input_mapping_type": "conv"}, "linear"),
        ({**TINY, "query_type": "text"}, "query_type"),
        ({**TINY, "embed_dim": None}, "missing: embed_dim"),
        ({**TINY, "mlp_depth": 1, "output_dim": 99}, "2 \\* hidden"),
    ],
)
def test_configs_that_do_not_exist(wrong, words):
    with pytest.raises(ConfigError, match=words):
        fusion_config(wrong)


@pytest.mark.parametrize("prefix", ["base_model.model.model.", "model.", ""])
@pytest.mark.parametrize("where", ["dict", "non_lora_trainables.bin", "mm_projector.bin", "folder"])
def test_every_prefix_and_every_place(prefix, where, tmp_path):
    state = official_state(prefix)
    noise = {"base_model.model.model.layers.0.self_attn.gate_proj.weight": torch.ones(2)}
    source = {**state, **noise}
    if where != "dict":
        file = tmp_path / (where if where.endswith(".bin") else "non_lora_trainables.bin")
        torch.save(source, file)
        source = tmp_path if where == "folder" else file
    fusion = load_fusion(source, fusion_config(TINY))
    for name, value in fusion.state_dict().items():
        assert torch.equal(value, state[f"{prefix}temporal_aggregator.{authors_name(name)}"])


def test_two_aggregators_are_kept_apart_and_bf16_becomes_float32():
    one = {k: v.bfloat16() for k, v in official_state("model.").items()}
    two = official_state("model.", part="temporal_aggregator2", seed=1)
    config = fusion_config(TINY)
    first, second = (
        load_fusion({**one, **two}, config, part)
        for part in ("temporal_aggregator", "temporal_aggregator2")
    )
    assert first.dtype == torch.float32
    assert torch.equal(
        first.side_map.weight, one["model.temporal_aggregator.input_mapping.weight"].float()
    )
    assert torch.equal(
        second.side_map.weight, two["model.temporal_aggregator2.input_mapping.weight"]
    )
    with pytest.raises(PatchError, match="holds no 'temporal_aggregator2'"):
        load_fusion(one, config, "temporal_aggregator2")


@pytest.mark.parametrize(
    "key", [authors_name(name) for name in Fusion(fusion_config(TINY)).state_dict()]
)
def test_each_tensor_is_needed_in_its_shape(key):
    state, config = official_state(), fusion_config(TINY)
    full = f"temporal_aggregator.{key}"
    with pytest.raises(PatchError, match=f"missing {key}"):
        load_fusion({k: v for k, v in state.items() if k != full}, config)
    for damaged in (torch.zeros(0), state[full][:1].repeat(5, *[1] * (state[full].dim() - 1))):
        with pytest.raises(PatchError, match=f"{key} has shape"):
            load_fusion({**state, full: damaged}, config)
    with pytest.raises(PatchError, match=f"{key} holds NaN"):
        load_fusion({**state, full: state[full] * torch.nan}, config)


def test_strangers_are_named():
    state = official_state()
    with pytest.raises(PatchError, match="unexpected cross_attn_layers.9.ffn.1.weight"):
        load_fusion(
            {**state, "temporal_aggregator.cross_attn_layers.9.ffn.1.weight": torch.zeros(2)},
            fusion_config(TINY),
        )
    with pytest.raises(PatchError, match="has shape .*with this config"):
        load_fusion(state, fusion_config("V5_1_3"))
    with pytest.raises(PatchError, match="and 3 more"):
        load_fusion(
            state,
            fusion_config(
                {**TINY, "num_cross_attn_layer": 3, "train_addition_start_end_tokens": True}
            ),
        )
    with pytest.raises(PatchError, match="not a tensor of floats"):
        load_fusion(
            {**state, "temporal_aggregator.output_norm.bias": torch.zeros(16, dtype=torch.int64)},
            fusion_config(TINY),
        )
    with pytest.raises(PatchError, match="begin with nothing"):
        load_fusion({}, fusion_config(TINY))


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_files_that_cannot_be_trusted(tmp_path, capsys):
    config = fusion_config(TINY)
    with pytest.raises(PatchError, match="is missing"):
        load_fusion(tmp_path, config)
    evil = tmp_path / "non_lora_trainables.bin"
    evil.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(PatchError, match="cannot be read"):
        load_fusion(evil, config)
    torch.save(torch.zeros(2), evil)
    with pytest.raises(PatchError, match="holds a Tensor"):
        load_fusion(evil, config)
    evil.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(PatchError, match="cannot be read"):
        load_fusion(evil, config)
    assert "code ran" not in capsys.readouterr().out


def test_side_features_as_on_disk():
    audio = torch.randn(7, 4)
    assert torch.equal(side_from_disk(audio, "audio"), audio[:, None])
    assert torch.equal(side_from_disk(audio.view(1, 7, 4), "audio"), audio[:, None])
    video = torch.randn(3, 5, 4)
    assert torch.equal(side_from_disk(video, "languagebind"), video[:, 1:])
    assert torch.equal(side_from_disk(video, "languagebind", exclude_cls=False), video)
    assert torch.equal(side_from_disk(video[:, 1:], "languagebind"), video[:, 1:])
    assert side_from_disk(torch.zeros(1, 18432, 2), "3d_feature").shape == (32, 576, 2)
    assert side_from_disk(torch.zeros(1, 24, 2), "3d_feature", vhw=(6, 2, 2)).shape == (6, 4, 2)
    exo = torch.randn(2, 3, 4, 5)
    assert torch.equal(
        side_from_disk(exo, "exo"),
        torch.stack([exo[0, 0], exo[1, 0], exo[0, 1], exo[1, 1], exo[0, 2], exo[1, 2]]),
    )
    batch = torch.randn(1, 2, 6, 3, 4)
    assert torch.equal(side_from_batch(batch, [5])[0][2, 7], batch[0, :, 2, 1, 3])


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((4,), "audio"), ((2, 3), "languagebind"), ((1, 100, 4), "3d_feature"), ((2, 3), "smell")],
)
def test_side_features_of_the_wrong_shape(shape, kind):
    with pytest.raises(ChannelError, match=kind):
        side_from_disk(torch.zeros(shape), kind)
