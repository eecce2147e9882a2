"""How a base is loaded: attention, and revision and token of a Hub id."""

from __future__ import annotations

import json
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AttentionInterface

from helpers import tiny, tinyrun
from helpers.hub import Hub
from pave.bases import attention, load_base
from pave.bases.hub import Repository, access, commit_of, located
from pave.bases.loading import Loading
from pave.cli.app import main
from pave.errors import BaseError, ConfigError
from pave.model import PatchedModel
from pave.patches import read_config

OLD, NEW, NAME = "a" * 40, "b" * 40, "someone/tiny-7b"
TOKEN = "hf_VERY_SECRET"


def _saved(folder: Path, seed: int = 0) -> Path:
    base = tiny.base(seed=seed)
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _saved(tmp_path_factory.mktemp("base"))


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Two commits, of which the default branch is at the newer one."""
    hub = Hub(tmp_path, monkeypatch)
    hub.add(NAME, folder, OLD, ["v1"])
    hub.add(NAME, _saved(tmp_path / "newer", seed=1), NEW)
    return hub


def _first_weight(base: Any) -> torch.Tensor:
    return base.model.lm_head.weight


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Hub) -> None:
    old, new = (_first_weight(tiny.base(seed=seed)) for seed in (0, 1))
    for revision, commit, weight in ((None, NEW, new), ("v1", OLD, old), (OLD, OLD, old)):
        base = load_base(NAME, revision=revision)
        assert base.revision == commit and type(base.name) is str
        assert torch.equal(_first_weight(base), weight)
    with pytest.raises(BaseError, match=f"{NAME} at revision v9: no model configuration"):
        load_base(NAME, revision="v9")


def test_revision_and_token_reach_every_file(
    hub: Hub, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Configurations, weights, the tower later on, tokenizer, processors, templates, adapters."""
    hub.ask_for_every_file()
    with caplog.at_level(logging.DEBUG):
        base = load_base(NAME, revision="v1", token=TOKEN, tower=False)
        base.load_tower()
        load_base(NAME, revision="v1", token=TOKEN, weights=False)
    names = {name for name, _, _ in hub.fetched}
    wanted = {"config.json", "model.safetensors", "tokenizer_config.json", "adapter_config.json"}
    assert wanted | {"preprocessor_config.json", "processor_config.json"} <= names
    wrong = [asked for asked in hub.fetched if asked[1:] != ("v1", TOKEN)]
    assert not wrong
    said = caplog.text + "".join(capfd.readouterr()) + repr(base.origin) + base.name
    assert TOKEN not in said


def test_a_token_shows_nowhere(hub: Hub) -> None:
    place = located(NAME, "v1", TOKEN)
    assert (access(place)["token"], commit_of(place)) == (TOKEN, OLD)
    assert TOKEN not in f"{place} {place!r}" and place == NAME
    again = pickle.loads(pickle.dumps(place))
    assert type(again) is Repository and access(again) == access(place)
    with pytest.raises(BaseError) as caught:
        load_base("someone/nothing", token=TOKEN)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("words", [["--token", TOKEN], [f"--token={TOKEN}"], ["--config", "c"]])
