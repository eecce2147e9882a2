"""Folders in the shape of published repositories, shrunk: loaded as they say, or refused clearly.

Every config.json has the keys of the real one. What comes out is compared with sums of tokens, with
LLaVA's rule for newlines written out by hand, and with the same folder's loaded weights.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import paper, tiny, toy
from pave.bases import Base, InputSpec, load_base
from pave.errors import BaseError
from pave.extract import ExtractConfig, extract
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train import train
from pave.train.estimate import estimate
from pave.train.estimate_plan import plan

# What LLaVA-Video's config.json says of the feeding, beside LLaVA-OneVision's keys.
LLAVA_VIDEO = {
    "model_type": "llava",
    "add_faster_video": False,
    "add_time_instruction": False,
    "force_sample": True,
    "mm_newline_position": "grid",
    "mm_patch_merge_type": "spatial_unpad",
    "mm_resampler_type": None,
    "mm_spatial_pool_mode": "average",
    "mm_spatial_pool_stride": 2,
}
AUTO_MAP = {"AutoConfig": "configuration.Config", "AutoModelForCausalLM": "modeling.Model"}
FRAMES = 3
RANK_2 = {"rank": 2}


def say(folder: Path, **settings: Any) -> Path:
    """Change keys of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    """A folder in LLaVA's own naming."""
    return Path(shutil.copytree(paper.BASE, tmp_path / "LLaVA-Video-7B-Qwen2"))


def saved(family: str, folder: Path) -> Path:
    """A tiny base's folder."""
    base = tiny.base(family)
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def by_hand(base: Base) -> torch.Tensor:
    """A clip's tokens by LLaVA's rules: averages of 2 x 2, and a newline after each row."""
    model = base.model.model
    pixels = base.clip(tiny.frames(FRAMES)).pixels["pixel_values_videos"][0]
    with torch.no_grad():
        hidden = model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1]
        tokens = model.multi_modal_projector(hidden)  # [F, g * g, D]
    side = round(tokens.shape[1] ** 0.5)
    rows = []
    for frame in tokens.unflatten(1, (side, side)):
        for top in range(0, side - 1, 2):
            pair = frame[top : top + 2]  # [2, g, D]
            cells = [pair[:, left : left + 2].mean((0, 1)) for left in range(0, side - 1, 2)]
            rows += [*cells, model.image_newline]
    return torch.stack(rows)


def test_llava_video_is_fed_as_it_says(llava: Path) -> None:
    base = load_base(say(llava, **LLAVA_VIDEO), dtype="fp32")
    clip = base.clip(tiny.frames(FRAMES))
    visual = base.visual([clip])[0]
    wanted = by_hand(base)
    # 27 x 27 patches pool to 13 x 13, and each row ends in a newline.
    assert base.inputs.newline == "grid" and base.inputs.pool == "average"
    assert clip.text.count("<video>") == FRAMES * 13 * 14 == wanted.shape[0]
    torch.testing.assert_close(visual.tokens, wanted)


def test_a_sentence_on_time_is_told_of(llava: Path, caplog: pytest.LogCaptureFixture) -> None:
    """LLaVA-Video may be trained with one before its questions, which nobody would miss."""
    load_base(say(llava, **LLAVA_VIDEO), weights=False)
    assert "add_time_instruction" not in caplog.text
    load_base(say(llava, add_time_instruction=True), weights=False)
    assert "length and the times of its frames stood before each question" in caplog.text


def test_what_asks_for_nothing_is_fed_in_the_bases_way(llava: Path, tmp_path: Path) -> None:
    base = load_base(say(llava, **LLAVA_VIDEO), dtype="fp32")
    own = base.inputs
    assert InputSpec().asked is None
    base.use(InputSpec().asked)  # settings of a run that leave `inputs` out
    assert base.inputs == own == base.own_inputs
    patched = PatchedModel(base)
    patched.new_patch(None, lora=LoraSpec(rank=2))
    patched.save_patch(tmp_path / "patch")
    inputs = json.loads((tmp_path / "patch" / "patch.json").read_text())["inputs"]
    assert (inputs["newline"], inputs["pool"]) == ("grid", "average")
    # A patch that was made on Hugging Face's way means that, on this base too.
    base.use(InputSpec())
    assert base.inputs.native and base.family.layout(FRAMES).total == FRAMES * 14 * 14 + 1
    patched.unpatch()
    assert base.inputs == own


