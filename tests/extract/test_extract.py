"""Extraction: every clip once, whatever is killed; broken clips are named and cost nothing else."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from helpers import tiny, toy
from helpers.clips import mux, numbered, tone
from pave.cache import TokenCache, gc, merge, verify
from pave.channels import make_encoder, register_encoder
from pave.cli import main
from pave.data import Features, Record, Turn, read_records, write_records
from pave.errors import ChannelError, ConfigError, RecordError
from pave.extract import ExtractConfig, Progress, extract
from pave.files import PlaceError
from pave.media import write_video
from pave.tokens import Tokens

MEL = {"channel": "audio", "encoder": "mel"}
FILE = {"channel": "features", "encoder": "file", "encoder_settings": {"dim": 4}}


def feature_records(folder: Path, clips: int) -> Path:
    """Records whose channel is a small file of features each."""
    chance = np.random.default_rng(0)
    records = []
    for number in range(clips):
        np.save(
            folder / f"{number}.npy", chance.normal(size=(2 + number % 5, 1, 4)).astype(np.float32)
        )
        channels = {"features": str(folder / f"{number}.npy")}
        records.append(
            Record(
                id=str(number),
                video=str(folder / "v.mp4"),
                channels=channels,
                turns=[Turn(question="?")],
            )
        )
    return write_records(folder / "records.jsonl", records)


def sound_records(folder: Path, clips: int) -> Path:
    """Records of short films with a tone each."""
    records = []
    for number in range(clips):
        film = str(
            mux(
                folder / f"{number}.mp4",
                numbered(3),
                sounds=[(0.0, tone(0.5, hertz=200 + 50 * number))],
            )
        )
        records.append(
            Record(id=str(number), video=film, channels={"audio": film}, turns=[Turn(question="?")])
        )
    return write_records(folder / "records.jsonl", records)


def content(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Everything in a store."""
    store = TokenCache(folder)
    return {key: store.get(key) or {} for key in store.keys()}  # noqa: SIM118 - not a dictionary


def same(one: Path, other: Path) -> bool:
    """Whether two stores hold the same tokens, to the bit."""
    ours, theirs = content(one), content(other)
    return ours.keys() == theirs.keys() and all(
        ours[key].keys() == theirs[key].keys()
        and all(torch.equal(tensor, theirs[key][name]) for name, tensor in ours[key].items())
        for key in ours
    )


def config(records: Path, cache: Path, **more: Any) -> ExtractConfig:
    return ExtractConfig(records=records, cache=cache, **more)


# ---------------------------------------------------------------- what it makes


def test_training_finds_what_was_extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = toy.records(tmp_path, clips=3, questions=2, with_channel=2)
    base, seen = tiny.base(), list[Progress]()
    settings = {
        "channel": "features",
        "encoder": "file",
        "encoder_settings": {"dim": toy.DIM, "rate": 2.0},
    }
    wanted = config(
        tmp_path / "records.jsonl",
        tmp_path / "store",
        visual=True,
        base="tiny",
        frames=4,
        cache_dtype="exact",
        **settings,
    )
    report = extract(wanted, base=base, watch=seen.append)
    # The clips show the same frames: one set of visual tokens serves all.
    assert (report.clips, report.made, report.found, report.without, report.skipped) == (
        3,
        3,
        2,
        1,
        [],
    )
    assert (seen[-1].done, seen[-1].total, seen[-1].left) == (3, 3, 0.0) and seen[-1].rate > 0
    assert report.bytes > 0
    monkeypatch.setattr(base, "visual", lambda *_: pytest.fail("the tower ran again"))
    encoder = make_encoder("features", "file", {"dim": toy.DIM, "rate": 2.0})
    features = Features(base, {"features": encoder}, TokenCache(tmp_path / "store"), frames=4)
    assert features.precompute(records).computed == 0
    assert features[records[0]].channels["features"].values.shape == (5, 1, toy.DIM)
    again = extract(wanted, base=base)
    assert (again.made, again.found, again.bytes) == (0, 5, 0)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_a_narrow_store_gives_tokens_of_the_base_type(tmp_path: Path, family: str) -> None:
    (record, *_) = toy.records(tmp_path, clips=1)
    base = tiny.base(family)
    exact = Features(base, {}, TokenCache(tmp_path / "exact"), frames=4)[record]
    narrow = Features(base, {}, TokenCache(tmp_path / "narrow", torch.bfloat16), frames=4)[record]
    assert narrow.visual.tokens.dtype == base.dtype and narrow.visual.layout == exact.visual.layout
    torch.testing.assert_close(narrow.visual.tokens, exact.visual.tokens, rtol=2**-8, atol=0)
    for name, value in exact.clip.pixels.items():
        assert (
            torch.equal(narrow.clip.pixels[name], value)
            and narrow.clip.pixels[name].dtype == value.dtype
        )
    assert torch.equal(narrow.clip.times, exact.clip.times)


