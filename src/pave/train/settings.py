"""Settings of a run, from a YAML file or a recipe, with overrides on top."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pave.bases.inputs import InputSpec
from pave.errors import ConfigError, first_problem
from pave.patches import LoraSpec
from pave.registry import did_you_mean
from pave.renamed import renamed
from pave.texts import read_settings
from pave.train.config import OLD_NAMES, TrainConfig
from pave.train.counterfactual import Counterfactual
from pave.train.dotted import put
from pave.train.mixture import RecordMixture
from pave.train.recipes import settings_file
from pave.train.validation import Validation

_BLOCKS: dict[str, type[BaseModel]] = {
    "lora": LoraSpec,
    "inputs": InputSpec,
    "counterfactual": Counterfactual,
    "mixture": RecordMixture,
    "validation": Validation,
}
"""Settings that are settings themselves."""


def load_config(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Read settings from a YAML file, then put overrides on top.

    Args:
        path: YAML file with a mapping of `TrainConfig` fields, the name of a recipe, or None. Its
            `records`, `out` and `cache` are relative to the current folder, as on the command line.
        overrides: Values by field; a dotted name reaches inside, e.g. `{"lora.rank": 8}`.

    Raises:
        ConfigError: If the file cannot be read, or a setting is unknown or wrong; the message names
            it.
    """
    values = {}
    if path is not None:
        values = read_settings(settings_file(str(path)), ConfigError, "steps: 500")
    try:
        # Old names first, so that an override by the present name replaces what it should.
        values = renamed(values, OLD_NAMES, str(path))
        for name, value in renamed(overrides or {}, OLD_NAMES, "overrides").items():
            put(values, name, value)
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        field, message = first_problem(error)
        where = f"{field}: " if field else ""
        raise ConfigError(f"training settings: {where}{message}{_nearest(error)}") from error
    except ValueError as error:  # a setting under both its names
        raise ConfigError(f"training settings: {error}") from error


def _nearest(error: ValidationError) -> str:
    """The known setting that an unknown one looks like, as a question."""
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        return ""
    *outer, name = first["loc"]
    settings: type[BaseModel] | None = TrainConfig
    if outer:
        settings = _BLOCKS.get(str(outer[0]))
    if settings is None:
        return ""
    return did_you_mean(str(name), list(settings.model_fields))
