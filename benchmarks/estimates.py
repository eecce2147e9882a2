"""Estimated against measured memory of `pave train` on this CPU.

    python benchmarks/estimates.py            # all cases, ten minutes
    python benchmarks/estimates.py --write    # also record the table in docs/reference/estimate.md

Measured is how far the resident memory of a process grows above what it has with the loaded base,
in two optimiser steps from filled caches; every case has a process of its own. A smaller step comes
first and is not measured: it loads the libraries of a training, some 30 to 50 MB that no estimate
speaks of. glibc's allocator
keeps much of what tensors give back, so that a process grows beyond what they take; here it gives
back every block of 64 KB (MALLOC_MMAP_THRESHOLD_). `--plain` measures with glibc as it is.

Estimated is what `pave estimate` says of the same settings, less the base as it was loaded. The
patch has the default LoRA and fusion, and a step has two clips.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from figures.shared_prefix import samples
from harness import peak_growth
from pages import between_marks
from run import fresh
from thin import thin_base
from videos import Bench, bench

from pave.bases import load_base
from pave.train import TrainConfig, train
from pave.train.estimate import estimate
from pave.train.estimate_plan import plan

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "estimate.md"
CLIPS, STEPS = 2, 2
CLOSE = 0.15
MB = 1e6


@dataclass(frozen=True)
class Case:
    """What is trained."""

    base: str
    frames: int
    questions: int
    precision: str = "fp32"
    checkpointing: bool = False
    dropout: float = 0.05


CASES = (
    Case("smol", 4, 8),
    Case("smol", 32, 8),
    Case("smol", 32, 8, precision="bf16"),
    Case("smol", 32, 8, checkpointing=True),
    Case("smol", 32, 1),
    Case("smol", 16, 4),
    Case("smol", 8, 8, checkpointing=True),
    Case("smol", 16, 4, dropout=0.0),
    Case("thin", 4, 4),
    Case("thin", 4, 4, precision="bf16"),
    Case("thin", 8, 2, checkpointing=True),
)


@dataclass(frozen=True)
class Figures:
    """Bytes of a case, and the length of its sequences."""

    tokens: int
    estimated: float
    measured: float

    @property
    def ratio(self) -> float:
        """Estimated to measured."""
        return self.estimated / self.measured


def settings(case: Case, folder: Path) -> dict[str, Any]:
    """Of `pave train`, in a folder that has the records and the tokens of the clips."""
    base = case.base
    if base != "smol":
        base = str(folder / base)
    return {
        "base": base,
        "records": str(folder / "world" / "records.jsonl"),
        "out": str(folder / "run"),
        "cache": str(folder / "store"),
        "channel": "audio",
        "encoder": "mel",
        "lora": {"dropout": case.dropout},
        "frames": case.frames,
        "questions_per_video": case.questions,
        "precision": case.precision,
        "gradient_checkpointing": case.checkpointing,
        "batch_clips": CLIPS,
        "steps": STEPS,
        "device": "cpu",
    }


def grown(config: TrainConfig) -> tuple[float, int]:
    """Called in a fresh process: bytes that it grows, and those of the base as it was loaded."""
    torch.set_num_threads(1)
    from pave.train.precision import base_dtype

    dtype = base_dtype(config.base, config.precision)  # type: ignore[arg-type]
    base = load_base(config.base, dtype=dtype)
    held = 0
    for parameter in base.model.parameters():
        parameter.sum()  # so that it is in memory and not on disk
        held += parameter.nbytes
    train(config.model_copy(update=_first(config)), base=base, progress=False)
    with peak_growth() as peak:
        train(config, base=base, progress=False)
        return peak() * MB, held


def _first(config: TrainConfig) -> dict[str, Any]:
    """What is another in the step that loads the libraries: it is as small as can be."""
    small = {"batch_clips": 1, "questions_per_video": 1, "gradient_checkpointing": True}
    return {**small, "steps": 1, "out": config.out.with_name("first")}


def prepared(made: Bench, case: Case) -> tuple[int, int, int]:
    """Write records, fill the cache; tokens of a sequence, of a question, and of an answer."""
    if case.base != "smol":
        torch.manual_seed(0)
        base = thin_base(256, 32_000, 256, mlp=1024, layers=6)
        base.model.save_pretrained(made.folder / case.base)
        base.tokenizer.save_pretrained(made.folder / case.base)
        base = load_base(str(made.folder / case.base))
        made = Bench(base, made.groups, made.folder)
    with open(made.folder / "world" / "records.jsonl", "w", encoding="utf-8") as file:
        for group in made.groups:
            for record in group:
                file.write(record.model_dump_json(exclude_none=True) + "\n")
    batches = samples(made, made.features(case.frames), True)
    packed = [sample.packed for batch in batches for sample in batch]
    longest = max(len(each.ids) for each in packed)
    visual = made.base.family.layout(case.frames).total
    answers = max(len(each.labels) for each in packed)
    return longest, round((longest - visual) / case.questions), round(answers / case.questions)


def figures(case: Case) -> Figures:
    """Called in a fresh process, which makes the clips and starts one more to be measured."""
    with bench(CLIPS, case.questions, "train") as made:
        tokens, question, answer = prepared(made, case)
        chosen = settings(case, made.folder)
        recipe = made.folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(chosen), encoding="utf-8")
        wanted = plan(str(recipe))
        wanted = replace(wanted, question_tokens=question, answer_tokens=answer)
        found = estimate(wanted)
        measured, held = fresh(grown, TrainConfig(**chosen))
        return Figures(tokens, found.card["total"] - held, measured)


def row(case: Case, found: Figures) -> str:
    """A row of the table."""
    how = "recomputed" if case.checkpointing else "kept"
    verdict = "yes" if abs(found.ratio - 1) <= CLOSE else "no"
    cells = [case.base, case.frames, case.questions, found.tokens, case.precision, how]
    cells += [f"{case.dropout:g}", f"{found.estimated / MB:,.0f}", f"{found.measured / MB:,.0f}"]
    cells += [f"{found.ratio:.2f}", verdict]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Measure, print, and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="record the table in the docs")
    parser.add_argument("--plain", action="store_true", help="leave the allocator as it is")
    chosen = parser.parse_args()
    if not chosen.plain:
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # read by processes that start from now on
    lines = [
        "| base | frames | questions | tokens | precision | activations | LoRA dropout "
        "| estimated, MB | measured, MB | ratio | within 15 % |",
        "|---|---:|---:|---:|---|---|---:|---:|---:|---:|---|",
    ]
    print("\n".join(lines), flush=True)
    for case in CASES:
        found = fresh(figures, case)
        if found is None:
            raise SystemExit(f"{case} could not be measured")
        lines.append(row(case, found))
        print(lines[-1], flush=True)
    if chosen.write:
        page = PAGE.read_text("utf-8")
        PAGE.write_text(between_marks(page, "estimates", "\n".join(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
