"""Real clips with many questions each: a few of the embedded world's, made on the fly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pave.bases import Base, load_base
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, Record, Turn, group_by_clip, read_records
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave_world import make_world
from pave_world.scenes.catalog import names, with_article

LORA = LoraSpec(rank=16, alpha=32, dropout=0.0, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
FUSION = {"hidden": 256}


@dataclass
class Bench:
    """`smol`, records of a few clips (one list a clip), and where their tokens are kept."""

    base: Base
    groups: list[list[Record]]
    folder: Path

    def features(self, frames: int | None = None, store: str = "store") -> Features:
        """Tokens of picture and sound; an empty store's are computed when they are asked for."""
        encoders = {"audio": make_encoder("audio", "mel")}
        return Features(self.base, encoders, TokenCache(self.folder / store), frames=frames)

    def patched(self, lora: bool = True) -> PatchedModel:
        """A patch of the demo's size, with its gate open, so that nothing of it is skipped."""
        model = PatchedModel(self.base)
        name = model.new_patch(
            "audio", name="sound", fusion=FUSION, lora=LORA if lora else None, seed=0
        )
        norm = model.patches[name].fusion.norm
        norm.weight.data.fill_(0.1)
        return model


@contextmanager
def bench(clips: int, questions: int, split: str = "test") -> Iterator[Bench]:
    """Make the clips and ask exactly so many questions of each.

    They are the world's own, filled up with further ones of the same kind.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = group_by_clip(read_records(make_world(folder / "world", split, clips)))
        groups = [[*group, *_more(group, questions - len(group))][:questions] for group in made]
        yield Bench(load_base("smol"), groups, folder)


def _more(group: list[Record], count: int) -> list[Record]:
    asked = [f"Can you hear {with_article(name)}?" for name in names("sounding")[: max(0, count)]]
    return [
        group[0].model_copy(
            update={
                "id": f"{group[0].id}-more-{n}",
                "turns": [Turn(question=q, answer="no")],
                "answers": ["no"],
            }
        )
        for n, q in enumerate(asked)
    ]
