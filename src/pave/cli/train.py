"""`pave train`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field, model_validator

from pave.cli import output
from pave.cli.settings import Switch, from_words
from pave.train.config import TrainConfig
from pave.train.control import without_channel


class TrainSettings(TrainConfig):
    """`TrainConfig` as a command line writes it: the word `null` stands for no value."""

    # A keyword of Python cannot be the setting's name.
    start_from: Annotated[str | None, Parameter(name=["--from", "--start-from"])] = Field(
        None, description=TrainConfig.model_fields["start_from"].description
    )

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, values: Any) -> Any:
        return from_words(values)


def train_verb(
    *, settings: Annotated[TrainSettings, Parameter(name="*")], control: Switch = False
) -> int:
    r"""Train a patch on your records; the base stays frozen.

    Settings come from a YAML file (`--config FILE`) and from flags; a flag overrides the file. If a
    run is interrupted, repeat the command to resume it. With `--control`, the same settings train
    the LoRA-only control, which you need to judge any result.

    ```
    pave train --config sound.yaml
    pave train --config sound.yaml --out runs/lora-only --control
    pave train --config sound.yaml --out runs/rank-16 --lora.rank 16
    pave train --config sound.yaml --out runs/more --from runs/sound/patch \
        --records more.jsonl
    pave train --records train.jsonl --out runs/sound --channel audio \
        --encoder mel --steps 500
    ```

    Args:
        settings: Settings.
        control: Train without the channel: the same LoRA, records, and number of steps.
    """
    from pave.train import train

    output.log_to_stderr()
    config = TrainConfig.model_validate(settings.model_dump())
    if control:
        config = without_channel(config)
    result = train(config)
    steps = str(result.steps)
    if result.resumed_from:
        steps += f" (resumed from {result.resumed_from})"
    best = []
    if result.best is not None:
        said = result.validation
        text = f"{result.best} (step {said['best_step']}, {said['metric']} {said['best']:.4f})"
        best.append(("best patch", text))
    output.facts(
        [
            ("patch", str(result.patch)),
            *best,
            ("steps", steps),
            ("final loss", f"{result.final_loss:.4f}"),
            ("parameters", f"{result.trainable_parameters:,}"),
            ("seconds", f"{result.seconds:.0f}, and {result.encode_seconds:.0f} to encode clips"),
            ("log", str(result.log)),
        ]
    )
    return 0
