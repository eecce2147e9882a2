"""Write what was trained for `smol` into the package, with a card that scores it on new scenes."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pave.bases.base import Base
from pave.bases.smol import smol_base
from pave.bases.smol.assemble import merge_trained, raw_parts
from pave.data.packing import pack
from pave.metrics import wilson
from pave_world import questions_for

if TYPE_CHECKING:
    from pave_world.smol.build import BuildSettings

log = logging.getLogger(__name__)


def write_weights(
    out: Path, scratch: Path, settings: BuildSettings, seconds: float
) -> dict[str, Any]:
    """Save projector and LoRA in bf16, score the assembled base on the test split, write the card.

    Args:
        out: The weights folder.
        scratch: Folder with `trained.pt` of the run.
        settings: What the run was made with.
        seconds: How long it took.

    Returns:
        The card's numbers: `loss`, `seconds`, `scores` (family -> correct, n).
    """
    from safetensors.torch import save_file

    from pave_world.smol.build import load_trained, trainable

    trained = torch.load(scratch / "trained.pt", weights_only=True)
    model, tokenizer = raw_parts(scratch / "tokenizer-0")
    base = smol_base(model, tokenizer)
    peft = trainable(base, settings)
    load_trained(peft, {name: value.bfloat16() for name, value in trained["trained"].items()})
    out.mkdir(parents=True, exist_ok=True)
    projector = {
        name: value.bfloat16().contiguous()
        for name, value in base.inner.multi_modal_projector.state_dict().items()
    }
    save_file(projector, out / "projector.safetensors", metadata={"format": "pt"})
    _save_lora(peft, out / "lora")
    numbers = {
        "loss": sum(trained["losses"][-20:]) / 20,
        "seconds": round(seconds),
        "scores": _assembled_scores(out, scratch, settings),
    }
    (out / "README.md").write_text(_card(settings, numbers), encoding="utf-8")
    return numbers


def _save_lora(peft: Any, folder: Path) -> None:
    """Write the LoRA in bf16, with the name of its base in the place of a folder."""
    from safetensors.torch import load_file, save_file

    peft.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours says more
    file = folder / "adapter_model.safetensors"
    save_file(
        {name: value.bfloat16() for name, value in load_file(file).items()},
        file,
        metadata={"format": "pt"},
    )
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "smol"
    (folder / "adapter_config.json").write_text(
        json.dumps(config, indent=2) + "\n", encoding="utf-8"
    )


def _assembled_scores(out: Path, scratch: Path, settings: BuildSettings) -> dict[str, list[int]]:
    """Score the base as users load it, with projector and LoRA read back from `out` and merged."""
    model, tokenizer = raw_parts(scratch / "tokenizer-0")
    base = smol_base(merge_trained(model, out), tokenizer)
    return scores(base, settings.test_clips, settings.seed, scratch)


@torch.no_grad()
def scores(base: Base, clips: int, seed: int, scratch: Path) -> dict[str, list[int]]:
    """Exact match per question family on test scenes, family -> [correct, n].

    One packed forward a scene: greedy decoding gives exactly the wanted answer if and only if every
    answer token (the stop token included) is the most likely one behind the tokens before it.
    """
    from pave_world.smol.build import Scenes, answer_logits, encode_prompts, features

    scenes = Scenes("test", clips, ("video",), seed)
    cells = features(base, scenes, scratch)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for index in range(clips):
        asked = questions_for(scenes[index], limit=None)
        prompts = encode_prompts(base, asked)
        logits, labels = answer_logits(base, cells[index : index + 1], [pack(prompts)])
        is_right = logits.argmax(-1) == labels  # [answer tokens of all questions]
        lengths = [len(answer_ids) for prompt in prompts for _, answer_ids in prompt.turns]
        for question, hits in zip(asked, is_right.split(lengths), strict=True):
            counts[question.family][0] += int(hits.all())
            counts[question.family][1] += 1
    return dict(sorted(counts.items()))


def _card(settings: BuildSettings, numbers: dict[str, Any]) -> str:
    """The page of the weights: licence, data, run, and scores with their intervals."""
    rows = []
    for family, (correct, n) in numbers["scores"].items():
        low, high = wilson(correct, n)
        rows.append(f"| {family} | {n} | {correct / n:.3f} | {low:.3f} to {high:.3f} |")
    options = ", ".join(f"{key}={value}" for key, value in asdict(settings).items())
    return f"""# smol: the trained part

`projector.safetensors` and `lora/` (bf16) turn SmolLM2-135M-Instruct and an ImageNet \
EfficientNet-Lite0 into a small Video LLM.
Licence: Apache-2.0, like both parts. Made by `pave bases --build smol` in {numbers["seconds"]} s \
of wall time on two CPU cores.
Building again gives weights of the same kind, not the same bits: the order of additions in \
processes and later changes to the world's questions both matter.

- Data: rendered scenes of the embedded world, train split, visual questions only. \
Nothing to hear, no real video.
- Run: {options}; last loss {numbers["loss"]:.3f} (mean over answer tokens, 20 steps).
- Scores below: exact match of greedy answers on {settings.test_clips} scenes of the \
test split (other placements, some
  sprites and wall shades never trained on), with 95 % Wilson intervals.

| questions | n | exact match | 95 % |
|---|---|---|---|
{chr(10).join(rows)}

What it cannot do: name things outside the world's catalogue reliably, read text, follow motion, \
talk at length. It hears
nothing: that is what patches are for.
"""