def test_settings_that_contradict_each_other() -> None:
    for wrong in (
        {},
        {"channel": "audio"},
        {"visual": True},
        {**MEL, "shard": "0/2"},
        {**MEL, "shard": "3/2"},
        {**MEL, "shard": "half"},
        {**MEL, "workers": -1},
    ):
        with pytest.raises(ValidationError):
            ExtractConfig(records="r", cache="s", **wrong)  # type: ignore[arg-type]


def test_refusals(tmp_path: Path) -> None:
    records = feature_records(tmp_path, 1)
    with pytest.raises(RecordError, match="cannot read .* give a JSONL file of records"):
        extract(config(tmp_path / "nowhere.jsonl", tmp_path / "s", **FILE))
    with pytest.raises(ChannelError, match="there is no encoder"):
        extract(config(records, tmp_path / "s", channel="audio", encoder="nope"))
    extract(config(records, tmp_path / "s", **FILE))
    assert (
        extract(config(records, tmp_path / "s", **FILE)).found == 1
    )  # the type need not be named again
    with pytest.raises(ConfigError, match="stores torch.bfloat16"):
        TokenCache(tmp_path / "s", torch.float32)


def test_parts_join_to_the_whole(tmp_path: Path) -> None:
    records = feature_records(tmp_path, 30)
    whole = extract(config(records, tmp_path / "whole", **FILE))
    parts = [
        extract(config(records, tmp_path / f"part{i}", shard=f"{i}/3", **FILE)) for i in (1, 2, 3)
    ]
    assert sum(part.clips for part in parts) == sum(part.made for part in parts) == whole.made == 30
    into = TokenCache(tmp_path / "all", torch.bfloat16)
    assert merge(into, [TokenCache(tmp_path / f"part{i}") for i in (1, 2, 3)]) == 30
    assert same(tmp_path / "all", tmp_path / "whole")


def test_two_shards_fill_one_cache(tmp_path: Path) -> None:
    records = feature_records(tmp_path, 20)
    extract(config(records, tmp_path / "whole", **FILE))
    for shard in ("1/2", "2/2"):
        assert extract(config(records, tmp_path / "both", shard=shard, **FILE)).found == 0
    assert same(tmp_path / "both", tmp_path / "whole")


def test_the_cache_was_called_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = feature_records(tmp_path, 2)
    old = ExtractConfig(records=records, store=tmp_path / "s", **FILE)  # type: ignore[call-arg, arg-type]
    assert old.cache == tmp_path / "s"
    words = ["extract", str(records), "--channel", "features", "--encoder", "file"]
    words += ["--encoder-settings.dim", "4", "--store", str(tmp_path / "s"), "--json"]
    assert main(words) == 0 and json.loads(capsys.readouterr().out)["made"] == 2


# ---------------------------------------------------------------- broken media


