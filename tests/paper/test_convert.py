"""Every released form of a checkpoint becomes a patch folder.

What does not fit is refused in words that help.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers import paper, tiny
from helpers.paper import KWARGS
from pave.bases import InputSpec, load_base
from pave.errors import BaseError, ConfigError, PatchError
from pave.fusion import Fusion
from pave.model import PatchedModel
from pave.paper import AUTHORS_INPUTS, authors_name, configs, convert, fusion_config
from pave.paper.adapter import read_adapter
from pave.patches import LoraSpec, read_config

LORA = paper.ROOT / "pave_tiny_lora"


@pytest.fixture(scope="module")
def base():
    return load_base(paper.BASE, weights=False)


@pytest.fixture
def checkpoint(tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(LORA, tmp_path / "pave_misleading_name"))


def weights(name: str, part: str = "temporal_aggregator", seed: int = 0) -> dict[str, torch.Tensor]:
    """A released config's tensors under the authors' keys."""
    with torch.device("meta"):
        state = Fusion(fusion_config(name)).state_dict()
    generator = torch.Generator().manual_seed(seed)
    prefix = f"base_model.model.model.{part}."
    return {
        prefix + authors_name(key): torch.randn(value.shape, generator=generator)
        for key, value in state.items()
    }


def test_fusion_only(base, tmp_path):
    (done,) = convert(
        paper.ROOT / "pave_tiny_adaptor", base, KWARGS, tmp_path / "patch", channel="audio"
    )
    config = read_config(done.folder)
    assert (config.lora, config.inputs, done.lora_parameters) == (None, AUTHORS_INPUTS, 0)
    model = paper.model(done.folder)
    assert model.patches["authors"].fusion.config.tie_kv


def test_pickled_adapters_and_later_names(base, checkpoint, tmp_path):
    from safetensors.torch import load_file

    torch.save(
        load_file(checkpoint / "adapter_model.safetensors"), checkpoint / "adapter_model.bin"
    )
    (checkpoint / "adapter_model.safetensors").unlink()
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(
        json.dumps({**config, "temporal_aggregator_type": "ssmv5"})
    )
    convert(
        checkpoint.parent,
        base,
        {"temporal_aggregator_type": "ssmv5", "kwargs": KWARGS},
        tmp_path / "a",
        "audio",
    )
    convert(LORA, base, KWARGS, tmp_path / "b", "audio")
    files = ("fusion.safetensors", "lora/adapter_model.safetensors")
    assert [(tmp_path / "a" / f).read_bytes() for f in files] == [
        (tmp_path / "b" / f).read_bytes() for f in files
    ]


def test_two_side_channels_add_up(base, checkpoint, tmp_path):
    state = torch.load(checkpoint / "non_lora_trainables.bin", weights_only=True)
    second = {
        key.replace("aggregator.", "aggregator2."): value * 0.9 for key, value in state.items()
    }
    torch.save({**state, **second}, checkpoint / "non_lora_trainables.bin")
    done = convert(checkpoint, base, KWARGS, tmp_path / "both")
    assert [(patch.folder.name, patch.channel, patch.lora_parameters > 0) for patch in done] == [
        ("frames", "frames", False),
        ("audio", "audio", True),
    ]
    model = PatchedModel(paper.base())
    for patch in done:
        model.load_patch(patch.folder, name=patch.channel)
    tokens = paper.encoder().encode(paper.DATA / "feat" / "vidA.pt")
    visual = model.base.visual([paper.clip(model, "vidA")])
    both = {"frames": tokens, "audio": tokens}
    parts = [
        model.seam.fuse(visual, [{name: tokens}])[0].tokens - visual[0].tokens for name in both
    ]
    total = model.seam.fuse(visual, [both])[0].tokens - visual[0].tokens
    paper.close(total, parts[0] + parts[1], 1e-5)
    assert parts[0].abs().max() > 0.01 and not torch.equal(parts[0], parts[1])


@pytest.mark.parametrize(
    ("made", "named", "fits"),
    [
        ("V5_1_3_egoexo", "V5_1_3_3d", "configs that would fit: V5_1_3_egoexo"),
        ("V5_1_3_3d", "V5_1_3_egoexo", "V5_1_3_3d, V5_1_3_audio_languagebind"),
        (
            "V5_1_3_audio_languagebind_3layers",
            "V5_1_3_audio_languagebind",
            "V5_1_3_audio_languagebind_3layers",
        ),
        (
            "V5_1_3_audio",
            "V5_1_3_multi_side_audio_languagebind_7B",
            "has one side channel .* V5_1_3_audio",
        ),
    ],
)
def test_names_that_mislead(base, tmp_path, made, named, fits):
    torch.save(weights(made), tmp_path / "non_lora_trainables.bin")
    with pytest.raises(PatchError, match=fits):
        convert(tmp_path, base, named, tmp_path / "out")
    with pytest.raises(ConfigError, match=f"name the authors' config.*{made}"):
        convert(tmp_path, base, None, tmp_path / "out")
    with pytest.raises(PatchError, match="for a base of widths 1152 and 896"):
        convert(tmp_path, base, made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_that_make_no_patch(base, checkpoint, tmp_path):
    def refused(file: str, words: str, **changes) -> None:
        path = checkpoint / file
        before = path.read_text()
        path.write_text(json.dumps({**json.loads(before), **changes}))
        with pytest.raises(PatchError, match=words):
            convert(checkpoint, base, KWARGS, tmp_path / "out", "audio")
        path.write_text(before)

    refused("config.json", "changes the number of tokens", feat_combine_method="concat")
    refused("config.json", "'conv' is not supported", temporal_aggregator_type="conv")
    refused("config.json", "mm_newline_position", mm_newline_position="everywhere")
    refused("adapter_config.json", "use_dora", use_dora=True)
    refused("adapter_config.json", "r or lora_alpha|has shape", r=32)
    (checkpoint / "adapter_model.safetensors").unlink()
    torch.save(
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": "words"},
        checkpoint / "adapter_model.bin",
    )
    with pytest.raises(
        PatchError, match="adapter_model.bin: .*lora_A.weight is a str, not a tensor"
    ):
        convert(checkpoint, base, KWARGS, tmp_path / "out", "audio")
    (checkpoint / "adapter_model.bin").unlink()
    with pytest.raises(PatchError, match="neither"):
        convert(checkpoint, base, KWARGS, tmp_path / "out", "audio")
    with pytest.raises(ConfigError, match="name it with --channel: audio, frames"):
        convert(paper.ROOT / "pave_tiny_adaptor", base, KWARGS, tmp_path / "out")
    with pytest.raises(ConfigError, match="'smell'"):
        convert(paper.ROOT / "pave_tiny_adaptor", base, KWARGS, tmp_path / "out", "smell")
    with pytest.raises(PatchError, match="is an archive"):
        convert(tmp_path / "pave.zip", base, KWARGS, tmp_path / "out")


def test_patches_of_other_layouts_do_not_mix(tmp_path):
    folder = paper.converted(tmp_path / "patch")
    model = PatchedModel(paper.base())
    model.new_patch(None, name="plain", lora=LoraSpec(rank=2))
    with pytest.raises(
        PatchError, match="other inputs .newline 'grid' instead of 'one_token'.* than plain"
    ):
        model.load_patch(folder)
    model.delete_patch("plain")
    model.load_patch(folder)
    assert model.base.inputs == AUTHORS_INPUTS
    model.unpatch()
    assert model.base.inputs == InputSpec() and model.base.family.native


def test_other_families_are_fed_in_their_own_way_only():
    base = tiny.base("qwen2_vl")
    with pytest.raises(BaseError, match="only be fed in its own way"):
        base.use(AUTHORS_INPUTS)
    base.use(InputSpec())


def test_the_adapter_alone_loads_in_plain_peft(tmp_path):
    from peft import PeftModel

    folder = paper.converted(tmp_path / "patch")
    plain = PeftModel.from_pretrained(paper.base().model, folder / "lora")
    own = paper.model(folder).patches["authors"].lora.parameters()
    state = {
        key.replace(".default", ""): value
        for key, value in plain.state_dict().items()
        if "lora_" in key
    }
    assert state.keys() == own.keys()
    assert all(torch.equal(state[key], own[key]) for key in own)


GOOD_ARGUMENTS = {
    "input_dim": 10,
    "output_dim": 32,
    "embed_dim": 16,
    "cross_attn_hidden_dim": 16,
    "query_input_dim": 24,
    "fast_input_mapping_type": "linear",
}
ODD_VALUES = (0, None, "x", [], {}, -1, 10**12, float("nan"), float("inf"), 1.5)


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_odd_arguments_of_a_fusion_are_one_line(value: object):
    """Whatever a file of arguments holds, it makes a config or one `ConfigError`."""
    odd: list[dict] = [{"kwargs": value}, {1: value}, {"temporal_aggregator_type": value}]
    odd += [{**GOOD_ARGUMENTS, name: value} for name in configs._ARGUMENTS]
    for arguments in odd:
        try:
            fusion_config(arguments)
        except ConfigError as error:
            assert "\n" not in str(error) and "pydantic" not in str(error)


@pytest.mark.parametrize("name", ["r", "lora_alpha", "lora_dropout"])
@pytest.mark.parametrize("value", ["x", [], -1, 10**9, float("nan"), 0.5e400, {}], ids=repr)
def test_an_odd_lora_is_one_line(base, tmp_path: Path, name: str, value: object):
    settings = {"r": 2, "lora_alpha": 1, "lora_dropout": 0.0, name: value}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({key: torch.zeros(2, 32)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(PatchError) as caught:
        read_adapter(tmp_path, base)
    assert "\n" not in str(caught.value)
