"""A patch that was trained on a template is asked with it, whichever way a question takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pave
from helpers import tinyrun
from helpers.lmms import adapter_class, request
from pave.evaluate import EvalConfig, evaluate
from pave.model import PatchedModel

TEMPLATE = "Listen well. {question} In one word."
QUESTION = "What do you hear?"


@pytest.fixture
def made(tmp_path: Path) -> tinyrun.Run:
    """Records, a base, and a patch with a prompt."""
    made = tinyrun.make(tmp_path, clips=3, questions=2)
    base = pave.load_base(made.base)
    model = PatchedModel(base)
    name = model.load_patch(made.patch)
    patch = model.patches[name]
    patch.config = patch.config.model_copy(update={"prompt": TEMPLATE})
    model.save_patch(made.patch)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every prompt of which an answer was generated, as text."""
    found: list[str] = []
    real = PatchedModel.generate

    def generate(self: PatchedModel, *given: Any, **inputs: Any) -> Any:
        found.extend(self.base.tokenizer.batch_decode(inputs["input_ids"]))
        return real(self, *given, **inputs)

    monkeypatch.setattr(PatchedModel, "generate", generate)
    return found


def put(question: str) -> str:
    """The question as the patch learnt it, in the family's chat format."""
    return f"{TEMPLATE.replace('{question}', question)}<|im_end|>"


def test_ask(made: tinyrun.Run, asked: list[str]) -> None:
    model = PatchedModel(pave.load_base(made.base))
    model.load_patch(made.patch)
    model.ask(made.loud, [QUESTION, "Who?"], frames=4, max_new_tokens=2)
    assert [put(QUESTION) in asked[0], put("Who?") in asked[1]] == [True, True]
    with model.disable_patches():
        model.ask(made.loud, QUESTION, frames=4, max_new_tokens=2)
    model.ask(made.silent, QUESTION, frames=4, max_new_tokens=2)
    assert "Listen" not in asked[2] + asked[3]  # switched off, or without the channel: plainly


def test_evaluate(made: tinyrun.Run, asked: list[str], tmp_path: Path) -> None:
    """Each arm with its patches' prompt, each clip with that of the patches at work on it."""
    arms = {"base": None, "sound": [made.patch], "lora": [made.lora]}
    config = EvalConfig(
        records=made.records, base=str(made.base), out=tmp_path / "out", arms=arms, frames=4,
        store=tmp_path / "store", max_new_tokens=2,
    )  # fmt: skip
    evaluate(config)
    with_template = [prompt for prompt in asked if put("Hm?") in prompt or put("Hm?Hm?") in prompt]
    assert len(asked) == 3 * 3 * 2
    assert len(with_template) == 2 * 2  # of one arm, the questions about the two clips with sound
    assert sum("Listen" in prompt for prompt in asked) == len(with_template)


def test_the_adapter_for_lmms_eval(
    made: tinyrun.Run, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lmm = adapter_class(monkeypatch)(pretrained=str(made.base), patch=str(made.patch), frames=4)
    lmm.task_dict = {"bench": {"test": [{}]}}
    lmm.generate_until([request(QUESTION, [str(made.loud)], max_new_tokens=2)])
    assert put(QUESTION) in asked[0]
