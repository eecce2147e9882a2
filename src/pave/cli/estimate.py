"""`pave estimate`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pave.cli import output
from pave.cli.settings import Switch
from pave.errors import ConfigError

if TYPE_CHECKING:
    from pave.train.card import Machines
    from pave.train.estimate import Estimate


def estimate_verb(
    recipe: str,
    /,
    *,
    base: str | None = None,
    side_steps: int | None = None,
    side_tokens: int | None = None,
    batch: int | None = None,
    question_tokens: int = 50,
    answer_tokens: int = 10,
    quantize: str | None = None,
    gpus: int = 1,
    nodes: int = 1,
    engine: Literal["ddp", "fsdp", "zero3"] = "ddp",
    revision: str | None = None,
    json: Switch = False,
) -> int:
    """Estimate the cost of a recipe: parameters, tokens, operations, and memory of a training step.

    It takes seconds and needs no weights.

    ```
    pave estimate V5_1_3_audio_languagebind_7B
    pave estimate sound.yaml --base 0.5b --batch 2 --json
    pave estimate V5_1_3_audio_languagebind_7B --quantize nf4
    pave estimate V5_1_3_audio_languagebind_7B --gpus 8 --nodes 2 --engine fsdp
    ```

    Args:
        recipe: A settings file of `pave train`, or one of the authors' configs.
        base: A base that replaces the recipe's: 0.5b or 7b (LLaVA-OneVision), smol, a folder, or a
            Hub id.
        side_steps: Steps of the side channel; by default those of a typical clip.
        side_tokens: Tokens per step of the side channel.
        batch: Clips per forward pass; by default as in the recipe.
        question_tokens: Tokens of a question with its answer.
        answer_tokens: Those of them that belong to the answer.
        quantize: How the language model is quantised: nf4, int8, or llm-int8; by default as in the
            recipe.
        gpus: GPUs of a machine.
        nodes: Number of machines.
        engine: How several GPUs share the work: ddp (each holds the base), fsdp (the base is cut
            into shares), or zero3 (everything is).
        revision: Branch, tag, or commit of a base on the Hub.
        json: Print JSON.
    """
    if (side_steps is None) != (side_tokens is None):
        raise ConfigError("--side-steps and --side-tokens go together; give both or neither")
    tokens = (question_tokens, answer_tokens)
    numbers = (side_steps, side_tokens, batch, *tokens, gpus, nodes)
    if any(number is not None and number < 1 for number in numbers):
        raise ConfigError(
            "--side-steps, --side-tokens, --batch, --question-tokens, --answer-tokens, --gpus and "
            "--nodes must be at least 1"
        )
    from pave.bases.loading import check_quantize
    from pave.train.card import Machines
    from pave.train.estimate import estimate
    from pave.train.estimate_plan import plan

    check_quantize(quantize)

    side = None if side_steps is None or side_tokens is None else (side_steps, side_tokens)
    wanted = plan(recipe, base, side, batch, quantize=quantize, revision=revision)
    wanted = replace(wanted, question_tokens=question_tokens, answer_tokens=answer_tokens)
    machines = Machines(gpus, nodes, engine)
    found = estimate(wanted, machines)
    if json:
        output.as_json(vars(found))
    else:
        _show(found, machines)
    return 0


def _show(found: Estimate, machines: Machines) -> None:
    """The estimate as tables for people."""
    output.line(f"{found.recipe} on {found.base}\n")
    output.table(
        ["parameters", ""],
        [[name, f"{value:,}"] for name, value in found.parameters.items()],
        numbers=True,
    )
    output.line()
    output.table(
        ["tokens of a clip", ""],
        [[name, f"{value:,}"] for name, value in found.tokens.items()],
        numbers=True,
    )
    output.line()
    rows = [
        [name.replace("_", " "), f"{value / 1e12:.3f} TFLOP"] for name, value in found.flops.items()
    ]
    rows.append(["patch, of tower and language model", f"{100 * found.share:.3f} %"])
    output.table(["operations of a clip", ""], rows, numbers=True)
    output.line()
    rows = [[name, f"{value / 2**30:.1f} GiB"] for name, value in found.card.items()]
    how = "recomputed activations" if found.checkpointing else "kept activations"
    kind = found.precision
    if found.quantize is not None:
        kind = f"{kind} on {found.quantize}"
    where = ""
    # One card needs no word about others.
    if machines.cards > 1:
        where = f" on each of {machines.cards} cards ({machines.engine})"
    title = f"training in {kind}, batch {found.batch}, {how}{where}"
    output.table([title, ""], rows, numbers=True)
    output.line()
    rows = [["sent by each card per step", f"{found.sent / 2**30:.2f} GiB"]]
    rows.append(["in the cache, for 1,000 clips", f"{1000 * found.cached / 2**30:.1f} GiB"])
    output.table(["data", ""], rows, numbers=True)
