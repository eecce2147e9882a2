"""What `pave eval` writes into the folders of the patches: numbers, card, and files for the Hub."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from helpers import tinyrun
from pave.cli import main
from pave.evaluate import Report
from pave.model import PatchedModel
from pave.patches import read_config
from pave.patches.folder import check_folder
from pave.patches.scores import read_scores


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    """Clips, base and patches."""
    return tinyrun.make(tmp_path_factory.mktemp("made"))


def evaluate(made: tinyrun.Run, out: Path, *more: str) -> Report:
    """`pave eval` with the base, the LoRA-only control and the patch."""
    words = ["eval", "--records", str(made.records), "--out", str(out), "--base", str(made.base)]
    words += ["--arms.base", "none", "--arms.lora", str(made.lora)]
    words += ["--arms.sound", str(made.patch), "--frames", "4", "--max-new-tokens", "2"]
    words += ["--no-plot", "--cache", str(made.records.parent / "cache"), *more]
    assert main(words) == 0
    return Report.model_validate_json((out / "results.json").read_text())


def test_eval_writes_all_arms_into_each_patch(
    made: tinyrun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = (made.patch / "patch.json").read_bytes()
    evaluate(made, tmp_path / "look", "--limit", "1")
    assert "the scores are not written to any patch's card" in capsys.readouterr().err
    assert not (made.patch / "scores.json").exists()
    report = evaluate(made, tmp_path / "out")
    assert capsys.readouterr().err.count("the scores were written to the card of") == 2
    # What the patch is has not changed, so the same command goes on where it ended.
    assert (made.patch / "patch.json").read_bytes() == manifest
    assert evaluate(made, tmp_path / "out").arms == report.arms
    for arm, folder in (("lora", made.lora), ("sound", made.patch)):
        (evaluation,) = read_scores(folder, check_folder(folder))
        assert evaluation.arm == arm
        (row,) = evaluation.measured
        assert row.value == round(100 * report.arm(arm).accuracy, 2)
        gap = report.gap(arm, "base")
        assert f"{100 * gap.difference:+.1f} against base" in row.notes
        text = (folder / "README.md").read_text()
        header = "| questions | n | base | lora | sound | sound - base | sound - lora |"
        assert header in text
        (data,) = ModelCard(text).data.eval_results or []
        assert data.metric_value == row.value
        (file,) = (folder / ".eval_results").iterdir()
        (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text()))
        assert (entry.value, entry.notes) == (row.value, row.notes)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry.date or "")


def test_scores_stay_with_their_weights(
    made: tinyrun.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(made, tmp_path / "out")
    from pave.bases import load_base

    model = PatchedModel(load_base(str(made.base)))
    name = model.load_patch(made.patch, trainable=True)
    same = model.save_patch(tmp_path / "same", name)
    assert len(read_scores(same, read_config(same))) == 1
    assert "## Scores on records" in (same / "README.md").read_text()
    for parameter in model.trainable_parameters().values():
        parameter.requires_grad_(False).add_(1)  # in place, as an optimiser does
    other = model.save_patch(tmp_path / "other", name)
    assert not (other / "scores.json").exists()
    shutil.copy(same / "scores.json", other / "scores.json")
    assert read_scores(other, read_config(other)) == []
    assert "scores of other weights" in caplog.text


def test_an_edited_card_and_a_locked_folder_do_not_end_an_evaluation(
    made: tinyrun.Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (made.lora / "README.md").write_text("# Mine\n")
    (made.patch / "scores.json").write_text("no")
    evaluate(made, tmp_path / "out")
    assert (made.lora / "README.md").read_text() == "# Mine\n"
    assert "was edited" in caplog.text
    assert "the scores were not written to the card" in capsys.readouterr().err
    assert (made.patch / "scores.json").read_text() == "no"


def test_info_shows_scores_and_an_example(
    made: tinyrun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "patch"
    shutil.copytree(made.patch, folder)
    (folder / "scores.json").unlink()
    example = {"clip": "seed 7", "question": "What is heard?", "base": "dog", "patch": "a bell"}
    from pave.bases import load_base

    model = PatchedModel(load_base(str(made.base)))
    name = model.load_patch(folder)
    model.save_patch(folder, name, example=example)
    assert "| with the patch | a bell |" in (folder / "README.md").read_text()
    assert main(["info", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["example"] == example
