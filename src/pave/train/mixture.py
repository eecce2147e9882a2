"""`RecordMixture`: the settings of training on several files of records at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class RecordFile(BaseModel):
    """One file of a mixture.

    Example:
        >>> RecordFile(records="sound.jsonl", channels=["audio"]).channels
        ('audio',)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    records: Path = Field(description="JSONL file of training records.")
    channels: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Channels of the patch that are used with the clips of this file; by "
        "default all that its records name.",
    )

    families: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Only the questions of these families (meta.family); by default all. A file "
        "that is named a second time with rare families has them asked more often.",
    )

    @field_validator("channels", "families", mode="before")
    @classmethod
    def _words(cls, given: Any) -> Any:
        """A command line writes a list as one word, with commas."""
        if isinstance(given, str):
            return given.split(",")
        return given


class RecordMixture(BaseModel):
    """Several files of records, drawn from at random: a batch of clips comes from one of them.

    A file of n questions is drawn with a probability in proportion to n^alpha, so that with alpha
    below 1 a small file is not drowned by a large one.

    Example:
        >>> files = {"sound": RecordFile(records="s.jsonl"), "depth": RecordFile(records="d.jsonl")}
        >>> shares = RecordMixture(files=files).shares({"sound": 900, "depth": 100})
        >>> shares["sound"], shares["depth"]
        (0.75, 0.25)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: dict[str, RecordFile] = Field(
        min_length=2, description="The files, by the names that the log and the card use."
    )
    alpha: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Exponent of the file size: with 1, every question is drawn equally often; "
        "with 0, every file.",
    )

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, RecordFile]) -> dict[str, RecordFile]:
        for name in files:
            if not name or "/" in name:  # ids of records become name/id
                raise ValueError(
                    f"{name!r} cannot be the name of a file of the mixture; use a "
                    "word without a slash"
                )
        return files

    def shares(self, questions: dict[str, int]) -> dict[str, float]:
        """The probability of each file.

        Args:
            questions: Name of a file -> number of its questions.
        """
        # n^alpha may be large, but it is no more than n.
        sizes = {name: count**self.alpha for name, count in questions.items()}
        total = sum(sizes.values())
        shares = {}
        for name, size in sizes.items():
            shares[name] = size / total
        return shares
