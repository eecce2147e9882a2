"""The authors' scores, to 1e-6 and item by item; what the default scores differently and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pave.errors import ConfigError, RecordError
from pave.evaluate import compare_files, score_files
from pave.metrics import captions
from pave.metrics.java import find_java
from pave.tasks import Item, get_task
from pave.tasks.score import ScoreReport, score_items

DATA = Path(__file__).parents[1] / "data" / "tasks" / "evaluators"
needs_java = pytest.mark.skipif(
    find_java() is None, reason="caption scores equal the official ones only with Java"
)


def load(name: str):
    return json.loads((DATA / name).read_text("utf-8"))


def check(
    report: ScoreReport,
    rows: list[dict],
    official: dict[str, float | None],
    items: list[dict],
    *,
    meteor: bool,
) -> None:
    """Every score and every item; METEOR takes seconds to start and is left to the slow tests."""
    wanted = {
        name: value
        for name, value in official.items()
        if value is not None and (meteor or name != "METEOR")
    }
    assert {name: report.scores[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    for ours, theirs in zip(rows, items, strict=True):
        same = ("tok_pred", "tok_refs", "clean_pred", "clean_refs", "em", "em_refined")
        assert all(ours[key] == theirs[key] for key in same if key in theirs)
        for key in ("bleu", "rouge_l", "cider", *(["meteor"] if meteor else [])):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-6)


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["without METEOR", "with METEOR"],
)
def meteor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(captions, "meteor", lambda java, said, wanted: (0.0, [0.0] * len(said)))
    return request.param


@needs_java
def test_scanqa_scores_and_items_are_the_official_ones(meteor: bool):
    files = {"references": DATA / "scanqa_gt.json", "style": "authors"}
    report, rows = score_files(get_task("scanqa"), DATA / "scanqa_predictions.jsonl", **files)
    official = load("scanqa_scores.json")
    wanted = {name.removeprefix("[scanqa] "): value for name, value in official["official"].items()}
    check(report, rows, wanted, official["per_item"], meteor=meteor)
    assert report.table == ["CIDEr", "Bleu_4", "METEOR", "ROUGE_L", "EM1", "EM1_refined"]
    assert report.settings["clusters"] == 1 and not report.ci95, "one scene cannot be resampled"


@needs_java
def test_avsd_scores_and_items_are_the_official_ones(meteor: bool):
    files = {"references": DATA / "avsd_gt_single.json", "style": "authors"}
    report, rows = score_files(get_task("avsd"), DATA / "avsd_predictions.json", **files)
    official = load("avsd_scores_single.json")
    check(report, rows, official["official_full_precision"], official["per_item"], meteor=meteor)
    assert report.ci95["CIDEr"][0] < report.scores["CIDEr"] < report.ci95["CIDEr"][1]


def test_music_avqa_counts_are_the_official_ones():
    files = {"references": DATA / "music_avqa_annotations.json", "style": "authors"}
    report, rows = score_files(
        get_task("music-avqa"), DATA / "music_avqa_predictions.json", **files
    )
    official = load("music_avqa_scores.json")
    assert [int(row["correct"]) for row in rows] == [
        item["correct"] for item in official["per_item"]
    ]
    table = {row.label: (round(row.scores["accuracy"] * row.n), row.n) for row in report.labels}
    for kind, counts in official["counts_correct_total"].items():
        assert table[" ".join(json.loads(kind))] == tuple(counts)
    printed = {row.label: f"{100 * row.scores['accuracy']:.2f}" for row in report.labels}
    assert (printed["Audio"], printed["Visual"], printed["Audio-Visual"]) == (
        "82.35",
        "68.75",
        "61.29",
    )
    assert f"{100 * report.scores['accuracy']:.2f}" == "68.75"


def test_music_avqa_by_default_needs_the_word():
    task = get_task("music-avqa")
    said = [
        ("the piano", "no"),
        ("There are 2.", "two"),
        ("more than ten", "ten"),
        ("more than ten", "more than ten"),
    ]
    said += [
        ("an acoustic guitar", "acoustic_guitar"),
        ("Indoors.", "indoor"),
        ("", "yes"),
        ("NO!", "no"),
    ]
    items = [Item(str(n), "v", text, (answer,)) for n, (text, answer) in enumerate(said)]
    right = [row["correct"] for row in score_items(task, items)[1]]
    assert right == [False, True, False, True, True, True, False, True]
    authors = [row["correct"] for row in score_items(task, items, "authors")[1]]
    assert authors == [True, False, True, True, False, True, False, True]


def test_sqa3d_first_answer_kinds_and_empty_answers(tmp_path: Path):
    gt = [
        {"question_id": str(n), "scene_id": "s", "text": text, "type": n % 6}
        for n, text in enumerate(["left", "two", "no"])
    ]
    said = [
        {"question_id": "0", "text": "to the left"},
        {"question_id": "1", "text": "2"},
        {"question_id": "2", "text": ""},
    ]
    (tmp_path / "gt.json").write_text(json.dumps(gt))
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, said)))
    files = {"references": tmp_path / "gt.json"}
    authors, _ = score_files(get_task("sqa3d"), tmp_path / "p.jsonl", style="authors", **files)
    default, _ = score_files(get_task("sqa3d"), tmp_path / "p.jsonl", **files)
    assert authors.scores == {"EM1": pytest.approx(1 / 3), "EM1_refined": 1.0}
    assert default.scores == {"EM1": pytest.approx(1 / 3), "EM1_refined": pytest.approx(2 / 3)}
    assert [(row.label, row.scores["EM1"]) for row in authors.labels] == [
        ("What", 0.0),
        ("Is", 1.0),
        ("How", 0.0),
    ]


@pytest.mark.parametrize(
    ("task", "said", "letter", "default", "authors"),
    [
        ("avqa", "Answer: B", "A", False, True),
        ("avqa", "B.", "B", True, True),
        ("videomme", "Because of C", "C", True, False),
        ("videomme", "(C) a dog", "C", True, True),
        ("mvbench", "It is a dog (B)", "B", True, False),
        ("mvbench", "B", "B", True, True),
        ("mlvu", "B) a dog", "B", True, True),
        ("mlvu", "The answer is B", "B", True, False),
        ("ego-exo4d", "Novice or Late Expert", "Late Expert", False, True),
        ("ego-exo4d", "late expert", "Late Expert", True, False),
    ],
)
def test_choices_by_default_and_by_the_benchmarks_scripts(task, said, letter, default, authors):
    item = Item("1", "v", said, (letter,))
    for style, wanted in (("default", default), ("authors", authors)):
        assert score_items(get_task(task), [item], style)[1][0]["correct"] is wanted


def test_mvbench_leaves_empty_answers_out_only_in_the_authors_style():
    items = [Item("1", "v", "B", ("B",)), Item("2", "w", "", ("B",))]
    assert score_items(get_task("mvbench"), items)[0].scores == {"accuracy": 0.5}
    report, rows = score_items(get_task("mvbench"), items, "authors")
    assert report.scores == {"accuracy": 1.0} and "1 of 2" in report.notes["answered"]
    assert len(rows) == 2


def test_files_that_carry_their_answers_need_no_references(tmp_path: Path):
    rows = [
        {"image_id": "v", "caption": "A", "answer": "A"},
        {"image_id": "v", "caption": "the C", "answer": "B"},
    ]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    assert score_files(get_task("avqa"), tmp_path / "p.json", style="authors")[0].scores == {
        "accuracy": 0.5
    }
    with pytest.raises(ConfigError, match="records only"):
        score_files(get_task("videomme"), tmp_path / "p.json")
    with pytest.raises(ConfigError, match="--references"):
        score_files(get_task("scanqa"), tmp_path / "p.json")


def test_files_that_do_not_go_together_are_named(tmp_path: Path):
    (tmp_path / "gt.json").write_text(
        json.dumps([{"question_id": "1", "text": ["a"]}, {"question_id": "2", "text": ["b"]}])
    )
    (tmp_path / "p.jsonl").write_text('{"question_id": "1", "text": "a"}')
    with pytest.raises(RecordError, match="1 of 2 questions without a prediction: 2"):
        score_files(get_task("scanqa"), tmp_path / "p.jsonl", references=tmp_path / "gt.json")
    (tmp_path / "p.jsonl").write_text(
        '{"question_id": "2", "text": "a"}\n{"question_id": "1", "text": "a"}'
    )
    with pytest.raises(RecordError, match="line 1"):
        score_files(get_task("scanqa"), tmp_path / "p.jsonl", references=tmp_path / "gt.json")
    for text, words in (
        ("", "holds no predictions|not valid"),
        ('{"id": "1"}', "needs id"),
        ("[3]", "is not an object"),
    ):
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(RecordError, match=words):
            score_files(get_task("scanqa"), tmp_path / "p.json", references=tmp_path / "gt.json")


def test_several_references_of_one_video_count_for_one_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(captions, "find_java", lambda: None)
    notes = [
        {"image_id": "V1", "caption": "a red cup"},
        {"image_id": "V1", "caption": "a cup"},
        {"image_id": "V2", "caption": "two dogs"},
    ]
    (tmp_path / "gt.json").write_text(json.dumps({"annotations": notes}))
    (tmp_path / "p.json").write_text(json.dumps([{"image_id": "V1", "caption": "a cup"}]))
    report, rows = score_files(
        get_task("avsd"), tmp_path / "p.json", references=tmp_path / "gt.json", style="authors"
    )
    assert rows[0]["references"] == ["a red cup", "a cup"] and rows[0]["rouge_l"] == pytest.approx(
        1.0
    )
    assert report.scores["METEOR"] is None
    assert "Java was not found" in report.notes["warning"] and "METEOR" not in report.table


def test_nothing_to_score_is_an_error():
    with pytest.raises(RecordError, match="no prediction belongs"):
        score_items(get_task("avqa"), [])
    with pytest.raises(ConfigError, match="it is only for training"):
        score_items(get_task("llava-video"), [Item("1", "v", "a", ("a",))])
    with pytest.raises(ConfigError, match="did you mean 'scanqa'"):
        get_task("scanq")


@pytest.mark.parametrize("caption", [None, ["a cup"], {"text": "a cup"}, True])
@pytest.mark.parametrize("field", ["image_id", "caption"])
def test_odd_references_of_avsd_are_named(tmp_path: Path, field: str, caption: object):
    (tmp_path / "gt.json").write_text(
        json.dumps({"annotations": [{"image_id": "V1", "caption": "a cup", field: caption}]})
    )
    (tmp_path / "p.json").write_text(json.dumps([{"image_id": "V1", "caption": "a cup"}]))
    with pytest.raises(RecordError, match=f"reference 1: '{field}' must be a string, got"):
        score_files(get_task("avsd"), tmp_path / "p.json", references=tmp_path / "gt.json")


@pytest.mark.parametrize(
    "content",
    ["3", "[1]", '{"annotations": 3}', '{"annotations": [3]}', '{"annotations": [{}]}', "null"],
)
@pytest.mark.parametrize("task", ["avsd", "scanqa", "sqa3d", "music-avqa"])
def test_references_of_another_kind_are_one_error(tmp_path: Path, task: str, content: str):
    (tmp_path / "gt.json").write_text(content)
    (tmp_path / "p.json").write_text(json.dumps([{"question_id": "V1", "text": "a cup"}]))
    with pytest.raises(RecordError):
        score_files(get_task(task), tmp_path / "p.json", references=tmp_path / "gt.json")


@pytest.mark.parametrize(
    "row", [{"type": "("}, {"type": "[]"}, {"type": None}, {"anser": None}, {"anser": ["two"]}]
)
def test_odd_annotations_of_music_avqa_are_one_error(tmp_path: Path, row: dict):
    (tmp_path / "gt.json").write_text(
        json.dumps([{"type": '["Audio", "Counting"]', "anser": "two", **row}])
    )
    (tmp_path / "p.json").write_text(json.dumps([{"question_id": "V1", "text": "two"}]))
    with pytest.raises(RecordError):
        score_files(get_task("music-avqa"), tmp_path / "p.json", references=tmp_path / "gt.json")


@pytest.mark.parametrize("name", [None, ["a"], {"a": 1}])
def test_a_prediction_needs_a_name(tmp_path: Path, name: object):
    (tmp_path / "p.json").write_text(json.dumps([{"id": name, "prediction": "A", "answer": "A"}]))
    with pytest.raises(RecordError, match="prediction 1 needs id"):
        score_files(get_task("avqa"), tmp_path / "p.json")


def test_deep_nesting_is_no_bug_of_ours(tmp_path: Path):
    for name in ("p.json", "p.jsonl"):
        (tmp_path / name).write_text("[" * 100_000)
        with pytest.raises(RecordError, match="nested too deeply"):
            score_files(get_task("avqa"), tmp_path / name)


def _compared(folder: Path, row: str, **options: int):
    (folder / "a.jsonl").write_text(row + "\n")
    return compare_files(folder / "a.jsonl", folder / "a.jsonl", **options)


@pytest.mark.parametrize(
    "row",
    [
        '"id": null, "scores": {"em": 1}',
        '"id": "a", "scores": {"em": NaN}',
        f'"id": "a", "scores": {{"em": 1{"0" * 400}}}',
    ],
)
def test_items_that_cannot_be_compared_are_named(tmp_path: Path, row: str):
    with pytest.raises(RecordError, match=r"a.jsonl:1: an item needs `id` and `scores`"):
        _compared(tmp_path, f"{{{row}}}")


def test_odd_labels_and_clusters_are_no_reason_to_stop(tmp_path: Path):
    for more in ('"labels": 3', '"labels": {"x": 1}, "family": [2]', '"cluster": [1]'):
        assert _compared(tmp_path, f'{{"id": "a", "scores": {{"em": 1}}, {more}}}').shared == 1


def test_a_wrong_seed_is_not_laid_on_the_files(tmp_path: Path):
    with pytest.raises(ConfigError, match="seed must be 0 or more"):
        _compared(tmp_path, '{"id": "a", "correct": true}', seed=-1)
