"""The table of `benchmarks/few_records.py`: counted by hand from a few answers."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_table_counts_what_the_arms_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("pave_world")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import few_records_page
    from answers import Answers, answers_file, write_answers

    settings = {"test_clips": 12, "train_clips": 240, "steps": 80, "batch_clips": 2}
    rows = {}
    for clip in range(12):
        heard = {"group": "audio", "answer": "dog", "words": "dog", "plain": "cat"}
        # Right on 9 of 12 clips, where the words are right on all and the plain arm on none.
        heard["statistics"] = "Dog." if clip < 9 else "cat"
        seen = {"group": "video", "answer": "red", "words": "red", "statistics": "blue"}
        for name, row in (("a", heard), ("v", seen)):
            rows[f"{clip}-{name}"] = {"clip": f"c{clip}", "family": "heard", **row}
    how = {"precision": "fp32", "architecture": "x86_64", "torch": "2.13.0"}
    seconds = {"words": 10, "statistics": 20, "plain": 5}
    trainings = {name: {"cpu_seconds": spent, **how} for name, spent in seconds.items()}
    about = {"settings": settings, "trainings": trainings}
    for seed in (0, 1):  # what was chosen on world 0 is not in the table
        file = answers_file(few_records_page.MEASUREMENT, seed, "audio", tmp_path)
        write_answers(file, Answers(about, rows))
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- few-records:start -->\n<!-- few-records:end -->\nb\n")
    few_records_page.write_page(tmp_path, page)
    lines = page.read_text().splitlines()
    (found,) = [line for line in lines if line.startswith("| aligned start, all clips")]
    cells = [cell.strip() for cell in found.strip("|").split("|")]
    assert cells[1:3] == ["1", "75.0"]
    assert cells[3].startswith("+75.0 (") and cells[4].startswith("-25.0 (")
    assert cells[5:] == ["0.0", "20"]
    assert not [line for line in lines if line.startswith("| LoRA-only")]  # it was not asked
    assert "24 of 240 clips" in page.read_text()