def test_broken_media_is_named_and_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Truncated, text, empty, missing, a playlist, a file of noise; a silent film is not broken."""
    records = sound_records(tmp_path, 3)
    whole = (tmp_path / "0.mp4").read_bytes()
    write_video(tmp_path / "silent.mp4", numbered(5), 25, None)
    bad = {
        "truncated": whole[: len(whole) // 2],
        "text": b"this is not a film\n" * 20,
        "empty": b"",
        "missing": None,
        "playlist": b"#EXTM3U\n#EXTINF:5,\n0.mp4\n",
        "noise": random.Random(0).randbytes(5000),
    }
    more = []
    for name, data in [*bad.items(), ("silent", b"-")]:
        film = tmp_path / f"{name}.mp4"
        if data and name != "silent":
            film.write_bytes(data)
        elif name == "empty":
            film.touch()
        more.append(
            Record(
                id=name, video=str(film), channels={"audio": str(film)}, turns=[Turn(question="?")]
            )
        )
    write_records(records, [*more, *read_records(records)])
    words = [
        "extract",
        str(records),
        "--channel",
        "audio",
        "--encoder",
        "mel",
        "--store",
        str(tmp_path / "store"),
    ]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["clips"], report["made"], report["absent"]) == (10, 3, 1)
    assert {row["id"] for row in report["skipped"]} == set(bad)
    assert all(
        f"{row['id']}.mp4" in row["reason"] and "\n" not in row["reason"]
        for row in report["skipped"]
    )
    assert len(TokenCache(tmp_path / "store").keys()) == 4  # nothing stands in for what is broken

    assert main(words) == 0
    out = capsys.readouterr().out
    assert (
        "skipped  6" in out
        and "recorded earlier; --retry tries it again" in out
        and "skipped audio of missing" in out
    )
    (tmp_path / "truncated.mp4").write_bytes(whole)  # mended: other bytes, another key
    assert main([*words, "--json"]) == 0
    assert "truncated" not in {row["id"] for row in json.loads(capsys.readouterr().out)["skipped"]}


def test_retry_takes_a_note_back(tmp_path: Path) -> None:
    """What failed for a passing reason works when tried again."""
    records = feature_records(tmp_path, 2)
    store = TokenCache(tmp_path / "store", torch.bfloat16)
    extract(config(records, tmp_path / "store", **FILE))
    (some, _) = store.keys()
    gc(store, drop=["features/file"])
    store.fail(some, "the disk was gone")
    report = extract(config(records, tmp_path / "store", **FILE))
    assert report.made == 1 and "the disk was gone" in report.skipped[0].reason
    assert extract(config(records, tmp_path / "store", retry=True, **FILE)).made == 1
    assert (
        store.failure(some) is None
        and extract(config(records, tmp_path / "store", **FILE)).found == 2
    )


def test_an_encoder_with_a_bug_costs_only_its_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = feature_records(tmp_path, 3)
    from pave.channels.features import FeaturesEncoder

    original = FeaturesEncoder.encode

    def encode(self: FeaturesEncoder, source: Any) -> Any:
        if str(source).endswith("1.npy"):
            raise ZeroDivisionError("oh no")
        return original(self, source)

    monkeypatch.setattr(FeaturesEncoder, "encode", encode)
    here = config(records, tmp_path / "store", workers=0, **FILE)  # where the patch of a test holds
    report = extract(here)
    assert (report.made, [(row.id, row.reason) for row in report.skipped]) == (
        2,
        [("1", "unexpected ZeroDivisionError: oh no")],
    )
    monkeypatch.undo()
    assert (
        extract(config(records, tmp_path / "store", **FILE)).made == 1
    )  # not noted: it may be mended


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_not_a_broken_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    records = feature_records(tmp_path, 3)

    def put(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pave.files.sync", put)
    with pytest.raises(PlaceError, match=os.strerror(number)):
        extract(config(records, tmp_path / "store", **FILE))
    monkeypatch.undo()
    assert extract(config(records, tmp_path / "store", **FILE)).made == 3


# ---------------------------------------------------------------- scripts with workers


def _page_script() -> str:
    """The page's example, with two workers."""
    page = (Path(__file__).parents[2] / "docs/reference/token-cache.md").read_text()
    return page.split("```python\n")[1].split("```")[0].replace("workers=4", "workers=2")


def _run_script(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    sound_records(folder, 2).rename(folder / "train.jsonl")
    (folder / "script.py").write_text(script)
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "script.py"]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_page_s_script_runs(tmp_path: Path) -> None:
    done = _run_script(tmp_path, _page_script())
    assert (done.returncode, done.stdout) == (0, "2 []\n[]\n"), done.stderr


@pytest.mark.slow
def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    """Workers do not run it again, as those of multiprocessing do."""
    lines = [line for line in _page_script().splitlines() if "__main__" not in line]
    script = "print('once')\n" + "\n".join(line.removeprefix("    ") for line in lines)
    done = _run_script(tmp_path, script)
    assert (done.returncode, done.stdout) == (0, "once\n2 []\n[]\n"), done.stderr


