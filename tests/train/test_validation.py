"""A patch is scored while it trains: what is asked, which step is best, and when a run ends."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from helpers import tiny, toy
from pave.cli import main
from pave.data import Turn, clip_key, write_records
from pave.errors import ConfigError, RecordError
from pave.evaluate import EvalConfig, evaluate
from pave.train import train
from pave.train.held_out import MOST_CLIPS, split_files
from pave.train.lessons import read_files
from pave.train.run_files import RunFiles
from pave.train.validator import Account


def _split(config):
    files, exam = split_files(config, read_files(config))
    return [record for records in files.values() for record in records], exam.records


class TestHeldOut:
    """Clips that training leaves out."""

    def test_whole_clips_by_the_seed_wherever_the_files_lie(self, tmp_path):
        for place in ("here", "there"):
            (tmp_path / place).mkdir()
            toy.records(tmp_path / place, clips=12, questions=3)
        config = toy.config(tmp_path / "here", validation={"clips": 4})
        left, asked = _split(config)
        assert len(left) == 8 * 3 and len(asked) == 4 * 3
        assert not set(map(clip_key, left)) & set(map(clip_key, asked))
        moved = toy.config(tmp_path / "there", validation={"clips": 4})
        assert [r.id for r in _split(moved)[1]] == [r.id for r in asked]
        control = toy.config(tmp_path / "here", channel=None, validation={"clips": 4})
        assert _split(control)[1] == asked
        other = toy.config(tmp_path / "here", seed=1, validation={"clips": 4})
        assert [r.id for r in _split(other)[1]] != [r.id for r in asked]

    def test_a_tenth_unless_told_otherwise_and_never_all(self, tmp_path):
        toy.records(tmp_path, clips=40, questions=1)
        assert len(_split(toy.config(tmp_path, validation={}))[1]) == 4 <= MOST_CLIPS
        with pytest.raises(ConfigError, match="40 of 40 clips"):
            _split(toy.config(tmp_path, validation={"clips": 40}))

    def test_of_a_mixture_no_file_shows_a_video_that_is_held_out(self, tmp_path):
        made = toy.records(tmp_path, clips=6, questions=1)
        # Both files show the same videos, the second one without the channel.
        shown = [r.model_copy(update={"video": r.channels["features"]}) for r in made]
        bare = [r.model_copy(update={"channels": {}}) for r in shown]
        write_records(tmp_path / "one.jsonl", shown)
        write_records(tmp_path / "two.jsonl", bare)
        files = {name: {"records": tmp_path / f"{name}.jsonl"} for name in ("one", "two")}
        config = toy.config(
            tmp_path, records=None, mixture={"files": files}, validation={"clips": 2}
        )
        left, asked = _split(config)
        assert len(asked) == 4 and len(left) == 8
        assert not {r.video for r in left} & {r.video for r in asked}

    def test_a_file_of_its_own_is_checked_before_anything_is_loaded(self, tmp_path):
        made = toy.records(tmp_path, clips=4, questions=1)
        file = tmp_path / "asked.jsonl"

        def asked(change, **settings):
            write_records(file, [record.model_copy(update=change) for record in made])
            return _split(toy.config(tmp_path, validation={"records": file, **settings}))[1]

        assert len(asked({}, clips=3)) == 3
        with pytest.raises(RecordError, match="no accepted answer to score against"):
            asked({"turns": [Turn(question="What?")]})
        with pytest.raises(RecordError, match="no validation record names the channel features"):
            asked({"channels": {"audio": str(tmp_path / "0.npy")}})
        with pytest.raises(ConfigError, match=r"no score 'acuracy' \(did you mean 'accuracy'\?\)"):
            asked({}, metric="acuracy")
        with pytest.raises(ConfigError, match="mvbench"):
            config = toy.config(tmp_path, task="mvbenhc", validation={"records": file})
            _split(config)
        file.write_text("")
        with pytest.raises(RecordError, match="holds no records"):
            _split(toy.config(tmp_path, validation={"records": file}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"every": 0}, "validation.every: Input should be greater than or equal to 1"),
        ({"every": -5}, "validation.every: Input should be greater than or equal to 1"),
        ({"evry": 5}, r"validation.evry.*\(did you mean 'every'\?\)"),
        ({"patience": 0}, "validation.patience"),
        ({"keep": "all"}, "validation.keep"),
    ],
)
def test_odd_settings_are_refused_by_name(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        toy.config(tmp_path, validation=settings)


def test_validation_behind_the_last_step_is_refused(tmp_path):
    toy.records(tmp_path, clips=3, questions=1)
    config = toy.config(tmp_path, steps=4, validation={"every": 5})
    with pytest.raises(ConfigError, match=r"every is 5, and the run has 4 steps"):
        train(config, base=tiny.base(), progress=False)


def test_the_first_of_equal_scores_is_best_and_patience_counts_from_it(tmp_path):
    account = Account(patience=2)
    assert account.best is None and not account.over
    for step, score, over in ((3, 0.2, False), (6, 0.7, False), (9, 0.7, False), (12, 0.6, True)):
        account.history[step] = score
        assert account.over == over
    assert account.best == 6
    account.save(tmp_path)
    again = Account(patience=None)
    again.restore(tmp_path)
    assert again.history == account.history and again.best == 6 and not again.over


def test_table_page_and_list_show_validations(tmp_path, capsys):
    rows = [
        {"step": 1, "loss": 2.0, "residual_ratio": 0.1, "seconds": 1.0},
        {"step": 1, "metric": "accuracy", "validation": 0.25, "eval_accuracy": 0.25},
        {"step": 2, "loss": 1.0, "residual_ratio": 0.2, "seconds": 2.0},
        {"step": 2, "metric": "accuracy", "validation": 0.75, "eval_accuracy": 0.75},
    ]
    files = RunFiles(tmp_path, rows, steps=2)
    files.close("finished")
    text = (tmp_path / "run.html").read_text()
    assert "Validation score" in text and "0.7500 after step 2" in text and "1.0000" in text
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[-1] for line in lines] == ["validation", "", "0.25", "", "0.75"]
    (tmp_path / "settings.yaml").write_text("seed: 0\n")
    log = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "train_log.jsonl").write_text(log)
    assert main(["runs", str(tmp_path)]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.endswith("best validation") and row.endswith("accuracy 0.7500 at 2")
    # The last training row counts, not the validation behind it.
    assert " 2 " in row and "1.0000" in row


# What follows trains.

SETTINGS = {
    "steps": 45, "batch_clips": 4, "lr_gate": 0.05, "lr_fusion": 0.01, "lr_lora": 0.01, "seed": 0,
    "fusion": {"hidden": 16, "heads": 2, "layers": 1},
    "trainer": {"lr_scheduler_type": "constant_with_warmup"},
    "validation": {"every": 3, "patience": 4},
}  # fmt: skip

KILLED = """
import os, signal, sys
from pathlib import Path
from helpers import toy
from pave.train import train
from pave.train.validator import Validator

