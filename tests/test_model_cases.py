"""Scripts that once showed a fault of pave on tiny models, kept outside: what they print today.

They lie in `../shared/cases/models`, or below PAVE_CASES, and import helpers by the names of their
time, which `tests/old_names` gives them. A script prints rather than fails, so each has patterns
here of what it must print: the right thing, or the clear error that has replaced it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.tiny import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
CASES = Path(os.environ.get("PAVE_CASES") or ROOT.parent / "shared" / "cases") / "models"
SECONDS = 900

TOO_LONG = r"ConfigError .* is longer than the 64 that .* frames are too many, use 15 or fewer"
OFFLOADED = r"BaseError the base's model\.\S+ is offloaded: .* load it on GPUs that hold all of it"
CARRIES = r"BaseError the base carries an adapter \(default\).* merge it first"
QUANTISED = (
    r"fresh = base: True",
    r"disabled = base: True",
    r"grads 58 of 58",
    r"merge PatchError merge\(\) cannot merge the LoRA into .*; use the patch unmerged",
    r"reload same: True",
    r"unpatched = base True",
    r"was trained on a base that was quantised .*, and this one is not",
    r"train fp32 final loss \d",
    r"train bf16 final loss \d",
)

# Script -> patterns, each with how often it is found.
PRINTED: dict[str, dict[str, int]] = {
    "context-length/repro": {r"\d+ frames: " + TOO_LONG: 2, r"train " + TOO_LONG: 1},
    "device-map/repro": {r"all cpu plain HF diff 0\.0 .* patched diff 0\.0": 3, OFFLOADED: 6},
    # The first script goes on behind an error that ends this one.
    "device-map/ctrl": {r"pave (?:fresh patch|load_patch) BaseError .* is offloaded": 2},
    "inputs/repro": {
        r"^(?:numpy frames|torch frames|bytes|two videos \(list\)|video None) -> ConfigError": 5,
        r"^(?:question=bytes|surrogate|very long) -> ConfigError": 3,
        r"^(?:url|str channel of nothing) -> MediaError": 2,
        r"got an unexpected keyword argument": 3,  # asking the model itself has its own names
        # The tiny base has no chat template, so nobody knows where such a message would stand.
        r"^system prompt -> ConfigError .* a system message cannot be written": 1,
    },
    "lora-targets/repro": {
        r"\} outside LM: \[\]$": len(FAMILIES),
        r"-> PatchError (?:no module of the language model|model\.)": 7,
        r"is called v_projj; did you mean v_proj\?": 1,
    },
    "nan-checkpoint/repro": {
        r"first run: TrainError after step 4 the weights are not finite": 1,
        r"checkpoint-2 finite: True": 1,
        r"second run \(cause gone\): \d": 1,
    },
    "other-base/repro": {r"was trained on a base of the same shapes but with other weights": 1},
    "peft-interop/keys": {r"PatchError .* is missing \(\d+ in all\); the file is incomplete": 3},
    "peft-interop/repro": {
        r"peft loads patch/lora: diff 0\.0e\+00": len(FAMILIES),
        r"load_patch\(PEFT adapter\): PatchError .* holds only a PEFT adapter": 1,
        r"pave\.load_base of it: BaseError .* it was saved with an adapter": 1,
        r"pave\.load_base\(tower=(?:True|False)\): " + CARRIES: 2,
    },
    "placeholder-in-text/kin": {
        r"^1st: RuntimeError .* \['checkpoint-4', 'checkpoint-6'\]": 1,
        r"went on": 2,
        r"TrainError .* holds a run with other lr_lora": 1,
        r"eval 1st: no error; 6 answers": 1,
        r"eval 2nd, record mended: ConfigError .* answers made with other settings \(records\)": 1,
    },
    # The text is no token, so the first run reaches its end and prints nothing of its own.
    "placeholder-in-text/late": {
        r"step 32 of 32: loss \d": 1,
        r"2nd, record mended: TrainError .* holds a run with other records": 1,
    },
    "qlora/hqq_case": {r"new_patch: ok, layers \{'HqqLoraLinear'\}": 1, r"^train \d": 1},
    "qlora/repro": dict.fromkeys(QUANTISED, 2),
    "stop-ids/stop": {
        r"lacks the token '</s>' .* its own end token '<\|im_end\|>' is used instead": 1,
        r"answer 'x < y' is cut to: 'x < y'": 1,
    },
    "wrapped-models/compile": {
        r"plain compiled 0\.0": 3,
        r"PatchedModel without patch, compiled \.model 0\.0": 3,
        r"language model alone compiled: 0\.0": 3,
    },
    "wrapped-models/compile2": {
        r"no patch, compiled \.model 0\.0": 8,
        r"torch\.compile\(patched\) 0\.0": 8,
        r"language model \.compile\(\) 0\.0": 8,
        r"PatchError part of the base is compiled, so a LoRA cannot be left out for single": 8,
    },
    "wrapped-models/repro": {
        r"BaseError the base is compiled; pass the model as it was": 1,
        r"BaseError the base is wrapped in DistributedDataParallel; pass its \.module": 1,
        r"no channel vs base 0\.0 disabled vs base 0\.0": 2,
        r"mixed rows: row0 vs want 0\.0 row1 vs base 0\.0": 1,
        r"PatchError part of the base is compiled": 1,
    },
}
NEEDS = {"qlora/repro": "bitsandbytes", "qlora/hqq_case": "hqq"}


def here(script: str) -> bool:
    needed = NEEDS.get(script)
    return needed is None or importlib.util.find_spec(needed) is not None


@pytest.mark.slow
@pytest.mark.skipif(not CASES.is_dir(), reason="no folder of cases; see PAVE_CASES")
@pytest.mark.parametrize("script", PRINTED)
def test_script(script: str) -> None:
    if not here(script):
        pytest.skip(f"{NEEDS[script]} is not installed")
    env = {**os.environ, "PAVE_TESTS": str(ROOT / "tests" / "old_names")}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
    env |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}  # the folder stays as it is
    done = subprocess.run(
        [sys.executable, str(CASES / f"{script}.py")],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    for pattern, count in PRINTED[script].items():
        found = re.findall(pattern, done.stdout, re.MULTILINE)
        assert len(found) == count, f"{pattern}\n{done.stdout[-6000:]}"
