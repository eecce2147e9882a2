"""`pave eval`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import model_validator

from pave.cli import output
from pave.cli.launched import own_shard
from pave.cli.output import Stages
from pave.cli.settings import Switch, from_words
from pave.errors import ConfigError
from pave.evaluate.config import EvalConfig

if TYPE_CHECKING:
    from pathlib import Path

    from pave.evaluate.report import Report
    from pave.evaluate.run import Share
    from pave.evaluate.swap import SwapShare
    from pave.evaluate.swap_report import SwapReport


class EvalSettings(EvalConfig):
    """`EvalConfig` as a command line writes it: the word `none` stands for no value."""

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, values: Any) -> Any:
        return from_words(values)


def eval_verb(
    *,
    settings: Annotated[EvalSettings, Parameter(name="*")],
    engine: Literal["local", "ray"] = "local",
    json: Switch = False,
) -> int:
    r"""Compare the base and patches on the same questions about the same frames.

    Settings come from a YAML file (`--config FILE`) and from flags; a flag overrides the file. An
    arm is a patch folder, several folders separated by commas for patches that are active together,
    or `none` for the bare base. pave reports the difference of each later arm to each earlier one,
    so name the reference arms first. If an evaluation is interrupted, repeat the command to
    continue. With `--task`, answers are scored as by `pave score` with the same `--style`. If you
    repeat the command with the other style, nothing is asked again. pave
    writes the scores of all arms into the folders of the evaluated patches, for their cards.

    Several processes share the work if you give each of them a `--shard`; under torchrun this is
    automatic. They need the same output folder and token cache. The last one to finish joins the
    answers and makes the report.

    Controls say where a score comes from. `blind:FOLDER` asks the question without the clip, and
    `shuffled:FOLDER` gives the patch another clip's channel. `linear:FOLDER`, `mlp:FOLDER`,
    `attention:FOLDER`, and `prior:` learn from `--train-records` and say whether the encoder's
    tokens hold the answer.

    `--swap CHANNEL` asks something else: clips that are asked the same and answer differently
    exchange that channel, and the table says whether each arm follows the channel or the picture.

    ```
    pave eval --records test.jsonl --out runs/eval --arms.base none \
        --arms.lora runs/lora/patch --arms.sound runs/sound/patch
    pave eval --config eval.yaml --limit 20 --json
    pave eval --records avqa-val.jsonl --task avqa --out runs/avqa \
        --arms.base none --arms.sound runs/sound/patch --shard 1/2
    pave eval --records test.jsonl --out runs/controls \
        --arms.lora runs/lora/patch --arms.sound runs/sound/patch \
        --arms.blind blind:runs/lora/patch \
        --arms.shuffled shuffled:runs/sound/patch
    pave eval --records test.jsonl --out runs/swap --swap audio \
        --arms.lora runs/lora/patch --arms.sound runs/sound/patch
    ```

    Args:
        settings: Settings.
        engine: Ask here, or on a Ray cluster in as many tasks as `--workers` says (needs the extra
            `ray`).
        json: Print the results as JSON instead of a table.
    """
    from pave.evaluate.on_card import write_on_cards
    from pave.evaluate.report import table
    from pave.evaluate.run import evaluate, evaluate_share
    from pave.evaluate.table import few_note

    # The library takes its own class, not the command line's.
    config = EvalConfig.model_validate(settings.model_dump())
    config = config.model_copy(update={"shard": own_shard(config.shard)})
    with output.stages() as stages:
        if engine == "ray":
            report = _on_ray(config, stages)
        elif config.swap is not None:
            return _swap(config, stages, json)
        elif config.shard is None:
            report = evaluate(config, progress=stages)
        else:
            share = evaluate_share(config, progress=stages)
            if share.report is None:  # other parts are still missing
                return _tell_share(config.shard, share, json)
            report = share.report
    # On stderr, since with --json stdout is for a program.
    for told in write_on_cards(config, report):
        output.note(told)
    if json:
        output.as_json(report.model_dump(mode="json"))
        return 0
    cells = table(report)
    output.table(*cells, numbers=True)
    what = "Per cent exact match"
    if not report.task.exact:  # a benchmark's own score
        what = f"{report.task.counts()}. {report.task.how()}. Times 100"
    output.line(f"\n{what} and 95 % intervals; details in {settings.out / 'report.md'}")
    for note in [*report.notes, *few_note(cells)]:
        output.line(note)
    return 0


def _on_ray(config: EvalConfig, stages: Stages) -> Report:
    from pave.evaluate.cluster import evaluate_on_ray

    if config.swap is not None or config.shard is not None:
        raise ConfigError("--engine ray divides the questions itself, and asks no --swap")
    return evaluate_on_ray(config, progress=stages)


def _swap(config: EvalConfig, stages: Stages, json: bool) -> int:
    from pave.evaluate.swap import evaluate_swap, evaluate_swap_share

    if config.shard is None:
        return _tell_swap(evaluate_swap(config, progress=stages), config.out, json)
    share = evaluate_swap_share(config, progress=stages)
    if share.report is None:  # other parts are still missing
        return _tell_share(config.shard, share, json)
    return _tell_swap(share.report, config.out, json)


def _tell_swap(report: SwapReport, out: Path, json: bool) -> int:
    from pave.evaluate.swap_report import notes, table
    from pave.evaluate.table import few_note

    if json:
        output.as_json(report.model_dump(mode="json"))
        return 0
    cells = table(report)
    output.table(*cells, numbers=True)
    output.line()
    for note in [*notes(report), *few_note(cells)]:
        output.line(note)
    output.line(f"The differences between arms are in {out / 'swap.json'}")
    return 0


def _tell_share(shard: str, share: Share | SwapShare, json: bool) -> int:
    if json:
        output.as_json({"shard": shard, "answered": share.answered, "total": share.total})
    else:
        output.line(
            f"part {shard} is done; {share.answered:,} of {share.total:,} answers are there, the "
            "last part joins them"
        )
    return 0
