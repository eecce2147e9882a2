"""The table of `benchmarks/few_records.py` in docs/results.md, from the answers that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from answers import MEASURED, Answers, answers_file, read_answers
from few_records_arms import ARMS, WORDS, Arm
from joint_page import Right
from pages import between_marks
from results_pages import RESULTS
from runs import how_trained

from pave.metrics import Paired, exact_match

MEASUREMENT = "few-records"
CHANNEL = "audio"
CHOSEN_ON = 0
VISUAL = "video"
MARK = "few-records"
HEADER = (
    "| arm | seeds | needs the sound | minus no aligned start | minus words of the answers | "
    "visual control | CPU s |"
)


def write_page(root: Path = MEASURED, page: Path = RESULTS) -> None:
    """Fill the place between the markers of the page, if anything was measured."""
    kept = read_kept(root)
    if not kept:
        return
    text = table(kept)
    print(text)
    page.write_text(between_marks(page.read_text("utf-8"), MARK, text), "utf-8")


def read_kept(root: Path = MEASURED) -> dict[int, Answers]:
    """The answers of every world on which nothing was chosen."""
    kept = {}
    for folder in sorted((root / MEASUREMENT).glob("seed-*")):
        seed = int(folder.name.removeprefix("seed-"))
        answers = read_answers(answers_file(MEASUREMENT, seed, CHANNEL, root))
        if seed != CHOSEN_ON and answers.rows:
            kept[seed] = answers
    return kept


def table(kept: Mapping[int, Answers]) -> str:
    """A row for each arm that was asked, and how all were trained."""
    lines = [HEADER, "|---" * 7 + "|"]
    asked = [arm for arm in ARMS if any(kept[seed].column(arm.name) for seed in kept)]
    lines += [_line(kept, arm) for arm in asked]
    return "\n".join([*lines, "", _settings(kept)])


def _line(kept: Mapping[int, Answers], arm: Arm) -> str:
    heard = right_of(kept, arm, visual=False)
    cells = [
        arm.title,
        ", ".join(map(str, heard.seeds)),
        heard.percent,
        _gap(heard, right_of(kept, _plain(), visual=False)) if arm != _plain() else "",
        _gap(heard, right_of(kept, WORDS, visual=False)) if arm != WORDS else "",
        right_of(kept, arm, visual=True).percent,
        _seconds(kept, arm),
    ]
    return f"| {' | '.join(cells)} |"


def _plain() -> Arm:
    return next(arm for arm in ARMS if arm.name == "plain")


def right_of(kept: Mapping[int, Answers], arm: Arm, *, visual: bool) -> Right:
    """What an arm answered right, of the questions that need the picture alone, or the sound."""
    right: dict[tuple[object, ...], float] = {}
    clips: dict[tuple[object, ...], str] = {}
    for seed, answers in kept.items():
        for name, row in answers.rows.items():
            said = row.get(arm.name)
            if said is None or (row["group"] == VISUAL) != visual:
                continue
            right[seed, name] = float(exact_match(said, [row["answer"]]))
            clips[seed, name] = f"{seed}/{row['clip']}"
    return Right(right, clips)


def _gap(ours: Right, theirs: Right) -> str:
    found: Paired | None = ours.minus(theirs)
    if found is None:
        return ""
    if found.ci95 is None:
        return f"{100 * found.difference:+.1f}"
    low, high = found.ci95
    return f"{100 * found.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _seconds(kept: Mapping[int, Answers], arm: Arm) -> str:
    every = [answers.about["trainings"] for answers in kept.values()]
    return f"{mean(made[arm.name]['cpu_seconds'] for made in every if arm.name in made):.0f}"


def _settings(kept: Mapping[int, Answers]) -> str:
    settings = next(iter(kept.values())).about["settings"]
    trainings = [made for table in kept.values() for made in table.about["trainings"].values()]
    clips = settings["train_clips"]
    return (
        f"Exact match in percent; {settings['test_clips']} held-out clips a seed; differences with "
        f"95 % intervals (paired, over clips). All arms: {clips // 10} of {clips} clips with their "
        f"questions, {settings['steps']} steps of {settings['batch_clips']} clips, sound, `smol`, "
        f"version 2 of the world, {how_trained(trainings)}. CPU s: of the training, its aligned "
        "start included. Command: `python benchmarks/few_records.py`."
    )
