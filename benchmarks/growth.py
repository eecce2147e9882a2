"""How cost grows with frames, side tokens, clips of a batch and questions: one drawing.

    python benchmarks/growth.py          # writes docs/assets/growth.svg and prints the points

`make bench ARGS=--write` runs it too, and puts drawing and points into docs/performance.md.

The first three are the fusion function at 7B sizes, forward, fp32. The fourth is a training step on
one video of 8 frames (1,569 visual tokens) with a thin random language model, its questions behind
one prefix, beside as many steps of one question each.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from harness import spent
from thin import VIDEO, thin_base

from pave import Fusion, FusionConfig
from pave.bases.prompt import Prompt
from pave.bases.visual import Layout, Visual
from pave.data.packing import pack, positions_and_mask, targets
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train.batch import TrainBatch
from pave.train.objective import AnswerModel

DRAWING = Path(__file__).parents[1] / "docs" / "assets" / "growth.svg"
CONFIG = FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584)
Curve = tuple[Sequence[int], list[float]]


def median(run: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds after one run to warm up."""
    run()
    return statistics.median(spent(run) for _ in range(repeats))


def fusion_seconds(frames: int = 32, side: int = 100, clips: int = 1) -> float:
    """One forward pass."""
    fusion = Fusion(CONFIG)
    query = [torch.randn(frames, 196, 1152) for _ in range(clips)]
    tokens = [torch.randn(side, 1, 1024) for _ in range(clips)]
    with torch.no_grad():
        return median(lambda: fusion(query, tokens))


def step_seconds(questions: int, shared: bool) -> float:
    """Forward and backward for all questions about one video."""
    torch.manual_seed(0)
    patched = PatchedModel(thin_base(hidden=512, vocabulary=1000, query=64))
    patched.new_patch(None, lora=LoraSpec(rank=4), seed=0)
    model = AnswerModel(patched)
    visual = Visual(torch.randn(1569, 512), Layout(8, 14, 14, trail=1))
    prompt = Prompt([VIDEO] * 1569, [(list(range(10, 30)), list(range(30, 38)))])
    tokens = {"visuals": [visual], "channels": [{}], "times": [torch.arange(8) / 1.0]}

    def step(prompts: list[Prompt]) -> None:
        sequences = [pack(prompts)]
        positions, mask = positions_and_mask(sequences)
        keep, labels = targets(sequences)
        inputs = {
            "input_ids": torch.tensor([sequences[0].ids]),
            "position_ids": positions,
            "attention_mask": mask,
        }
        model(TrainBatch(inputs, keep, labels, **tokens))["loss"].backward()

    if shared:
        return median(lambda: step([prompt] * questions))
    return median(lambda: [step([prompt]) for _ in range(questions)])


def curves() -> dict[str, dict[str, Curve]]:
    """Axis label -> line -> points."""
    frames, side, clips, questions = (
        (4, 8, 16, 32, 64),
        (32, 1000, 5000, 10000, 20000),
        (1, 2, 3, 4),
        (1, 2, 4, 8, 16),
    )
    return {
        "frames": {"fusion": (frames, [fusion_seconds(frames=n) for n in frames])},
        "side tokens": {"fusion": (side, [fusion_seconds(side=n) for n in side])},
        "clips of a batch": {"fusion": (clips, [fusion_seconds(clips=n) for n in clips])},
        "questions a video": {
            "one prefix": (questions, [step_seconds(n, True) for n in questions]),
            "one at a time": (questions, [step_seconds(n, False) for n in questions]),
        },
    }


def draw(found: dict[str, dict[str, Curve]]) -> None:
    """Four panels with zero at the bottom."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        for name, (x, y) in lines.items():
            axes.plot(x, y, marker="o", markersize=3, label=name)
        axes.set(xlabel=label, ylim=(0, None), xlim=(0, None))
        axes.legend(frameon=False, fontsize=7)
    figure.supylabel("CPU seconds", fontsize=9)
    figure.savefig(DRAWING, metadata={"Date": None})


def points(found: dict[str, dict[str, Curve]]) -> str:
    """One line a curve."""
    lines = [
        f"- {label}, {name}: "
        + ", ".join(f"{n:,}: {seconds:.3g} s" for n, seconds in zip(x, y, strict=True))
        for label, curves in found.items()
        for name, (x, y) in curves.items()
    ]
    return "\n".join(lines)


def main() -> str:
    """Measure, draw, and return the points as text."""
    found = curves()
    draw(found)
    return points(found)


if __name__ == "__main__":
    print(main())
