"""The authors' annotation and mapping files become records.

Samples without media are listed, broken files refused.
"""

from __future__ import annotations

import json

import pytest

from helpers import paper
from pave.data import write_records
from pave.data.records import read_records
from pave.errors import RecordError
from pave.paper.annotations import read_annotations, video_id


def test_records_of_the_tiny_data(tmp_path):
    found = paper.records()
    first, second = found.records
    assert [(turn.question, turn.answer) for turn in first.turns] == [
        ("What is the sound in the video?", "a dog barking"),
        ("Is there more than one?", "No, just one."),
    ]
    assert second.channels == {"audio": str(paper.DATA / "feat" / "vidB.pt")}
    assert found.missing == {"q2": "missing is not in any mapping file of features"}
    assert read_records(write_records(tmp_path / "r.jsonl", found.records)) == found.records


def test_media_that_is_not_there(tmp_path):
    found = read_annotations(
        paper.DATA / "anno.json",
        channel="audio",
        features={"vidA": "vidA.pt"},
        videos={"vidA": "vidA"},
        feature_root=tmp_path,
    )
    assert not found.records
    assert "there is no" in found.missing["q0"]


@pytest.mark.parametrize("value", [None, 5, True, {}, ["a.pt", None], [["a.pt"]], [{"a": 1}]])
@pytest.mark.parametrize("mapping", ["features", "videos"])
def test_a_mapping_file_names_paths(mapping, value):
    files = {"features": {"vidA": "vidA.pt"}, "videos": {"vidA": "vidA"}, mapping: {"vidA": value}}
    with pytest.raises(RecordError, match=f"the mapping file of {mapping} has a .* for vidA"):
        read_annotations(paper.DATA / "anno.json", channel="audio", **files)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ({"id": 1}, "must hold a list"),
        ([{"id": "a", "video": "v.mp4"}], "sample 1: needs `video`, and `conversations`"),
        (
            [{"video": "v", "conversations": [{"from": "human", "value": "<image>\nx"}]}],
            "must take turns",
        ),
        (
            [
                {
                    "video": "v",
                    "conversations": [
                        {"from": "human", "value": "x"},
                        {"from": "gpt", "value": "y"},
                    ],
                }
            ],
            "must begin with <image>",
        ),
    ],
)
def test_broken_files(tmp_path, content, words):
    path = tmp_path / "anno.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(RecordError, match=words):
        read_annotations(path, channel="audio", features={}, videos={})


def test_ids_used_twice_and_names_of_videos(tmp_path):
    samples = json.loads((paper.DATA / "anno.json").read_text())[:2]
    (tmp_path / "anno.json").write_text(
        json.dumps([{**sample, "id": "same"} for sample in samples])
    )
    maps = {"features": paper.DATA / "fast.json", "videos": paper.DATA / "slow.json"}
    roots = {"feature_root": paper.DATA / "feat", "video_root": paper.DATA / "vid"}
    found = read_annotations(tmp_path / "anno.json", channel="audio", **maps, **roots)
    assert [record.id for record in found.records] == ["same", "same#2"]
    assert video_id("charades/1BFO3.mp4") == "1BFO3"
