"""`pave convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pave.cli import output
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.texts import read_settings


def convert_verb(
    checkpoint: Path,
    /,
    *,
    base: str,
    revision: str | None = None,
    model_args: str | None = None,
    out: Path,
    channel: str | None = None,
    json: Switch = False,
) -> int:
    r"""Turn a checkpoint that the PAVE authors released into a patch folder.

    The name of a checkpoint does not tell which of the authors' configs it needs, so name the
    config. If it does not fit, the error names those that would. The weights of the base are not
    loaded, so this takes only seconds.

    ```
    pave convert avsd_imagebind --base ov-0.5b \
        --model-args V5_1_3_audio_languagebind --out avsd
    ```

    Args:
        checkpoint: The unpacked checkpoint folder, or its non_lora_trainables.bin or
            mm_projector.bin.
        base: The base that it was trained on: LLaVA-OneVision in the naming of Hugging Face or of
            LLaVA, as a folder or a Hub id.
        revision: Branch, tag, or commit of a base on the Hub. The patch remembers the commit.
        model_args: Class name of the authors' config, such as V5_1_3_audio_languagebind_7B, or a
            JSON or YAML file with the arguments of their aggregator.
        out: The patch folder. For two side channels, it will contain one folder for each.
        channel: The side channel (audio, frames, scene3d, or views), if the name of the config does
            not tell.
        json: Print what was written as JSON.
    """
    if not checkpoint.exists():
        raise ConfigError(
            f"{checkpoint}: there is no such checkpoint; unpack the authors' zip file and give "
            "the folder"
        )
    arguments = _arguments(model_args)
    from pave.bases import load_base
    from pave.paper import convert

    loaded = load_base(base, weights=False, revision=revision)
    done = convert(checkpoint, loaded, arguments, out, channel)
    if json:
        output.as_json({"patches": [vars(patch) for patch in done]})
        return 0
    for patch in done:
        sizes = f"fusion {patch.fusion_parameters:,}, LoRA {patch.lora_parameters:,} parameters"
        output.line(f"{patch.folder}  {patch.channel}: {sizes}")
    return 0


def _arguments(model_args: str | None) -> str | dict[str, Any] | None:
    """A config's name as it is; a file's content."""
    if model_args is None or Path(model_args).suffix.lower() not in (".json", ".yaml", ".yml"):
        return model_args
    return read_settings(Path(model_args), ConfigError, "input_dim: 1024")