def dying(real, step):
    def instead(self, now, *more):
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, now, *more)
    return instead

folder, method, step, settings = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), eval(sys.argv[4])
setattr(Validator, method, dying(getattr(Validator, method), step))
train(toy.config(folder, "killed", **settings), base=toy.sharp_base(), progress=False)
"""


def _noisy(folder: Path) -> Path:
    """Records of which some are wrong, so that who learns them by heart does worse on others."""
    made = toy.records(folder, clips=20, questions=1)
    other = {"dog": "horse", "horse": "dog"}
    learnt = []
    for number, record in enumerate(made[:12]):
        answer = record.turns[0].answer
        if number == 0:
            answer = other[answer]
        learnt.append(record.model_copy(update={"turns": [Turn(question="What", answer=answer)]}))
    write_records(folder / "records.jsonl", learnt)
    return write_records(folder / "asked.jsonl", made[12:])


def _validations(folder: Path) -> list[dict[str, object]]:
    rows = map(json.loads, (folder / "train_log.jsonl").read_text().splitlines())
    return [row for row in rows if "validation" in row]


@pytest.mark.slow
def test_the_best_step_is_kept_patience_stops_and_a_kill_changes_nothing(tmp_path, caplog):
    asked = _noisy(tmp_path)
    settings = {**SETTINGS, "validation": {**SETTINGS["validation"], "records": str(asked)}}
    config = toy.config(tmp_path, "whole", **settings)
    caplog.set_level(logging.INFO)
    whole = train(config, base=toy.sharp_base(), progress=False)
    rows = _validations(config.out)
    best = max(rows, key=lambda row: row["validation"])
    assert (whole.validation["best_step"], whole.validation["best"]) == (
        best["step"],
        best["validation"],
    )
    # Four validations in a row were no better, so it has not taken all of its steps.
    assert whole.steps == rows[-1]["step"] == best["step"] + 4 * 3 < 45
    assert "stopped early" in (config.out / "run.html").read_text()
    # `pave eval` gives each patch the score that the log says.
    base = toy.sharp_base()
    for patch, row in (("best", best), ("patch", rows[-1])):
        out = tmp_path / f"eval-{patch}"
        given = {"records": asked, "out": out, "arms": {"p": config.out / patch}, "plot": False}
        report = evaluate(EvalConfig(**given, cache=config.cache_folder), base=base)
        assert report.task.arms["p"].scores["accuracy"] == row["validation"]

    # Killed between the checkpoint of the best step and its patch, and between a score and the end.
    step = best["step"]
    toy.killed(KILLED, tmp_path, "keep", step, repr(settings))
    toy.killed(KILLED, tmp_path, "note", step + 6, repr(settings))
    resumed = train(toy.config(tmp_path, "killed", **settings), base=base, progress=False)
    assert resumed.resumed_from == step and resumed.steps == whole.steps
    assert _validations(tmp_path / "killed") == rows
    for patch in ("best", "patch"):
        assert toy.weights(tmp_path / "killed" / patch) == toy.weights(config.out / patch)
    # Asked for once more, a run that patience has stopped stays as it is.
    again = train(config, base=base, progress=False)
    assert (again.steps, again.best, again.resumed_from) == (whole.steps, whole.best, whole.steps)
    assert toy.weights(config.out / "patch") == toy.weights(tmp_path / "killed" / "patch")