def test_runs_that_leave_inputs_out_follow_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = InputSpec(newline="grid", pool="average", chat="llava", resize="pillow")
    made = tiny.base()
    base = Base(made.model, made.tokenizer, made.family, settings=made.settings, inputs=own)
    toy.records(tmp_path, clips=2, questions=1)
    config = toy.config(tmp_path, "run", steps=1)
    patch = train(config, base=base, progress=False).patch
    assert json.loads((patch / "patch.json").read_text())["inputs"]["newline"] == "grid"
    assert base.inputs == own
    fed = []
    monkeypatch.setattr(
        base, "visual", lambda clips, *_: fed.append(base.inputs) or Base.visual(base, clips)
    )
    wanted = ExtractConfig(
        records=str(tmp_path / "records.jsonl"),
        cache=str(tmp_path / "store"),
        visual=True,
        base="tiny",
        frames=2,
    )
    extract(wanted, base=base)
    assert set(fed) == {own} and base.inputs == own


def test_an_estimate_counts_what_is_fed(llava: Path, tmp_path: Path) -> None:
    say(llava, **LLAVA_VIDEO)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"base": str(llava), "records": "r", "out": "o", "lora": RANK_2}))
    assert estimate(plan(str(recipe))).tokens["visual"] == 32 * 13 * 14


@pytest.mark.parametrize(
    ("says", "newline"),
    [
        ({"mm_newline_position": "frame"}, "frame"),
        ({"mm_newline_position": "no_token"}, "no_token"),
        # Without "unpad" LLaVA's code puts no newline at the end; without "spatial" none at all.
        ({"mm_patch_merge_type": "spatial"}, "no_token"),
        ({"mm_patch_merge_type": "flat", "mm_newline_position": "grid"}, "no_token"),
        ({}, "one_token"),
    ],
)
def test_newlines(llava: Path, says: dict[str, Any], newline: str) -> None:
    base = load_base(say(llava, **says), weights=False)
    assert base.inputs.newline == newline
    assert base.inputs.native == (newline == "one_token")


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({"add_faster_video": True}, "add_faster_video is True"),
        ({"mm_spatial_pool_stride": 4}, "mm_spatial_pool_stride is 4 .* reads 2;"),
        ({"mm_resampler_type": "spatial_pool"}, "mm_resampler_type is 'spatial_pool'"),
        ({"mm_newline_position": "corner"}, "mm_newline_position is 'corner'"),
        ({"mm_projector_type": "mlp3x_gelu"}, "mm_projector_type is 'mlp3x_gelu'"),
        ({"architectures": ["LlavaLlamaForCausalLM"]}, "reads .'LlavaQwenForCausalLM'.;"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config is"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_scaling is .* pave reads none;"),
        ({"use_sliding_window": True}, "use_sliding_window is True .* pave reads False;"),
    ],
)
def test_other_llavas_are_refused(llava: Path, says: dict[str, Any], message: str) -> None:
    with pytest.raises(BaseError, match=message) as caught:
        load_base(say(llava, **says))
    assert "\n" not in str(caught.value)


def test_a_well_known_llava_has_a_port(llava: Path, tmp_path: Path) -> None:
    other = llava.rename(tmp_path / "LLaVA-NeXT-Video-7B-DPO")
    with pytest.raises(BaseError, match="use llava-hf/LLaVA-NeXT-Video-7B-DPO-hf$"):
        load_base(say(other, architectures=["LlavaLlamaForCausalLM"]))


@pytest.mark.parametrize("auto_map", [True, False])  # fine-tuned copies often lose it
@pytest.mark.parametrize(
    ("name", "model_type", "advice"),
    [
        ("VideoLLaMA3-2B-Image", "videollama3_qwen2", "use lkhl/VideoLLaMA3-2B-Image-HF"),
        ("VideoLLaMA3-7B", "videollama3_qwen2", "own format .model type 'video_llama_3';"),
        ("InternVL3_5-8B", "internvl_chat", "use OpenGVLab/InternVL3_5-8B-HF"),
        ("InternVL3-78B", "internvl_chat", "use OpenGVLab/InternVL3-78B-hf"),
        ("mine", "internvl_chat", "own format .model type 'internvl';"),
        ("MiniCPM-V-2_6", "minicpmv", "no built-in class for it, so use a base of another family"),
        ("Molmo-7B-D-0924", "molmo", "no built-in class for it"),
    ],
)
def test_models_of_their_own_code(
    tmp_path: Path, name: str, model_type: str, advice: str, auto_map: bool
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    config: dict[str, Any] = {
        "architectures": ["Videollama3Qwen2ForCausalLM"],
        "model_type": model_type,
        "mm_projector_type": "mlp2x_gelu",  # VideoLLaMA3 has it from LLaVA's code
        "hidden_size": 32,
        "use_token_compression": True,
    }
    if model_type != "videollama3_qwen2":
        del config["mm_projector_type"]
    if auto_map:
        config["auto_map"] = AUTO_MAP
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BaseError, match=advice) as caught:
        load_base(folder)
    message = str(caught.value)
    assert f"{model_type!r} needs Python code from its repository" in message
    assert "\n" not in message and "onevision" not in message.lower()


