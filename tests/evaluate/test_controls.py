"""Arms that say where a score comes from: blind, shuffled, and what learns from tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import tinyrun
from pave.answer import Sampling
from pave.bases import load_base
from pave.cli import main
from pave.data import Record, Turn, read_records, write_records
from pave.errors import RecordError
from pave.evaluate import EvalConfig, evaluate
from pave.evaluate.arms import ArmSpec, arm_of
from pave.media import Uniform, read_frames, write_video
from pave.model import PatchedModel

SETTINGS = {"frames": 4, "batch": 5, "max_new_tokens": 8, "resamples": 200, "plot": False}
RATE = 16_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    """Four clips with questions; clip 2 is silent."""
    return tinyrun.make(tmp_path_factory.mktemp("made"))


def _config(made: tinyrun.Run, out: Path, **changes: object) -> EvalConfig:
    given = {"records": made.records, "out": out, "base": str(made.base)}
    given |= {"cache": made.records.parent / "cache", **SETTINGS}
    return EvalConfig.model_validate({**given, **changes})


def _said(out: Path, arm: str) -> dict[str, str]:
    rows = [json.loads(line) for line in (out / f"{arm}.jsonl").read_text().splitlines()]
    return {row["id"]: row["prediction"] for row in rows}


def test_how_arms_are_written() -> None:
    assert arm_of(None) == ArmSpec("plain")
    assert arm_of([Path("a"), Path("b")]) == ArmSpec("plain", (Path("a"), Path("b")))
    assert arm_of([Path("C:/patch")]) == ArmSpec("plain", (Path("C:/patch"),))
    assert arm_of([Path("shuffled:a"), Path("b")]) == ArmSpec("shuffled", (Path("a"), Path("b")))
    for word in ("shuffled:", "linear:", "prior:a"):
        with pytest.raises(ValueError, match=f"`{word[:5]}"):
            arm_of([Path(word)])
    given = {"records": "r", "out": "o", "arms": {"guess": "mlp:a"}}
    with pytest.raises(ValueError, match="guess learns from training records"):
        EvalConfig.model_validate(given)
    given = {"records": "r", "out": "o", "arms": {"deaf": "blind:"}, "swap": "audio"}
    with pytest.raises(ValueError, match="leave the control deaf"):
        EvalConfig.model_validate(given)


def test_blind_and_shuffled(made: tinyrun.Run, tmp_path: Path) -> None:
    """Blind answers are those of a talk without a clip."""
    arms = {
        "base": None,
        "lora": made.lora,
        "blind": f"blind:{made.lora}",
        "deaf": f"blind:{made.patch}",
        "shuffled": f"shuffled:{made.patch}",
    }
    report = evaluate(_config(made, tmp_path / "a", arms=arms))
    records = read_records(made.records)
    base = load_base(str(made.base))
    model = PatchedModel(base)
    model.load_patch(made.lora, name="lora")
    blind, deaf = _said(tmp_path / "a", "blind"), _said(tmp_path / "a", "deaf")
    tokens = []
    for record in records:
        question = record.turns[0].question
        message = [{"role": "user", "content": question}]
        assert blind[record.id] == model.chat(message, sampling=Sampling(8))
        with model.disable_patches():
            # Its patch has a channel, which is not there.
            assert deaf[record.id] == model.chat(message, sampling=Sampling(8))
        tokens.append(len(base.chat.encode("", [(question, None)]).ask()))
    model.unpatch()
    assert blind != deaf
    # A prompt with a clip has the clip's placeholders and what is written around them more.
    assert report.prompt_tokens["blind"] == pytest.approx(sum(tokens) / len(tokens), abs=2)
    places = base.clip(read_frames(records[0].video, Uniform(4))).text.count(
        base.family.placeholder
    )
    assert report.prompt_tokens["base"] >= report.prompt_tokens["blind"] + places
    assert report.prompt_tokens["shuffled"] == report.prompt_tokens["base"]
    page = (tmp_path / "a" / "report.md").read_text()
    assert "| tokens of a prompt |" in page
    assert any("deaf" in note and "LoRA-only" in note for note in report.notes)
    assert any("1 clip has no audio" in note and "2-0" in note for note in report.notes)
    assert "has no audio" in page


@pytest.mark.slow
def test_shuffled_answers_are_those_of_exchanged_records(made: tinyrun.Run, tmp_path: Path) -> None:
    """Of three clips with sound there are two derangements; the answers are those of one."""
    evaluate(_config(made, tmp_path / "a", arms={"s": f"shuffled:{made.patch}"}))
    said = _said(tmp_path / "a", "s")
    found = []
    for turn in ({0: 1, 1: 3, 3: 0}, {0: 3, 3: 1, 1: 0}):
        records = []
        for record in read_records(made.records):
            number = int(record.id[0])
            channels = record.channels
            if number in turn:
                channels = {"audio": str(made.records.parent / f"clip{turn[number]}.mp4")}
            records.append(record.model_copy(update={"channels": channels}))
        out = tmp_path / f"turn{turn[0]}"
        file = write_records(out.with_suffix(".jsonl"), records)
        evaluate(_config(made, out, records=file, arms={"sound": made.patch}))
        found.append(_said(out, "sound"))
    assert said in found and found[0] != found[1]


def test_nothing_to_shuffle(made: tinyrun.Run, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="nothing to shuffle"):
        evaluate(_config(made, tmp_path / "a", arms={"s": f"shuffled:{made.lora}"}))
    one = [record for record in read_records(made.records) if record.id[0] in "02"]
    file = write_records(tmp_path / "one.jsonl", one)
    with pytest.raises(RecordError, match="1 clip has the audio channel"):
        evaluate(_config(made, tmp_path / "b", records=file, arms={"s": f"shuffled:{made.patch}"}))


def _heard(folder: Path, numbers: range) -> list[Record]:
    """Clips that hum low or high, by a coin, with a question that only the sound answers."""
    folder.mkdir()
    rng = np.random.default_rng(numbers.start)
    seconds = np.arange(RATE) / RATE
    records = []
    for number in numbers:
        high = number % 2 == 0
        pitch = (2000.0 if high else 300.0) * rng.uniform(0.9, 1.1)
        wave = 0.1 * np.sin(2 * np.pi * pitch * seconds) + 0.01 * rng.standard_normal(RATE)
        frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(4)]
        video = write_video(folder / f"{number}.mp4", frames, 4, wave.astype(np.float32), RATE)
        families = {"pitch": "high" if high else "low", "coin": str(rng.integers(2))}
        for family, answer in families.items():
            record = Record(
                id=f"{number}-{family}",
                video=str(video),
                channels={"audio": str(video)},
                turns=[Turn(question=f"{family}?", answer=answer)],
                meta={"family": family, "channel": "audio"},
            )
            records.append(record)
    return records


def test_what_tokens_hold(
    made: tinyrun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All probes hear the pitch, none tells a coin; clips that are asked teach nothing.

    A kind of question that is asked about silent clips alone gets its most frequent answer.
    """
    test = _heard(tmp_path / "test", range(100, 112))
    train = _heard(tmp_path / "train", range(30))
    always = {"turns": [Turn(question="always?", answer="yes")], "meta": {"family": "silent"}}
    train.append(train[0].model_copy(update={"id": "always", **always}))
    test.append(test[0].model_copy(update={"id": "silent", "channels": {}, **always}))
    # The test's own clips under other ids would be cheating.
    cheats = [record.model_copy(update={"id": f"again-{record.id}"}) for record in test[:-1]]
    file = write_records(tmp_path / "train.jsonl", [*train, *cheats])
    records = write_records(tmp_path / "test.jsonl", test)
    words = ["eval", "--records", str(records), "--base", str(made.base), "--json"]
    words += ["--out", str(tmp_path / "out"), "--frames", "4", "--train-records", str(file)]
    words += ["--arms.prior", "prior:", "--arms.linear", f"linear:{made.patch}"]
    words += ["--arms.mlp", f"mlp:{made.patch}", "--no-plot", "--workers", "0"]
    words += ["--arms.attention", f"attention:{made.patch}"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    shares = {(row["arm"], row["family"]): row["accuracy"] for row in report["arms"]}
    assert shares["prior", "pitch"] == 0.5  # 15 of 30 are high
    assert shares["linear", "pitch"] == shares["mlp", "pitch"] == 1.0
    # A transformer that starts from nothing learns less from 24 clips; chance is a half.
    assert shares["attention", "pitch"] >= 0.6
    for arm in ("linear", "mlp", "attention"):
        assert 0.1 <= shares[arm, "coin"] <= 0.9
        assert shares[arm, "silent"] == 1.0
    assert report["prompt_tokens"]["linear"] is None
    assert sum("12 training clips are asked about" in note for note in report["notes"]) == 4
    assert report["trainable_parameters"] == {}