def test_an_encoder_of_the_running_script_encodes_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No other process knows it, and that is said."""

    class Settings(BaseModel, extra="forbid"):
        pass

    @register_encoder("of the script", "test", Settings)
    class OfTheScript:
        channel, name, dim = "of the script", "test", 4

        def __init__(self, settings: Settings) -> None:
            self.settings = settings.model_dump()

        def encode(self, source: Any) -> Tokens:
            return Tokens(torch.zeros(1, 1, 4), torch.zeros(1, dtype=torch.float64))

    rows = read_records(feature_records(tmp_path, 2), check_media=False)
    own = [
        row.model_copy(update={"channels": {"of the script": row.channels["features"]}})
        for row in rows
    ]
    records = write_records(tmp_path / "records.jsonl", own)
    wanted = config(records, tmp_path / "store", channel="of the script", encoder="test", workers=2)
    assert extract(wanted).made == 2
    assert "of the script/test is registered in this process only" in caplog.text


# ---------------------------------------------------------------- kills and company


def _extract(records: Path, store: Path, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    extract(config(records, store, **settings))


def _process(*arguments: Any) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=_extract, args=arguments)
    process.start()
    return process


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "clips"), [("features", 160), ("sound", 240)])
def test_ten_kills_lose_nothing_and_double_nothing(tmp_path: Path, kind: str, clips: int) -> None:
    """SIGKILL at random moments, while encoding and writing; then one call to the end."""
    make, settings = (feature_records, FILE) if kind == "features" else (sound_records, MEL)
    records = make(tmp_path, clips)
    extract(config(records, tmp_path / "whole", **settings))
    chance, killed, seen = random.Random(7), 0, 0
    for _ in range(40):
        process = _process(records, tmp_path / "store", settings)
        process.join(chance.uniform(0.02, 0.25))
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
        there = len(TokenCache(tmp_path / "store").keys()) if (tmp_path / "store").exists() else 0
        assert there >= seen  # what is done stays done
        seen = there
        if killed == 10:
            break
    assert killed == 10
    report = extract(config(records, tmp_path / "store", **settings))
    assert report.skipped == [] and report.made + report.found == clips
    assert same(tmp_path / "store", tmp_path / "whole")
    assert verify(TokenCache(tmp_path / "store")).damaged == []


@pytest.mark.slow
def test_two_processes_share_one_store(tmp_path: Path) -> None:
    records = sound_records(tmp_path, 48)
    extract(config(records, tmp_path / "whole", **MEL))
    processes = [_process(records, tmp_path / "store", MEL) for _ in range(2)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert same(tmp_path / "store", tmp_path / "whole")


CRASHER = """
import os, signal
from pathlib import Path
import numpy as np, torch
from pydantic import BaseModel
from pave.channels import register_encoder
from pave.tokens import Tokens

class Settings(BaseModel, extra="forbid"):
    pass

@register_encoder("crash", "test", Settings)
class Crash:
    channel, name, dim = "crash", "test", 4
    def __init__(self, settings):
        self.settings = {}
    def encode(self, source):
        if Path(source).stem in ("3", "11"):
            os.kill(os.getpid(), signal.SIGSEGV)
        values = torch.from_numpy(np.load(source))
        return Tokens(values, torch.arange(len(values), dtype=torch.float64))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_clip_that_kills_its_process_is_found_and_named(tmp_path: Path, workers: str) -> None:
    """With real worker processes; also: a killed call leaves no workers behind."""
    records = feature_records(tmp_path, 20)
    write_records(
        records,
        [
            r.model_copy(update={"channels": {"crash": r.channels["features"]}})
            for r in read_records(records, check_media=False)
        ],
    )
    plugin = tmp_path / "plugin"
    (plugin / "crasher-0.dist-info").mkdir(parents=True)
    (plugin / "crasher.py").write_text(CRASHER)
    (plugin / "crasher-0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: crasher\nVersion: 0\n"
    )
    (plugin / "crasher-0.dist-info" / "entry_points.txt").write_text(
        "[pave.encoders]\ncrash.test = crasher\n"
    )
    source = Path(__file__).parents[2] / "src"
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(plugin), str(source)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "pave",
        "extract",
        str(records),
        "--channel",
        "crash",
        "--encoder",
        "test",
    ]
    command += ["--store", str(tmp_path / "store"), "--workers", workers, "--json"]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    died = "the process that read it died (SIGSEGV; a decoder crashed, or the memory was exhausted)"
    assert {row["id"]: row["reason"] for row in report["skipped"]} == {
        number: f"{tmp_path / number}.npy: {died}" for number in ("3", "11")
    }
    assert len(TokenCache(tmp_path / "store").keys()) == 18
