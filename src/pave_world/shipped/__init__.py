"""Small trained patches for `smol`, so that a first answer needs no training.

`sound-demo` hears what `smol` does not. `sound-demo-control` is what it has to be compared with: a
LoRA that was trained as long on the same questions, without the sound. Both are stored in fp16;
their cards (`README.md`) say how they were made and what they score. This command makes them anew:

    pave demo --full --seed 100 --train-clips 900 --steps 600 --lora.rank 8 --lora.alpha 16
        --fusion.hidden 128 --patch-dtype fp16 --out outputs/sound-demo

pave finds them by the entry point group `pave.patches`, as it finds what builds `smol`.

Example:
    >>> sound_demo().name
    'sound-demo'
"""

from __future__ import annotations

from pathlib import Path

# Beside this file, in a wheel as in a checkout.
_HERE = Path(__file__).parent


def sound_demo() -> Path:
    """Folder of the sound patch."""
    return _HERE / "sound-demo"


def examples() -> list[tuple[str, Path, str]]:
    """Clips for the page of `pave serve`: title, film and question.

    Held-out clips of the world (`pave world FOLDER --split test --seed 7`) on which the sound patch
    is right and the base is wrong: they show what a patch does, not how often it is right.
    """
    # Their licence lies beside them.
    folder = _HERE / "examples"
    # Two things are heard, one after the other.
    first = (
        "What is heard first",
        folder / "first.mp4",
        "What do you hear first?",
    )
    # What is heard is none of the three things that are seen.
    heard = (
        "What is heard",
        folder / "heard.mp4",
        "What do you hear?",
    )
    return [
        first,
        heard,
    ]


def sound_demo_control() -> Path:
    """Folder of its LoRA-only control."""
    return _HERE / "sound-demo-control"