def count(base: Base) -> int:
    """Numbers in a model, those of a shared head once."""
    return sum(parameter.numel() for parameter in base.model.parameters())


@pytest.mark.parametrize("says", [None, True, False])
@pytest.mark.parametrize("shards", [False, True])
def test_a_head_is_counted_as_it_loads(tmp_path: Path, says: bool | None, shards: bool) -> None:
    """InternVL's configuration says "tied" where the folder says nothing."""
    saved("internvl", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("tie_word_embeddings", None)
    if says is not None:
        config["tie_word_embeddings"] = says
    (tmp_path / "config.json").write_text(json.dumps(config))
    if shards:
        _in_shards(tmp_path)
    loaded, shapes = load_base(tmp_path), load_base(tmp_path, weights=False)
    head = tiny.VOCAB * tiny.HIDDEN
    assert count(shapes) == count(loaded) == count(tiny.base("internvl"))
    assert shapes.model.lm_head.weight is not shapes.model.get_input_embeddings().weight
    assert shapes.model.lm_head.weight.numel() == head
    assert shapes.fingerprint() == loaded.fingerprint()
    frames = tiny.frames(FRAMES)
    wanted = loaded.clip(frames).text
    # 4 x 4 patches of a frame, shuffled 2 x 2.
    assert wanted.count("<IMG_CONTEXT>") == FRAMES * 4
    assert shapes.family.prepare(shapes.settings, frames.pixels, frames.times).text == wanted


@pytest.mark.parametrize("stored", [False, True])
def test_a_head_that_is_tied(tmp_path: Path, stored: bool) -> None:
    """Not in the files, or the same numbers again."""
    saved("internvl", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    head = next(name for name in tensors if name.endswith("lm_head.weight"))
    embedding = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    del tensors[head]
    if stored:
        tensors[head] = tensors[embedding].clone()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    say(tmp_path, tie_word_embeddings=True)
    loaded, shapes = load_base(tmp_path), load_base(tmp_path, weights=False)
    whole = count(tiny.base("internvl"))
    assert count(shapes) == count(loaded) == whole - tiny.VOCAB * tiny.HIDDEN


def _in_shards(folder: Path) -> None:
    """Head and embedding in different files, as large models have them."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files: dict[str, str] = {}
    for name in tensors:
        number = 2 if "lm_head" in name else 1
        files[name] = f"model-{number:05}-of-00002.safetensors"
    for file in set(files.values()):
        part = {name: tensors[name] for name in tensors if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


# As in the config.json of published checkpoints.
QUANTISED = {
    "gptqmodel": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 128,
        "modules_to_not_convert": ["visual"],
        "version": "gemm",
        "zero_point": True,
    },
    "optimum": {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "desc_act": False,
        "sym": True,
    },
    "bitsandbytes": {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": "bfloat16",
    },
}


@pytest.mark.parametrize("package", QUANTISED)
@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava_onevision"])
def test_quantised_folders_say_what_they_need(tmp_path: Path, package: str, family: str) -> None:
    pytest.importorskip("transformers.quantizers")
    if _installed(package):
        pytest.skip(f"{package} is here")
    settings = QUANTISED[package]
    say(saved(family, tmp_path), quantization_config=settings)
    method = settings["quant_method"]
    with pytest.raises(BaseError, match=rf"quantised \({method}, 4 bits\).* {package}") as caught:
        load_base(tmp_path)
    message = str(caught.value)
    assert "\n" not in message and "config.json" not in message
    assert message.endswith("install what is missing, or use the unquantised model")


def test_unknown_quantisation_and_shapes_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say(saved("qwen2_5_vl", tmp_path), quantization_config=QUANTISED["gptqmodel"])
    with caplog.at_level(logging.WARNING, logger="pave"):
        shapes = load_base(tmp_path, weights=False)
    assert count(shapes) == count(tiny.base("qwen2_5_vl"))
    assert "quantised (awq, 4 bits); the sizes shown are those before quantisation" in caplog.text
    say(tmp_path, quantization_config={"quant_method": "homemade"})
    with pytest.raises(BaseError, match=r"quantised \(homemade\) and cannot be loaded here"):
        load_base(tmp_path)


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
