"""The frames of `Paced` are those of transformers' own video processors, index for index."""

from __future__ import annotations
import __future__

import ast
import importlib.util
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.video_utils import VideoMetadata, default_sample_indices_fn, load_video

from pave.errors import ConfigError
from pave.media import Paced, Uniform, chosen, read_frames
from pave.media.arrays import as_frames
from pave.media.sampling import at_least, choose
from pave.media.write import write_video

RATES = (10.0, 15.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 60.0, 120.0)
TOTALS = (*range(2, 40), 100, 149, 150, 151, 299, 300, 301, 997, 1800, 2397, 4500, 9000)


def _theirs(model: str) -> Callable[..., Any]:
    """`sample_frames` of a processor, cut out of its file: importing that needs torchvision."""
    package = importlib.util.find_spec("transformers")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "models" / model / f"video_processing_{model}.py"
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == "sample_frames":
            later = __future__.annotations.compiler_flag
            code = compile(ast.Module([node], []), str(file), "exec", flags=later)
            known: dict[str, Any] = {"np": np, "torch": torch, "math": math}
            exec(code, known)
            function: Callable[..., Any] = known["sample_frames"]
            return function
    raise AssertionError(file)


def _default(processor: Any, metadata: VideoMetadata) -> Any:
    return default_sample_indices_fn(metadata, processor.num_frames, processor.fps)


def _qwen2(**own: Any) -> SimpleNamespace:
    """As the class has it, but for what the caller asks for."""
    numbers = {"num_frames": None, "fps": 2, "min_frames": 4, "max_frames": 768}
    return SimpleNamespace(**(numbers | {"temporal_patch_size": 2} | own))


QWEN2 = Paced("step", fps=2, least=4, most=768, multiple=2)
CASES = [
    ("qwen2_vl", _qwen2(), QWEN2),
    ("qwen2_vl", _qwen2(fps=0.7, max_frames=11), Paced("step", 0.7, None, 4, 11, 2)),
    ("qwen2_vl", _qwen2(fps=None, num_frames=9), Paced("step", count=9, multiple=2)),
    ("video_llama_3", _qwen2(fps=1, max_frames=180, temporal_patch_size=1),
     Paced("step", fps=1, least=4, most=180)),
    ("qwen3_vl", _qwen2(), Paced("round", fps=2, least=4, most=768)),
    ("qwen3_vl", _qwen2(fps=1.5, min_frames=7, max_frames=20), Paced("round", 1.5, None, 7, 20)),
    ("internvl", SimpleNamespace(num_frames=8, fps=None, initial_shift=True),
     Paced("middle", count=8)),
    ("smolvlm", SimpleNamespace(num_frames=64, fps=1), Paced("inside", fps=1, count=64)),
    ("smolvlm", SimpleNamespace(num_frames=8, fps=2), Paced("inside", fps=2, count=8)),
    ("molmo2", SimpleNamespace(num_frames=64, max_fps=2), Paced("capped", fps=2, count=64)),
    ("glm4v", SimpleNamespace(fps=2, max_duration=300), Paced("from", fps=2, longest=300)),
    ("glm4v", SimpleNamespace(fps=0.7, max_duration=21), Paced("from", fps=0.7, longest=21)),
    ("glm46v", SimpleNamespace(temporal_patch_size=2), Paced("dynamic", count=640)),
    ("minicpmv4_6", SimpleNamespace(max_num_frames=128, stack_frames=1),
     Paced("second", count=128)),
    ("minicpmv4_6", SimpleNamespace(max_num_frames=7, stack_frames=1), Paced("second", count=7)),
    ("default", SimpleNamespace(num_frames=32, fps=None), Paced("floor", count=32)),
    ("default", SimpleNamespace(num_frames=None, fps=3), Paced("floor", fps=3)),
]  # fmt: skip


def _compared(model: str, processor: SimpleNamespace, paced: Paced, digits: int) -> int:
    """How many clips transformers and pave took the same frames of."""
    sample = _default if model == "default" else _theirs(model)
    same = 0
    for rate in RATES:
        for total in TOTALS:
            metadata = VideoMetadata(total_num_frames=total, fps=rate, duration=total / rate)
            try:
                theirs = np.asarray(sample(processor, metadata)).tolist()
                if not theirs:
                    raise ValueError
            except (ValueError, ZeroDivisionError, RuntimeError):  # the clip is too short for them
                assert 1 <= len(choose(np.arange(total) / rate, paced)) <= max(total, 2)
                continue
            times = np.round(np.arange(total) / rate, digits)
            assert choose(times, paced).tolist() == theirs, (rate, total)
            same += 1
    return same


@pytest.mark.parametrize(("model", "processor", "paced"), CASES)
def test_the_indices_are_those_of_transformers(
    model: str, processor: SimpleNamespace, paced: Paced
) -> None:
    assert _compared(model, processor, paced, 9) > len(RATES) * 10


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Short clips: of NTSC's rate, of one second, of three frames."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for number, (rate, total) in enumerate(
        [(Fraction(30000, 1001), 81), (Fraction(24000, 1001), 24), (25, 3)]
    ):
        shades = np.linspace(0, 240, total).astype(np.uint8)[:, None, None, None]
        frames = np.broadcast_to(shades, (total, 32, 32, 3))
        made.append(write_video(folder / f"{number}.mp4", list(frames), rate))
    return made


@pytest.mark.parametrize(("model", "processor", "paced"), CASES)
def test_files_are_seen_at_the_times_of_transformers(
    model: str, processor: SimpleNamespace, paced: Paced, files: list[Path]
) -> None:
    """Its PyAV reader opens the file, and tells when its frames were shown."""
    sample = _default if model == "default" else _theirs(model)
    compared = 0
    for file in files:
        try:
            found, metadata = load_video(
                str(file), sample_indices_fn=lambda metadata: sample(processor, metadata)
            )
        except (ValueError, ZeroDivisionError, RuntimeError, IndexError):
            continue  # too short for them
        ours = read_frames(file, paced)
        np.testing.assert_allclose(ours.times, metadata.timestamps, atol=1e-3)
        # It hands a frame that is chosen twice over once.
        again = np.unique(metadata.timestamps, return_inverse=True)[1]
        shown = torch.from_numpy(found).permute(0, 3, 1, 2)[again]
        assert (ours.pixels.int() - shown.int()).abs().max() <= 2
        compared += 1
    assert compared >= 1


def test_times_in_milliseconds_give_the_same() -> None:
    """Matroska rounds them; the header says the exact rate nevertheless."""
    assert _compared("qwen2_vl", _qwen2(), QWEN2, 3) > len(RATES) * 10


def test_one_frame_and_no_numbers() -> None:
    assert choose(np.zeros(1), QWEN2).tolist() == [0]
    assert choose(np.arange(3.0), Paced("floor")).tolist() == [0, 1, 2]
    assert at_least(QWEN2) == 1


def test_frames_in_memory() -> None:
    """2 a second of 4 seconds: every fifth of 40."""
    whole = as_frames(np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(3, 3), fps=10)
    assert chosen(whole, QWEN2).pixels[:, 0, 0, 0].tolist() == list(range(0, 40, 5))
    assert chosen(whole, Uniform(2)).pixels[:, 0, 0, 0].tolist() == [0, 39]


@pytest.mark.parametrize("numbers", [{"fps": 0}, {"fps": math.inf}, {"count": 0}, {"multiple": 0}])
def test_numbers_that_select_nothing(numbers: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be a positive number"):
        Paced("step", **numbers)
