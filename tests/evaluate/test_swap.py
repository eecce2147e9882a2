"""`evaluate_swap` and `pave eval --swap`: the numbers, the files, the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers import tinyrun, toy
from pave.bases import load_base
from pave.cli import main
from pave.data import read_records, write_records
from pave.errors import ConfigError
from pave.evaluate import EvalConfig, evaluate, evaluate_swap, evaluate_swap_share
from pave.evaluate.swap_report import outcome, rows_of
from pave.metrics import exact_match
from pave.metrics.bootstrap import mean_bootstrap, share_bootstrap
from pave.model import PatchedModel
from pave.tasks.grids import CELLS, pair_up

SETTINGS = {"frames": 4, "batch": 5, "max_new_tokens": 8, "resamples": 200}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    """Six clips with one question for the ear and a visual one, all with different answers."""
    made = tinyrun.make(tmp_path_factory.mktemp("made"), clips=6, questions=3)
    words = ["dog", "cat", "a bird", "man", "big car", "red"]
    records = []
    for record in read_records(made.records):
        clip, asked = record.id.split("-")
        if clip != "2" and asked != "1":  # clip 2 is silent
            records.append(record.model_copy(update={"answers": [words[int(clip)]]}))
    write_records(made.records, records)
    return made


def _config(made: tinyrun.Run, out: Path, **changes: object) -> EvalConfig:
    arms = {"base": None, "lora": made.lora, "sound": made.patch}
    given = {"records": made.records, "out": out, "base": str(made.base), "arms": arms}
    given |= {"cache": made.records.parent / "cache", "swap": "audio", **SETTINGS}
    return EvalConfig.model_validate({**given, **changes})


def test_an_outcome_by_hand() -> None:
    cells = dict.fromkeys(CELLS, False)
    right = {**cells, (0, 0): True, (1, 1): True, (0, 1): True}
    other = {(0, 1): False, (1, 0): True}
    said = {(0, 0): "dog", (0, 1): "cat", (1, 0): "cat", (1, 1): "cat"}
    margins = {(0, 0): 2.0, (0, 1): -1.0, (1, 0): 1.0, (1, 1): -2.0}
    found = outcome(right, other, said, margins)
    assert (found.matched, found.follows, found.gap, found.other) == (1.0, 0.5, -0.5, 0.5)
    assert found.changed == 0.5  # of two pictures one changed its answer with the sound
    # (2 + 1 + 1 + 2) / 2 for the channel, (1 + 1) / 2 for the picture
    assert (found.channel_effect, found.picture_effect) == (3.0, 1.0)


def test_rows_are_means_over_pairs_and_intervals_over_clips() -> None:
    from tasks.test_grids import _record

    records = []
    for number in range(50):
        records.append(_record(str(number), "Q", str(number)))
        meta = {"channel": "video", "family": "colour"}
        records.append(_record(str(number), "C", str(number), meta=meta))
    pairs = pair_up(records, "audio", exact_match).pairs
    draws = torch.Generator().manual_seed(0)
    margins = torch.randn(len(pairs), 4, generator=draws).tolist()
    cells = dict.fromkeys(CELLS, True)
    said = dict.fromkeys(CELLS, "x")
    own = [outcome(cells, cells, said, dict(zip(CELLS, row, strict=True))) for row in margins]
    none = [outcome(cells, cells, said, dict.fromkeys(CELLS, 0.0)) for _ in pairs]
    rows = rows_of(pairs, {"base": none, "sound": own}, resamples=300, seed=3)
    assert [(row.label, row.arm, row.n) for row in rows] == [
        ("audio", "base", 25),
        ("audio", "sound", 25),
        ("video", "base", 25),
        ("video", "sound", 25),
        ("colour", "base", 25),
        ("colour", "sound", 25),
    ]
    audio = [place for place, pair in enumerate(pairs) if not pair.is_visual]
    effect = [(a - b + c - d) / 2 for a, b, c, d in margins]
    picture = [(a - c + b - d) / 2 for a, b, c, d in margins]
    effect, picture = ([column[place] for place in audio] for column in (effect, picture))
    clips = [pairs[place].clips for place in audio]
    row = rows[1]
    assert row.scores["channel_effect"].value == pytest.approx(sum(effect) / 25)
    assert row.scores["channel_effect"].ci95 == mean_bootstrap(effect, clips, resamples=300, seed=3)
    assert row.minus["base"]["channel_effect"] == row.scores["channel_effect"]
    share = abs(sum(picture)) / (abs(sum(picture)) + abs(sum(effect)))
    assert row.shortcut_index is not None and row.shortcut_index.value == pytest.approx(share)
    assert row.shortcut_index.ci95 == share_bootstrap(picture, effect, clips, resamples=300, seed=3)
    assert rows[0].shortcut_index is None  # a base without any effect has none


def test_a_whole_swap(made: tinyrun.Run, tmp_path: Path) -> None:
    """Answers are those of an ordinary evaluation of the cells; a deaf arm has no effect."""
    report = evaluate_swap(_config(made, tmp_path / "swap"))
    for label in ("audio", "f0", "video", "f2"):
        for arm in ("base", "lora"):
            row = report.row(arm, label)
            # Without the channel its exchange changes nothing, to the bit.
            assert row.scores["channel_effect"].value == 0
            assert row.scores["changed"].value == 0
            assert (row.n, row.clusters) == (2, 2)
    assert report.row("sound", "audio").scores["channel_effect"].value != 0
    # The same cells as records of an ordinary evaluation.
    records = read_records(made.records)
    grids = pair_up(records, "audio", exact_match)
    cells = write_records(tmp_path / "cells.jsonl", grids.cells())
    plain = evaluate(_config(made, tmp_path / "plain", swap=None, records=cells, plot=False))
    for arm in ("base", "lora", "sound"):
        name = f"{arm}.jsonl"
        assert (tmp_path / "swap" / name).read_text() == (tmp_path / "plain" / name).read_text()
        rows = [report.row(arm, label) for label in ("audio", "video")]
        matched = sum(row.scores["matched"].value * row.n for row in rows)
        follows = sum(row.scores["follows"].value * row.n for row in rows)
        assert (matched + follows) / 8 == pytest.approx(plain.arm(arm).accuracy)
    assert sorted(report.left_out) == [
        "no clip is left that is asked the same with a different answer"
    ]
    assert len(report.left_out.popitem()[1]) == 2  # five clips with sound make two pairs
    page = (tmp_path / "swap" / "swap.md").read_text()
    assert "needs sound" in page and "visual control" in page and "Left out: 2 records" in page


def test_margins_are_those_of_plain_sequences(made: tinyrun.Run, tmp_path: Path) -> None:
    """One cell worked out with the model's own forward, from media."""
    evaluate_swap(_config(made, tmp_path))
    pair = pair_up(read_records(made.records), "audio", exact_match).pairs[0]
    cell = pair.cell(0, 1)
    margins = json.loads((tmp_path / "margins" / "sound.json").read_text())
    base = load_base(str(made.base))
    model = PatchedModel(base)
    name = model.load_patch(made.patch, name="p")
    encoder = model.encoder(name)
    assert encoder is not None
    from pave.media import Uniform, read_frames

    frames = read_frames(cell.video, Uniform(4))
    clip = base.clip(frames)
    tokens = encoder.encode(cell.channels["audio"])
    values = []
    for record in pair.records:
        prompt = base.chat.encode(clip.text, [(cell.turns[0].question, record.answers[0])])
        (question, closed) = prompt.turns[0]
        answer = closed[: len(closed) - 1 - closed[::-1].index(base.chat.stop_id)]
        inputs = base.batch([prompt.prefix + question + answer], [clip])
        with torch.no_grad():
            logits = model(channels=[{"p": tokens}], times=[clip.times], **inputs).logits[0]
        chosen = logits.log_softmax(-1)[-1 - len(answer) : -1]
        values.append(chosen.gather(1, torch.tensor(answer)[:, None]).mean().item())
    assert margins[cell.id] == pytest.approx(values[0] - values[1], abs=1e-4)


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(made: tinyrun.Run, tmp_path: Path) -> None:
    whole = evaluate_swap(_config(made, tmp_path / "whole"))
    evaluate_swap(_config(made, tmp_path / "cut"))
    (tmp_path / "cut" / "margins" / "sound.json").unlink()
    answers = (tmp_path / "cut" / "sound.jsonl").read_bytes()
    (tmp_path / "cut" / "sound.jsonl").write_bytes(answers[: len(answers) // 2])
    again = evaluate_swap(_config(made, tmp_path / "cut"))
    assert again.rows == whole.rows
    assert (tmp_path / "cut" / "sound.jsonl").read_bytes() == answers
    with pytest.raises(ConfigError, match="other settings .swap."):
        evaluate_swap(_config(made, tmp_path / "cut", seed=1))


@pytest.mark.slow
def test_shares_leave_what_one_process_would(made: tinyrun.Run, tmp_path: Path) -> None:
    whole = evaluate_swap(_config(made, tmp_path / "whole"))
    second = evaluate_swap_share(_config(made, tmp_path / "cut", shard="2/2"))
    assert second.report is None and 0 < second.answered < second.total == 3 * 16
    first = evaluate_swap_share(_config(made, tmp_path / "cut", shard="1/2"))
    assert first.report is not None and first.answered == first.total
    assert first.report.rows == whole.rows
    for arm in ("base", "lora", "sound"):
        name = f"{arm}.jsonl"
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_what_is_refused(made: tinyrun.Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="evaluate_swap"):
        evaluate(_config(made, tmp_path))
    with pytest.raises(ConfigError, match="name the channel"):
        evaluate_swap(_config(made, tmp_path, swap=None))
    with pytest.raises(ConfigError, match="evaluate_swap_share"):
        evaluate_swap(_config(made, tmp_path, shard="1/2"))
    with pytest.raises(ConfigError, match="scores each answer"):
        evaluate_swap(_config(made, tmp_path, task="avsd"))
    assert not list(tmp_path.iterdir())


def test_the_command(made: tinyrun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "--records", str(made.records), "--base", str(made.base)]
    words += ["--out", str(tmp_path / "out"), "--swap", "audio", "--frames", "4"]
    words += ["--cache", str(made.records.parent / "cache"), "--arms.sound", str(made.patch)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "Shortcut Index" in printed and "needs sound" in printed
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["channel"] == "audio"
    place = words.index("audio")
    other = [*words[:place], "smell", *words[place + 1 :]]
    other[other.index(str(tmp_path / "out"))] = str(tmp_path / "other")
    assert main(other) == 2
    assert "smell channel" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_users_own_file_of_any_channel_by_commands_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A JSONL written by hand, whose channel tells the answer and whose picture says nothing."""
    base = toy.sharp_base()
    base.model.save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    lines = []
    for record in toy.records(tmp_path / "own", clips=6, questions=1):
        number = int(record.id.partition("-")[0])
        # A dog and a horse share each picture: with one of its own, a clip could be learnt by it.
        shared = number // len(toy.SOUNDS)
        pictures = toy.frames(tmp_path / "own" / f"frames{number}", seed=shared)
        line = {
            "id": record.id,
            "video": pictures.name,
            "channels": {"features": Path(record.channels["features"]).name},
            "turns": [{"question": "What is it?", "answer": record.turns[0].answer}],
            "meta": {"channel": "features"},
        }
        lines.append(json.dumps(line) + "\n")
    mine = tmp_path / "own" / "mine.jsonl"
    mine.write_text("".join(lines))
    common = ["--records", str(mine), "--base", str(tmp_path / "base")]
    common += ["--cache", str(tmp_path / "cache"), "--frames", "4"]
    words = ["train", *common, "--out", str(tmp_path / "run"), "--channel", "features"]
    words += ["--encoder", "file", "--encoder-settings.dim", str(toy.DIM), "--steps", "60"]
    words += ["--encoder-settings.rate", "2", "--fusion.hidden", "16", "--lr-gate", "0.05"]
    words += ["--lr-lora", "0.02", "--lr-fusion", "0.01", "--batch-clips", "6", "--seed", "1"]
    assert main(words) == 0, capsys.readouterr().err
    words = ["eval", *common, "--out", str(tmp_path / "out"), "--swap", "features"]
    words += ["--max-new-tokens", "8", "--arms.heard", str(tmp_path / "run" / "patch"), "--json"]
    capsys.readouterr()
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["channel"] == "features"
    (row,) = report["rows"]
    assert (row["label"], row["arm"], row["n"]) == ("features", "heard", 3)
    found = {name: score["value"] for name, score in row["scores"].items()}
    # Only the channel tells the answer, so who has learnt it follows it wherever it goes.
    assert (found["matched"], found["follows"], found["changed"]) == (1.0, 1.0, 1.0)
    # In nats: over seeds and instruction sets, 4.8 to 12.5 against 0.0.
    assert found["channel_effect"] > 1 > abs(found["picture_effect"])
    assert "| features | heard | 3 |" in (tmp_path / "out" / "swap.md").read_text()