@pytest.mark.parametrize("verb", ["ask", "eval", "train"])
def test_a_token_is_not_taken_where_others_read_it(
    verb: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "--config":
        if verb == "ask":
            pytest.skip("it takes no settings file")
        (tmp_path / "c.yaml").write_text(f"records: r\nout: o\ntoken: {TOKEN}\n")
        words = ["--config", str(tmp_path / "c.yaml")]
    given = {"ask": ["clip.mp4", "Hm?"]}.get(verb, ["--records", "r", "--out", "o"])
    assert main([verb, *given, *words]) == 2
    error = capsys.readouterr().err
    assert TOKEN not in error and "set HF_TOKEN" in error and error.count("\n") == 1
    with pytest.raises(ValueError) as caught:
        Loading(token=TOKEN)
    assert TOKEN not in str(caught.value)


def test_a_patch_remembers_the_commit_and_ask_takes_it(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(NAME, revision="v1")
    patch = tinyrun.patch(base, tmp_path / "p", "audio")
    assert read_config(patch).base.revision == OLD
    video = str(tinyrun.clip(tmp_path / "clip.mp4", 0))
    asked = []
    load = load_base

    def note(*args: Any, **options: Any) -> Any:
        asked.append(options["revision"])
        return load(*args, **options)

    monkeypatch.setattr("pave.bases.load_base", note)
    assert main(["ask", video, "Hm?", "--patch", str(patch)]) == 0
    assert main(["ask", video, "Hm?", "--patch", str(patch), "--revision", "main"]) == 0
    assert main(["ask", video, "Hm?", "--patch", str(patch), "--base", NAME]) == 0
    assert asked == [OLD, "main", None]
    # Files of before have none.
    content = json.loads((patch / "patch.json").read_text())
    del content["base"]["revision"]
    (patch / "patch.json").write_text(json.dumps(content))
    assert read_config(patch).base.revision is None
    PatchedModel(base).load_patch(patch)


def test_only_a_hub_id_has_revisions(folder: Path) -> None:
    for source in (str(folder), "smol"):
        with pytest.raises(BaseError, match=r"revision 'v1' applies to Hub ids.*leave it out"):
            load_base(source, revision="v1")
    assert load_base(folder, token=TOKEN).revision is None
    saved = tiny.base()
    assert PatchedModel(saved).base.revision is None


@pytest.mark.parametrize("tower", [True, False])
def test_the_attention_is_the_one_asked_for(folder: Path, tower: bool) -> None:
    for word in ("eager", "sdpa"):
        base = load_base(folder, attention=word, tower=tower)
        base.load_tower()
        for part in (base.config, base.config.text_config, base.inner.vision_tower.config):
            assert part._attn_implementation == word
    inputs = tiny.inputs(base)
    with torch.no_grad():
        eager = load_base(folder, attention="eager").model(**inputs).logits
        # The last position: what stands in the padding differs.
        assert torch.allclose(eager[:, -1], base.model(**inputs).logits[:, -1], atol=1e-4)


@pytest.mark.parametrize("word", ["spda", "kernels-community/flash-attn2", "paged|eager", ""])
def test_no_other_attention_is_known(word: str, folder: Path) -> None:
    """Nor are compiled kernels fetched from the Hub."""
    hint = ".*did you mean 'sdpa'" if word == "spda" else ""
    with pytest.raises(
        ConfigError, match=rf"unknown attention '{re.escape(word)}'{hint}.*available"
    ):
        load_base(folder, attention=word)
    with pytest.raises(ValueError, match="unknown attention"):
        Loading(attention=word)


def test_an_attention_of_the_program_is_known(folder: Path) -> None:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register("mine", sdpa_attention_forward)
    assert load_base(folder, attention="mine").config._attn_implementation == "mine"


def test_flash_attention_needs_its_gpu_type_and_package(folder: Path) -> None:
    gpu = torch.device("cuda")
    with pytest.raises(ConfigError, match="runs only on a GPU; use sdpa"):
        load_base(folder, attention="flash_attention_2")
    with pytest.raises(ConfigError, match="in 16 bits, but the base is in float32"):
        attention.must_attend("flash_attention_2", torch.float32, gpu)
    with pytest.raises(ConfigError, match="package of FlashAttention 3, which is not installed"):
        attention.must_attend("flash_attention_3", torch.bfloat16, gpu)
    with pytest.raises(ConfigError, match="runs only on a GPU"):
        load_base("smol", attention="flash_attention_2")


def test_a_loaded_model_is_as_it_was_loaded() -> None:
    base = tiny.base()
    for option in ({"attention": "eager"}, {"revision": "v1"}):
        with pytest.raises(BaseError, match="is loaded already; give it to its from_pretrained"):
            load_base(base.model, base.tokenizer, **option)
