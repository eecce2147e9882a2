"""The promises of a patch, kept by one that was trained on exchanged channels, on every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import tiny, toy
from pave.cache import TokenCache
from pave.data import Features, read_records, write_records
from pave.evaluate.clip_arm import open_turns
from pave.model import PatchedModel
from pave.train import train

GREEDY: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False}
# A family takes seconds: one at once, the others in the slow tests.
FAST = "llava_onevision"
FAMILIES = [
    pytest.param(family, marks=() if family == FAST else pytest.mark.slow)
    for family in tiny.FAMILIES
]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_trained_on_cells_keeps_the_promises(family: str, tmp_path: Path) -> None:
    """Only fusion and LoRA train; off or without the channel it is the base; saved it is itself."""
    made = toy.records(tmp_path, clips=2, questions=2)
    records = [record.model_copy(update={"meta": {"channel": "features"}}) for record in made]
    write_records(tmp_path / "records.jsonl", records)
    base = tiny.base(family)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    shared = 2 if family in tiny.SHARING else 1
    config = toy.config(
        tmp_path, steps=2, lr_gate=0.05, lr_lora=0.05, questions_per_video=shared, workers=0,
        counterfactual={"share": 0.5, "loss": "hinge", "margin": 5.0},
    )  # fmt: skip
    patch = train(config, base=base, progress=False).patch
    # 3: the base is as it was, and the folder holds fusion and LoRA alone.
    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    lora = load_file(patch / "lora" / "adapter_model.safetensors")
    assert lora and all(".lora_A." in name or ".lora_B." in name for name in lora)
    assert sorted(path.name for path in patch.rglob("*.safetensors")) == [
        "adapter_model.safetensors",
        "fusion.safetensors",
    ]
    model = PatchedModel(base)
    name = model.load_patch(patch)
    (part,) = model.patches[name].parts.values()
    encoder = model.encoder(name)
    assert encoder is not None
    features = Features(base, {part.key: encoder}, TokenCache(tmp_path / "store"), frames=4)
    record = read_records(tmp_path / "records.jsonl")[0]
    seen = features[record]
    asked = base.encode_prompt(seen.clip.text, open_turns(record)).dialogue()
    # 2: as many tokens as the base sees.
    assert asked.count(base.placeholder_id) == seen.visual.layout.total
    inputs = base.batch([asked], [seen.clip], pixels=False)
    whole = {**inputs, "visuals": [seen.visual]}
    times = [seen.clip.times]

    def logits(model: PatchedModel, side: Any) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model(side, times, [seen.visual], **inputs).logits
        return found

    def said(side: Any) -> torch.Tensor:
        ids: torch.Tensor = model.generate(side, times, **whole, **GREEDY)
        return ids

    (tokens,) = seen.channels.values()
    side = [{"features": tokens}]
    heard = logits(model, side)
    with model.disable_patches():
        plain, greedy = logits(model, side), said(side)
    # 1: where the channel is missing, too; and it does something where it is there.
    assert heard.shape == plain.shape and not torch.equal(heard, plain)
    for missing in (None, [{}]):
        assert torch.equal(logits(model, missing), plain)
        assert torch.equal(said(missing), greedy)
    # 4: saved and loaded again, the same bits.
    other = PatchedModel(tiny.base(family))
    other.load_patch(model.save_patch(tmp_path / "again", name=name))
    assert torch.equal(logits(other, side), heard)
