"""`pave estimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.cli import output
from pave.cli.settings import Switch
from pave.errors import ConfigError

if TYPE_CHECKING:
    from pave.train.estimate import Estimate


def estimate_verb(
    recipe: str,
    /,
    *,
    base: str | None = None,
    side_steps: int | None = None,
    side_tokens: int | None = None,
    batch: int | None = None,
    quantize: str | None = None,
    revision: str | None = None,
    json: Switch = False,
) -> int:
    """Estimate the cost of a recipe: parameters, tokens, operations, and memory of a training step.

    It takes seconds and needs no weights.

    ```
    pave estimate V5_1_3_audio_languagebind_7B
    pave estimate sound.yaml --base 0.5b --batch 2 --json
    pave estimate V5_1_3_audio_languagebind_7B --quantize nf4
    ```

    Args:
        recipe: A settings file of `pave train`, or one of the authors' configs.
        base: A base that replaces the recipe's: 0.5b or 7b (LLaVA-OneVision), smol, a folder, or a
            Hub id.
        side_steps: Steps of the side channel; by default those of a typical clip.
        side_tokens: Tokens per step of the side channel.
        batch: Clips per forward pass; by default as in the recipe.
        quantize: How the language model is quantised: nf4, int8, or llm-int8; by default as in the
            recipe.
        revision: Branch, tag, or commit of a base on the Hub.
        json: Print JSON.
    """
    if (side_steps is None) != (side_tokens is None):
        raise ConfigError("--side-steps and --side-tokens go together; give both or neither")
    if any(number is not None and number < 1 for number in (side_steps, side_tokens, batch)):
        raise ConfigError("--side-steps, --side-tokens and --batch must be at least 1")
    from pave.bases.loading import check_quantize
    from pave.train.estimate import estimate
    from pave.train.estimate_plan import plan

    check_quantize(quantize)

    side = None if side_steps is None or side_tokens is None else (side_steps, side_tokens)
    found = estimate(plan(recipe, base, side, batch, quantize=quantize, revision=revision))
    if json:
        output.as_json(vars(found))
    else:
        _show(found)
    return 0


def _show(found: Estimate) -> None:
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
    rows = [[name, f"{value / 2**30:.1f} GiB"] for name, value in found.memory.items()]
    how = "recomputed activations" if found.checkpointing else "kept activations"
    kind = found.precision
    if found.quantize is not None:
        kind = f"{kind} on {found.quantize}"
    output.table([f"training in {kind}, batch {found.batch}, {how}", ""], rows, numbers=True)
