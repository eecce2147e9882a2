"""Loading: from a folder and from memory, own families, and one clear line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny, tiny_patch
from pave.bases import Base, BaseSettings, find_family, load_base, register_family
from pave.bases.families import FAMILIES
from pave.errors import BaseError
from pave.model import PatchedModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved tiny base with a preprocessor file."""
    base = tiny.base("llava_onevision")
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    options = {
        "size": {"height": 42, "width": 42},
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(options))
    return tmp_path


def test_a_folder_gives_the_same_base(folder: Path) -> None:
    """Weights, tokenizer and settings come from the files."""
    made, loaded = tiny.base("llava_onevision"), load_base(folder)
    assert loaded.name == str(folder) and loaded.fingerprint() == made.fingerprint()
    assert loaded.settings.std == (0.25,) * 3 and loaded.settings.frames == 32
    inputs = tiny.inputs(made)
    with torch.no_grad():
        assert torch.equal(made.model(**inputs).logits, loaded.model(**inputs).logits)
    assert load_base(str(folder), name="mine", settings=BaseSettings(size=(42, 42))).name == "mine"


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer*", "no tokenizer"),
    ],
)
def test_missing_files_are_named(folder: Path, gone: str, message: str) -> None:
    """Each file that lacks is named, with the folder."""
    for path in folder.glob(gone):
        path.unlink()
    with pytest.raises(BaseError, match=message) as caught:
        load_base(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_saved_below_a_patch_says_so(tmp_path: Path) -> None:
    """`save_pretrained` of a patched model writes peft's names; none of them fills a plain one."""
    base = tiny.base()
    tiny_patch.add(PatchedModel(base))
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(BaseError, match="saved with an adapter or a patch attached: remove that"):
        load_base(tmp_path)


@pytest.mark.parametrize(
    ("gone", "loads"),
    [
        ("layers.1.mlp.up_proj.weight", {True: False, False: False}),
        (
            "multi_modal_projector.linear_2.bias",
            {True: False, False: True},
        ),  # not needed until the tower is
    ],
)
def test_weights_that_lack_a_tensor_are_refused(
    folder: Path, gone: str, loads: dict[bool, bool]
) -> None:
    """Hugging Face would draw random numbers for it and go on."""
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith(gone))
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for tower, fine in loads.items():
        if fine:
            with pytest.raises(BaseError, match="1 tensor missing"):
                load_base(folder, tower=tower).load_tower()
        else:
            with pytest.raises(
                BaseError,
                match=rf"{folder}: 1 tensor missing or with another shape, first .*{gone}",
            ):
                load_base(folder, tower=tower)


def test_weights_of_another_shape_are_named(folder: Path) -> None:
    """As after a vocabulary that grew in the files alone."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    found, wanted = rf"\[{tiny.VOCAB}, 32\]", rf"\[{tiny.VOCAB + 1}, 32\]"
    said = rf"2 tensors .* first \S+ \({found} in the files, {wanted} by the configuration\);"
    with pytest.raises(BaseError, match=said):
        load_base(folder)


@pytest.mark.parametrize("tower", [True, False])
def test_files_that_an_index_names_are_there(folder: Path, tower: bool) -> None:
    """A download that broke off: a line says so before anything is read."""
    index = {"a": "model-00001-of-00003.safetensors", "b": "model-00003-of-00003.safetensors"}
    text = json.dumps({"weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
    load_base(folder, tower=tower)  # a whole file wins
    (folder / "model.safetensors").rename(folder / index["a"])
    said = "lacks 1 of the 2 weight files .* first model-00003-of-00003.safetensors; download"
    with pytest.raises(BaseError, match=said):
        load_base(folder, tower=tower)
    load_base(folder, weights=False)  # shapes alone need none of them


def test_broken_and_absent_sources(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken config, a folder that is not there, a Hub id that cannot be reached."""
    (folder / "config.json").write_text("{")
    with pytest.raises(BaseError, match="not valid JSON"):
        load_base(folder)
    with pytest.raises(BaseError, match="neither a folder"):
        load_base(tmp_path / "nowhere")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BaseError, match="no model configuration"):
        load_base("nobody/no-such-model-at-all")


