"""The block on top of a patch's card, which the Hub reads: base, licence, data, tags and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pave.patches.config import PatchConfig
from pave.patches.hub import could_be_hub_id, is_hub_id
from pave.patches.scores import Evaluation

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

FIRST = ("library_name", "pipeline_tag", "license", "base_model", "base_model_relation")
"""The order in which people look for them; the rest follows."""

HUB_LICENCES = (
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nc-nd-4.0",
    "gpl-3.0",
    "lgpl-3.0",
    "agpl-3.0",
    "mpl-2.0",
    "openrail",
    "llama2",
    "llama3",
    "llama3.1",
    "llama3.2",
    "llama3.3",
    "gemma",
    "unlicense",
)
"""Licences that the Hub knows by a word of its own; any other is `other` with a name."""


def front_matter(config: PatchConfig, name: str, scores: Sequence[Evaluation]) -> str:
    """The YAML block on top of a card.

    Args:
        config: The patch.
        name: What the card calls it.
        scores: What was measured with it.
    """
    from huggingface_hub import ModelCardData

    more: dict[str, Any] = {**_licence(config.licence)}
    base = None
    # The Hub refuses a card whose base_model is a local path.
    if is_hub_id(config.base.name):
        base = config.base.name
        # By this the Hub lists the patch among the base's adapters.
        more["base_model_relation"] = "adapter"
        if config.base.revision is not None:
            more["base_model_revision"] = config.base.revision
    tags = ["pave", "adapter", "video"]
    tags += config.parts
    if config.loras:
        tags.append("lora")
    # Of data sets, too, it takes only those that it may have.
    datasets = [data.name for data in config.datasets if could_be_hub_id(data.name)]
    data = ModelCardData(
        library_name="pave",
        pipeline_tag="video-text-to-text",
        base_model=base,
        datasets=datasets or None,
        language=config.language or None,
        tags=tags,
        **more,
    )
    if results := _results(scores):
        data.model_name, data.eval_results = name, results
    return f"---\n{data.to_yaml(original_order=list(FIRST))}\n---"


def _licence(licence: str | None) -> dict[str, str]:
    """A licence as the Hub takes it: one of its words, or `other` with a name."""
    if not licence:
        return {}
    if licence.lower() in HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": licence}


def _results(scores: Sequence[Evaluation]) -> list[EvalResult]:
    """The patch's own scores, in the Hub's older form, which other sites read."""
    from huggingface_hub import EvalResult

    results = []
    for evaluation in scores:
        for row in evaluation.measured:
            result = EvalResult(
                task_type="video-text-to-text",
                dataset_type=evaluation.name,
                dataset_name=evaluation.name,
                metric_type=row.score,
                metric_value=row.value,
                metric_name=f"{row.score}, times 100",
            )
            results.append(result)
    return results
