"""Write the cards of the patches that come with pave anew, and give them probes.

    python tools/shipped.py

The weights stay as they are. To be run when what `pave.patches.card` writes has changed; a test
says so.
"""

from __future__ import annotations

from pave.model.published import add_probe
from pave.patches import read_config
from pave.patches.card import make_card
from pave.patches.folder_card import describe_folder
from pave.patches.layout import CARD
from pave_world.shipped import sound_demo, sound_demo_control

DATA = {"name": "the embedded world of pave (OpenMoji, TimGM6mb)", "licence": "cc-by-sa-4.0"}


def main() -> None:
    """Both folders: words about the patch, a probe, and the card that follows from them."""
    for folder in (sound_demo(), sound_demo_control()):
        # A card of an older pave would be taken for one that somebody wrote by hand.
        (folder / CARD).write_text(make_card(read_config(folder), folder.name), encoding="utf-8")
        describe_folder(folder, {"language": ["en"], "datasets": [DATA]})
        if reason := add_probe(folder):
            raise SystemExit(f"{folder.name}: no probe: {reason}")


if __name__ == "__main__":
    main()