@pytest.mark.parametrize(
    "source",
    [
        "./nope",
        "models/a/b",
        "../x",
        "a//b",
        "",
        " ",
        "~",
        "x" * 300,
        "/tmp/" + "x" * 300,
        "a\0b",
        "é",
    ],
)
def test_what_can_be_no_base_is_told_what_one_is(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths that lead nowhere and names that no Hub id can have; Hugging Face is not asked."""
    monkeypatch.chdir(tmp_path)  # where nothing lies
    with pytest.raises(
        BaseError,
        match='neither a folder nor a Hub id; a base is "smol", a model folder, or a Hub id',
    ):
        load_base(source)


def test_a_file_is_no_base(folder: Path) -> None:
    """Not even the right one of a folder."""
    with pytest.raises(BaseError, match="is a file; a base is a folder"):
        load_base(folder / "config.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"[1]", "config.json: must hold a JSON object, got list"),
        ("config.json", b'{"model_type": [1]}', "no model configuration could be read"),
        ("model.safetensors", b"", "the model could not be loaded .*header"),
        (
            "model.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n",
            "model.safetensors: is only a pointer of Git LFS, .*git lfs pull",
        ),
        ("model.safetensors", b"\xff" * 99, "the model could not be loaded .*header"),
        ("tokenizer.json", b"{}", "the tokenizer could not be read"),
        ("tokenizer_config.json", b"[1]", "the tokenizer could not be read"),
        ("preprocessor_config.json", b"[1]", "must hold a JSON object, got list"),
        (
            "preprocessor_config.json",
            b'{"size": "x"}',
            "preprocessor_config.json is not a preprocessor configuration",
        ),
        (
            "preprocessor_config.json",
            b'{"image_mean": [0], "image_std": [0, 1, 1]}',
            "preprocessor_config.json is not a preprocessor",
        ),
    ],
)
def test_damaged_files_are_one_error(folder: Path, name: str, content: bytes, message: str) -> None:
    """Hugging Face's readers raise whatever comes; here it is one error that names the folder."""
    (folder / name).write_bytes(content)
    with pytest.raises(BaseError, match=message) as caught:
        load_base(folder)
    assert str(folder) in str(caught.value)


def test_unknown_families_are_refused_with_a_list(folder: Path) -> None:
    """A text model, from disk and from memory."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(
        BaseError, match=r"'gpt2' belongs to no supported family \(.*internvl, .*register_family"
    ):
        load_base(folder)
    with pytest.raises(BaseError, match="a base must be a folder"):
        load_base(42)
    with pytest.raises(BaseError, match="needs its tokenizer"):
        load_base(tiny.base().model)


def test_a_tokenizer_of_another_model_is_refused() -> None:
    """The placeholder's id must be the one the model looks for."""
    base = tiny.base()
    base.model.config.video_token_id = 5
    with pytest.raises(BaseError, match="load the tokenizer from the same folder"):
        Base(base.model, base.tokenizer, base.family)


def test_users_can_add_a_family() -> None:
    """One class, registered, is all it takes; it wins over pave's own for the same model type."""

    @register_family
    class Mine(find_family("llava_onevision")):
        name = "mine"

    base = tiny.base("llava_onevision")
    assert base.family.name == "mine" and find_family("llava_onevision") is Mine


def test_wrong_frames_are_refused() -> None:
    """Float pixels, no frames, grey frames."""
    base = tiny.base()
    good = tiny.frames(2)
    bad: list[Any] = [good.pixels.float(), good.pixels[:0], good.pixels[:, :1]]
    for pixels in bad:
        with pytest.raises(BaseError, match="frames must be uint8"):
            base.clip(tiny.Frames(pixels, good.times))


def test_families_are_listed() -> None:
    """All families of the issue."""
    wanted = {
        "glm4v",
        "internvl",
        "llava_next_video",
        "llava_onevision",
        "qwen2_5_omni",
        "qwen2_5_vl",
        "qwen2_vl",
        "qwen3_5",
        "qwen3_vl",
        "smolvlm",
        "video_llama_3",
    }
    assert wanted <= {find_family(model_type).name for model_type in FAMILIES.names()}


def test_smol_says_where_its_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home folder that is read-only, here a file where the folder should be."""
    from pave.bases import smol

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAVE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(smol, "require_parts", lambda: None)
    monkeypatch.setattr(smol, "WHEELS", {})
    with pytest.raises(BaseError, match="cannot be written .*set PAVE_CACHE"):
        load_base("smol")
