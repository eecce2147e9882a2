"""The authors' conversions, record for record, and the sensible ones beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import minisets
from helpers.minisets import TASKS
from pave.errors import RecordError
from pave.tasks import Style, get_task
from pave.tasks.files import read_annotations
from pave.tasks.music_avqa import ANSWERS, fill
from pave.tasks.prepare import convert

DATA = Path(__file__).parents[1] / "data" / "tasks" / "conversion"
CASES = {
    "avsd_train": ("avsd", "train"),
    "llava_video_subset": ("llava-video", "train"),
    "music_avqa_clean": ("music-avqa", "train"),
    "music_avqa_train": ("music-avqa", "train"),
    "scanqa_train": ("scanqa", "train"),
    "sqa3d_test": ("sqa3d", "test"),
}


def case(name: str) -> dict:
    return json.loads((DATA / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_authors_files_are_equal(name):
    task, split = CASES[name]
    made = get_task(task).authors_files(case(name)["input"], split)
    for file, content in case(name)["output"].items():
        assert made[file] == content
        assert json.dumps(made[file]) == json.dumps(content), "also in the order of the fields"


@pytest.mark.parametrize(
    "name", ["avsd_train", "llava_video_subset", "music_avqa_train", "scanqa_train"]
)
def test_authors_examples_say_what_their_files_say(name):
    task, split = CASES[name]
    (wanted,) = case(name)["output"].values()
    examples = convert(get_task(task), case(name)["input"], split, "authors")
    said = [[text for turn in example.turns for text in turn] for example in examples]
    assert said == [
        [turn["value"].removeprefix("<image>\n") for turn in row["conversations"]] for row in wanted
    ]
    assert [example.id.split("#")[0] for example in examples] == [str(row["id"]) for row in wanted]
    assert len({example.id for example in examples}) == len(examples)


def test_sqa3d_answers_and_kinds_in_both_styles():
    made = case("sqa3d_test")
    ours = {
        style: convert(get_task("sqa3d"), made["input"], "test", style)
        for style in ("default", "authors")
    }
    questions = made["output"]["llava3d_sqa3d_test_question.json"]
    assert [e.turns[0][0] for e in ours["authors"]] == [row["text"] for row in questions]
    assert [e.answers for e in ours["authors"]] == [(row["answers"][0],) for row in questions]
    assert [e.answers for e in ours["default"]] == [tuple(row["answers"]) for row in questions]
    lower, spaces = 6, 7
    assert [ours["authors"][place].labels for place in (lower, spaces)] == [("Other",), ("Other",)]
    assert [ours["default"][place].labels for place in (lower, spaces)] == [("What",), ("What",)]


def test_sqa3d_reads_the_data_sets_own_two_files():
    question = {
        "scene_id": "s",
        "situation": "I stand.",
        "question": "What is it?",
        "question_id": 1,
        "alternative_situation": [],
    }
    answer = {"question_id": 1, "answers": [{"answer": "piano"}, {"answer": "a piano"}]}
    answer |= {
        "position": {"x": 1, "y": 2, "z": 3},
        "rotation": {"_x": 0, "_y": 0, "_z": 0, "_w": 1},
    }
    files = {"q.json": {"questions": [question]}, "a.json": {"annotations": [answer]}}
    (example,) = convert(get_task("sqa3d"), files, "test")
    assert (example.turns[0], example.answers) == (
        ("I stand. What is it?", "piano"),
        ("piano", "a piano"),
    )
    assert example.meta["position"] == [1, 2, 3, 0, 0, 0, 1]
    with pytest.raises(RecordError, match="needs its questions and its annotations"):
        convert(get_task("sqa3d"), {"q.json": {"questions": [question]}}, "test")


def test_avsd_keeps_the_rest_of_a_dialogue_by_default():
    made = case("avsd_train")
    ours = {
        style: convert(get_task("avsd"), made["input"], "train", style)
        for style in ("default", "authors")
    }
    short = {e.id for e in ours["default"]} - {e.id for e in ours["authors"]}
    assert short == {"ZZ9YX_1", "Q0000_0"}
    assert {len(e.turns) for e in ours["authors"]} == {5}


def test_avsd_test_asks_the_last_question_after_the_true_history():
    dialogue = {
        "image_id": "V1",
        "dialog": [{"question": f"q{i}", "answer": f"a{i}"} for i in range(3)],
    }
    (example,) = convert(get_task("avsd"), {"mock.json": {"dialogs": [dialogue]}}, "test")
    assert example.turns == (("q0", "a0"), ("q1", "a1"), ("q2", None))
    assert example.answers == ("a2",)
    gt = get_task("avsd").authors_files({"mock.json": {"dialogs": [dialogue]}}, "test")[
        "coco_version_test_gt.json"
    ]
    assert gt["annotations"] == [{"image_id": "V1", "id": 0, "caption": "a2"}]
    assert gt["images"][0]["id"] == "V1"
    dialogue["dialog"][-1]["answer"] = "__UNDISCLOSED__"
    with pytest.raises(RecordError, match="not disclosed"):
        convert(get_task("avsd"), {"mock.json": {"dialogs": [dialogue]}}, "test")


def test_music_avqa_templates_and_doubling():
    made = case("music_avqa_clean")["input"]
    default = convert(get_task("music-avqa"), made, "train")
    authors = convert(get_task("music-avqa"), made, "train", "authors")
    assert [e.id for e in default] == ["1", "2", "3", "4", "5", "6", "7"]
    assert [e.id for e in authors] == [
        "1",
        "1#2",
        "2",
        "2#2",
        "3",
        "4",
        "4#2",
        "5",
        "5#2",
        "6",
        "7",
        "7#2",
    ]
    assert convert(get_task("music-avqa"), made, "test", "authors") == convert(
        get_task("music-avqa"), made, "test"
    )
    assert default[0].video[0] == "MUSIC-AVQA-videos-Real/00000093.mp4"
    assert default[2].video[0] == "MUCIS-AVQA-videos-Synthetic/sy00000317.mp4"
    assert default[2].labels == ("Visual", "Visual Location")
    assert len(ANSWERS) == len(set(ANSWERS)) == 42
    for values in ([], ["a", "b"]):
        with pytest.raises(RecordError, match="1 template but"):
            fill("Is the <Object> there?", values)


def test_scanqa_val_is_renumbered_by_the_authors_only():
    row = {
        "scene_id": "scene0011_00",
        "question_id": "val-7",
        "question": "What is red?",
        "answers": ["chair", "a chair"],
    }
    files, task = {"ScanQA_v1.0_val.json": [row]}, get_task("scanqa")
    assert convert(task, files, "val")[0].id == "val-7"
    assert convert(task, files, "val", "authors")[0].id == "000001"
    made = task.authors_files(files, "val")
    head = {"question_id": "000001", "scene_id": "scene0011_00"}
    assert made["llava3d_scanqa_val_answer.json"] == [
        {**head, "text": ["chair", "a chair"], "video": "scene0011_00"}
    ]
    question = {
        **head,
        "text": "What is red?",
        "answers": ["chair", "a chair"],
        "video": "scene0011_00",
    }
    assert made["llava-3d-scanqa_val_question.json"] == [question]
    with pytest.raises(RecordError, match="hidden"):
        convert(
            task,
            {
                "t.json": [
                    {**row, "answers": None} and {k: v for k, v in row.items() if k != "answers"}
                ]
            },
            "val",
        )


def test_avqa_prompt_and_mapping_files():
    row = {
        "id": 183,
        "video_name": "-HG_000030",
        "question_text": "What happened?",
        "multi_choice": ["a", "b", "c", "d"],
        "answer": 1,
    }
    row |= {"question_relation": "View", "question_type": "Happening"}
    made = get_task("avqa").authors_files({"train_qa.json": [row]}, "train")
    (record,) = made["train_qa_instruct.json"]
    assert record["conversations"][0]["value"] == (
        "<image>\nSelect the best answer to the following multiple-choice question based on the "
        "video and the subtitles. "
        "Respond with only the letter (A, B, C, or D) of the correct option.\nWhat "
        "happened?\nA.a\nB.b\nC.c\nD.d\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert (record["id"], record["conversations"][1]["value"], record["video"]) == (
        183,
        "B",
        "-HG_000030",
    )
    assert made["from_vid_to_feat_name.json"] == {"-HG_000030": "-HG_000030.pt"}
    (example,) = convert(get_task("avqa"), {"val_qa.json": [row]}, "val")
    assert (example.answers, example.options, example.labels) == (
        ("B",),
        ("a", "b", "c", "d"),
        ("View", "Happening"),
    )


def test_lmms_eval_prompts():
    mme = {
        "videoID": "x",
        "question_id": "1-1",
        "question": "Who?",
        "options": ["A. he.", "B. she."],
        "answer": "B",
    }
    mme |= {"duration": "short", "task_type": "Counting Problem"}
    (example,) = convert(get_task("videomme"), {"m.json": [mme]}, "test")
    assert example.turns[0][0].endswith(
        "option.\nWho?\nA. he.\nB. she.\n\nAnswer with the option's letter from the given choices "
        "directly."
    )
    bench = {
        "video": "v.mp4",
        "question": "What?",
        "candidates": ["x", "y"],
        "answer": "y",
        "start": 1.0,
        "end": 2.0,
    }
    (example,) = convert(get_task("mvbench"), {"state_change.json": [bench]}, "test")
    assert example.turns[0] == (
        "Question:What?\nOption:\n(A) x\n(B) y\nOnly give the best option.\n",
        "B",
    )
    assert (example.video[0], example.meta["start"]) == ("perception/videos/v.mp4", 1.0)
    mlvu = {
        "video_name": "v.mp4",
        "question": "Q?\n(A) x\n(B) y",
        "candidates": ["x", "y"],
        "answer": "A",
        "task_type": "TR",
    }
    (example,) = convert(get_task("mlvu"), {"m.jsonl": [mlvu]}, "test")
    assert example.turns[0][0] == "\nQ?\n(A) x\n(B) y\nOnly give the best option.\n\nBest option: ("


def test_ego_exo4d_takes_the_other_cameras_as_views():
    paths = {
        "exo2": "takes/t/frame_aligned_videos/cam02.mp4",
        "ego": "takes/t/frame_aligned_videos/aria01.mp4",
    }
    row = {
        "take_uid": "u1",
        "scenario_name": "Bike",
        "video_paths": paths,
        "proficiency_score": "Early Expert",
    }
    (example,) = convert(get_task("ego-exo4d"), {"a.json": {"annotations": [row]}}, "val")
    assert example.video[0] == "takes/t/frame_aligned_videos/downscaled/448/aria01.mp4"
    assert [view[0] for view in example.views] == [
        "takes/t/frame_aligned_videos/downscaled/448/cam02.mp4"
    ]
    name = "proficiency_demonstrator_train_instruct_short_prompt.json"
    (record,) = get_task("ego-exo4d").authors_files({"a.json": {"annotations": [row]}}, "train")[
        name
    ]
    assert record["conversations"][0]["value"].startswith(
        "<image>\nIn this video, a human is performing an activity. Your goal"
    )
    assert record["conversations"][0]["value"].endswith("expertise. Example Output: Early Expert")


@pytest.mark.parametrize("style", ["default", "authors"])
@pytest.mark.parametrize("name", TASKS)
def test_wrong_files_are_one_clear_error(name: str, style: Style):
    task = get_task(name)
    for wrong in ([], {}, [{"nonsense": 1}], {"annotations": 3}, [3], "text"):
        with pytest.raises(RecordError):
            convert(task, {"wrong.json": wrong}, next(iter(task.splits)), style)


@pytest.mark.parametrize(
    "value",
    [None, [1], {"a": 1}, True, float("nan")],
    ids=["null", "list", "object", "true", "nan"],
)
@pytest.mark.parametrize("name", TASKS)
def test_what_is_no_text_where_one_is_needed_is_refused(name, value, tmp_path):
    """In the first row of every task: its question, or what stands for it, and its video."""
    fields = {
        "avqa": ("video_name", "question_text", "id"),
        "avsd": ("image_id",),
        "ego-exo4d": ("take_uid", "proficiency_score"),
        "llava-video": ("video",),
        "mlvu": ("video_name", "question", "answer"),
        "music-avqa": ("video_id", "question_content", "anser", "question_id"),
        "mvbench": ("video", "question"),
        "scanqa": ("scene_id", "question", "question_id"),
        "sqa3d": ("scene_id", "question", "situation"),
        "videomme": ("videoID", "question", "answer", "question_id"),
    }
    made = minisets.make(name, tmp_path)
    files = read_annotations(made.annotations)
    for field in fields[name]:
        changed = json.loads(json.dumps(files))
        _first_with(changed, field)[field] = value
        with pytest.raises(RecordError, match=field if value is None else "."):
            convert(get_task(name), changed, made.split)


def _first_with(content, field):
    """The first object at any depth that has a field."""
    if isinstance(content, dict) and field in content:
        return content
    parts = (
        content.values()
        if isinstance(content, dict)
        else content
        if isinstance(content, list)
        else []
    )
    return next((found for part in parts if (found := _first_with(part, field)) is not None), None)
