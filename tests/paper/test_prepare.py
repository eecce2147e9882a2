"""What the authors publish is read as it is, by one command.

Their training files, their mapping files, and their features.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import minisets, paper
from pave.channels import make_encoder
from pave.cli import main
from pave.data import read_records
from pave.errors import ConfigError, RecordError
from pave.tasks import get_task
from pave.tasks.prepare import convert, prepare, write_authors_files

CONVERSIONS = Path(__file__).parents[1] / "data" / "tasks" / "conversion"
THEIRS = ["--media", str(paper.DATA / "vid"), "--video-map", str(paper.DATA / "slow.json")]
FEATURES = [
    "--authors-features",
    str(paper.DATA / "feat"),
    "--feature-map",
    str(paper.DATA / "fast.json"),
]


def test_training_mapping_and_feature_files_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "train.jsonl"
    words = [
        "prepare",
        "avsd",
        "--annotations",
        str(paper.DATA / "anno.json"),
        *THEIRS,
        *FEATURES,
        "--split",
        "train",
    ]
    assert main([*words, "--out", str(out)]) == 2
    assert "2 media files are missing (3 examples)" in capsys.readouterr().err
    assert (tmp_path / "train.missing.txt").read_text().splitlines() == [
        str(paper.DATA / "vid" / "missing.mp4"),
        str(paper.DATA / "feat" / "missing.pt"),
    ]
    assert main([*words, "--out", str(out), "--allow-missing"]) == 0
    made, wanted = read_records(out), paper.records().records
    assert [(r.id, r.turns, r.video, r.channels) for r in made] == [
        (r.id, r.turns, r.video, r.channels) for r in wanted
    ]
    assert made[0].meta["video_id"] == "vidA"
    capsys.readouterr()
    settings = ["--channel", "audio", "--encoder", "official", "--encoder-settings.dim", "10"]
    assert main(["extract", str(out), *settings, "--store", str(tmp_path / "store"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 2


@pytest.mark.parametrize(
    ("name", "task"),
    [("avsd_train", "avsd"), ("music_avqa_train", "music-avqa"), ("scanqa_train", "scanqa")],
)
def test_their_training_file_says_what_the_annotations_say(name: str, task: str) -> None:
    case = json.loads((CONVERSIONS / f"{name}.json").read_text("utf-8"))
    raw, theirs = (
        convert(get_task(task), case[side], "train", "authors") for side in ("input", "output")
    )
    assert [(e.id, e.turns) for e in theirs] == [(e.id, e.turns) for e in raw]
    assert [e.feature[0].rpartition("/")[2] for e in theirs] == [
        e.feature[0].rpartition("/")[2] for e in raw
    ]


def test_their_mapping_files_of_avqa_go_with_the_public_annotations(tmp_path: Path) -> None:
    data, task = minisets.make("avqa", tmp_path), get_task("avqa")
    files = {
        path.name: path
        for path in write_authors_files(task, data.annotations, "train", tmp_path / "theirs")
    }
    features = tmp_path / "features"
    features.mkdir()
    for name in json.loads(files["from_vid_to_feat_name.json"].read_text()).values():
        (features / name).write_bytes(b"x")
    maps: dict[str, Any] = {
        "video_map": files["from_vid_to_video_name.json"],
        "feature_map": files["from_vid_to_feat_name.json"],
    }
    for given in (data.annotations, [files["train_qa_instruct.json"]]):
        prepared = prepare(task, given, data.media, "train", authors_features=features, **maps)
        assert prepared.summary.missing == []
        assert [Path(record.channels["audio"]).name for record in prepared.records[:2]] == [
            "clip_000000.pt",
            "clip_000001.pt",
        ]
    with pytest.raises(ConfigError, match="the authors' scripts have already converted"):
        write_authors_files(task, [files["train_qa_instruct.json"]], "train", tmp_path / "again")


def test_sound_and_frames_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = minisets.make("avsd", tmp_path), tmp_path / "r.jsonl"
    for kind in ("imagebind", "languagebind"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "V0.pt").write_bytes(b"x")
    (tmp_path / "imagebind" / "V1.pt").write_bytes(b"x")
    words = [
        "prepare",
        "avsd",
        "--annotations",
        str(data.annotations[0]),
        "--media",
        str(data.media),
        "--split",
        "test",
    ]
    assert main([*words, "--out", str(out), "--channels", "audio", "frames"]) == 0
    assert all(
        record.channels == {"audio": record.video, "frames": record.video}
        for record in read_records(out)
    )
    theirs = [
        "--authors-features",
        str(tmp_path / "imagebind"),
        f"frames={tmp_path / 'languagebind'}",
    ]
    assert main([*words, "--out", str(out), *theirs, "--allow-missing"]) == 0
    found = [
        {name: Path(media).parent.name for name, media in record.channels.items()}
        for record in read_records(out)
    ]
    assert found == [{"audio": "imagebind", "frames": "languagebind"}, {"audio": "imagebind"}]
    assert "without the channel  1" in capsys.readouterr().out
    assert main([*words, "--out", str(out), *theirs, "--allow-missing", "--style", "authors"]) == 0
    assert [record.id for record in read_records(out)] == ["V0"]
    capsys.readouterr()
    assert main([*words, "--out", str(out), "--channels", "views"]) == 2
    assert "have no channel 'views'; available: audio, frames" in capsys.readouterr().err
    assert main([*words, "--out", str(out), *theirs, str(tmp_path)]) == 2
    assert "give one folder per channel" in capsys.readouterr().err


def test_other_cameras_are_a_folder_of_files(tmp_path: Path) -> None:
    data = minisets.make("ego-exo4d", tmp_path)
    cameras = torch.randn(3, 2, 4, 5)
    for take in range(2):
        folder = tmp_path / f"features/takes/t{take}/frame_aligned_videos/downscaled/448"
        folder.mkdir(parents=True)
        for number, camera in enumerate(cameras):
            torch.save(camera.clone(), folder / f"cam0{number}.pt")
    prepared = prepare(
        get_task("ego-exo4d"),
        data.annotations,
        data.media,
        "val",
        authors_features=tmp_path / "features",
    )
    source = prepared.records[0].channels["views"]
    assert Path(source).is_dir() and prepared.summary.missing == []
    encoder = make_encoder("views", "official", {"dim": 5, "random_views": True})
    assert torch.equal(encoder.encode(source).values, cameras.transpose(0, 1).flatten(0, 1))


def test_what_does_not_go_together_is_said(tmp_path: Path) -> None:
    task, given = get_task("avsd"), ([paper.DATA / "anno.json"], paper.DATA / "vid", "train")
    feat = paper.DATA / "feat"
    with pytest.raises(ConfigError, match="not both"):
        prepare(task, *given, features=feat, authors_features=feat)
    with pytest.raises(ConfigError, match="with --authors-features"):
        prepare(task, *given, feature_map=paper.DATA / "fast.json")
    with pytest.raises(RecordError, match="must map video ids to paths"):
        prepare(task, *given, video_map=paper.DATA / "anno.json")
    broken = tmp_path / "anno.json"
    broken.write_text(
        '[{"id": 1, "video": "a.mp4", "conversations": [{"from": "human", "value": "no image"}]}]'
    )
    with pytest.raises(RecordError, match="sample 1"):
        prepare(task, [broken], *given[1:])
