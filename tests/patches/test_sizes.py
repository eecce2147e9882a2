"""Every number of a patch's manifest, made absurd: one typed line, or a patch of a bounded size.

The fields are found by walking the manifest, so a new one is tried without being named here.
"""

from __future__ import annotations

import copy
import json
import math
import resource
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

import pave
from helpers import tinyrun
from pave.errors import PaveError
from pave.model import PatchedModel
from pave.patches.config import PatchConfig

ABSURD = [10**9, 10**30, -1, 0, math.nan, math.inf, 1.5, "x", True, [10**9]]
Path = tuple[str | int, ...]


def numbers(content: Any, path: Path = ()) -> Iterator[Path]:
    """Where the manifest has a number, or nothing where one may stand."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from numbers(value, (*path, key))
    elif content is None or isinstance(content, int | float):
        yield path


def with_value(content: Any, path: Path, value: Any) -> Any:
    changed = copy.deepcopy(content)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def add_defaults(content: dict[str, Any], config: BaseModel) -> None:
    for field, info in type(config).model_fields.items():
        if not info.exclude:
            content.setdefault(field, info.get_default(call_default_factory=True))


@pytest.mark.slow
def test_every_number_of_a_manifest(tmp_path) -> None:
    made = tinyrun.make(tmp_path, clips=1, questions=1)
    manifest = made.patch / "patch.json"
    config = PatchConfig.model_validate_json(manifest.read_text())
    spelt_out = config.model_dump(mode="json")
    # With what is left out of files where it is as always.
    add_defaults(spelt_out, config)
    for name in ("lora", "fusion", "inputs"):
        add_defaults(spelt_out[name], getattr(config, name))
    model = PatchedModel(pave.load_base(made.base))
    tried = [path for path in numbers(spelt_out) if path[0] not in ("training", "scores")]
    assert ("lora", "rank") in tried and ("fusion", "hidden") in tried and ("frames",) in tried
    failed = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB
    for path in tried:
        for value in ABSURD:
            manifest.write_text(json.dumps(with_value(spelt_out, path, value)))
            try:
                model.load_patch(made.patch, name="p")
            except PaveError as error:
                failed += 1
                assert "\n" not in str(error) and len(str(error)) < 1000, (path, value)
            else:
                model.unpatch()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    assert failed > 6 * len(tried)  # a scale may be any number, and True is 1
