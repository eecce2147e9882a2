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


def sound_demo_control() -> Path:
    """Folder of its LoRA-only control."""
    return _HERE / "sound-demo-control"
