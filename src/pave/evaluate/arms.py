"""What an arm of an evaluation is, as settings name it: a base, patches, or a control.

An arm is written as a list of patch folders, or as none for the bare base. A word with a colon in
front of the folders makes it a control, which says where a score comes from:

- `blind:` asks the question alone, without the clip.
- `shuffled:FOLDER` gives the patch the channel of another clip.
- `linear:FOLDER`, `mlp:FOLDER` and `attention:FOLDER` are no language models: they learn the
  answers from the tokens of the patch's encoder, pooled or one by one, and so tell whether the
  tokens hold them.
- `prior:` gives the answer that the question has most often in the training records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

Kind = Literal["plain", "blind", "shuffled", "linear", "mlp", "attention", "prior"]
PLAIN: Kind = "plain"
LEARNING: tuple[Kind, ...] = ("linear", "mlp", "attention", "prior")
"""Kinds that learn from records of their own."""
_TAKES = MappingProxyType(
    {
        "shuffled": "at least one patch",
        "linear": "one patch",
        "mlp": "one patch",
        "attention": "one patch",
        "prior": "no patch",
    }
)
"""Kind -> how many patches it takes, where that is not any number."""


@dataclass(frozen=True)
class ArmSpec:
    """One arm.

    Attributes:
        kind: How it answers.
        folders: Its patches.
    """

    kind: Kind
    folders: tuple[Path, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether it learns from records of its own."""
        return self.kind in LEARNING


def arm_of(given: Sequence[Path] | None) -> ArmSpec:
    """The arm that a setting names.

    Args:
        given: Folders, the first perhaps behind a word and a colon; None for the bare base.

    Raises:
        ValueError: If the kind takes another number of patches.

    Example:
        >>> arm_of(None).kind, arm_of([Path("shuffled:runs/sound/patch")]).kind
        ('plain', 'shuffled')
        >>> arm_of([Path("blind:")])
        ArmSpec(kind='blind', folders=())
    """
    if not given:
        return ArmSpec(PLAIN)
    first, *others = given
    word, colon, rest = str(first).partition(":")
    # Anything else with a colon is a path, such as one on a Windows drive.
    kind = next((known for known in get_args(Kind) if known == word), None)
    if not colon or kind is None:
        return ArmSpec(PLAIN, tuple(given))
    folders = tuple(others)
    if rest:
        folders = (Path(rest), *others)
    wanted = _TAKES.get(kind)
    fits = {
        None: True,
        "no patch": not folders,
        "one patch": len(folders) == 1,
        "at least one patch": bool(folders),
    }
    if not fits[wanted]:
        raise ValueError(f"an arm `{kind}:` takes {wanted} after the colon, got {len(folders)}")
    return ArmSpec(kind, folders)
