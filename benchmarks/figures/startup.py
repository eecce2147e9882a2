"""Start-up: `import pave`, `--help`, the first answer, loading and switching a patch.

Each against the limit that it should stay under (the column `peer`). The first three are fresh
processes, counted with all that they spend; the base is assembled beforehand, as one earlier `pave
ask` leaves it. The patch has the size of the paper's at 7B (9 M parameters, out_dim 3584) and meets
a random base of that hidden size with one thin layer.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import Row, spent


def fresh(*words: str) -> float:
    """CPU seconds of one new Python process."""
    return spent(
        lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True),
        children=True,
    )


def process_rows(folder: Path) -> list[Row]:
    """`import pave`, `pave --help`, `pave ask`."""
    from pave.bases import load_base
    from pave.media import write_video

    pictures = np.random.default_rng(0).integers(0, 255, (50, 240, 320, 3), dtype=np.uint8)
    film = write_video(folder / "film.mp4", list(pictures), 25)
    load_base("smol")
    ask = ("-m", "pave", "ask", str(film), "What do you see?", "--max-new-tokens", "8")
    rows = []
    for name, words, limit, repeats in (
        ("import pave", ("-c", "import pave"), 0.5, 5),
        ("pave --help", ("-m", "pave", "--help"), 0.5, 5),
        ("first answer of pave ask with smol", ask, 10.0, 3),
    ):
        fresh(*words)
        rows.append(Row.limit(name, [fresh(*words) for _ in range(repeats)], limit))
    return rows


def patch_rows(folder: Path) -> list[Row]:
    """Load and switch."""
    from thin import thin_base

    from pave.model import PatchedModel

    base = thin_base(hidden=3584, vocabulary=300)
    model = PatchedModel(base)
    model.new_patch("features", name="a", encoder=None, fusion={"side_dim": 1024}, seed=0)
    size = sum(parameter.numel() for parameter in model.trainable_parameters().values())
    model.save_patch(folder / "a")

    def load() -> None:
        model.load_patch(folder / "a", name="b")

    times = []
    for _ in range(5):
        times.append(spent(load))
        model.delete_patch("b")
    load()
    switches = [spent(lambda name=name: model.set_patches({name: 1.0})) for name in "abababa"]
    return [
        Row.limit(f"load a patch of {size / 1e6:.1f} M parameters", times, 1.0),
        Row.limit("switch between two patches", switches, 0.05),
    ]


def measure() -> list[Row]:
    """Five rows."""
    with tempfile.TemporaryDirectory() as folder:
        return [*process_rows(Path(folder)), *patch_rows(Path(folder))]
