"""`EvalConfig`: all settings of an evaluation in one frozen object."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from pave.bases.inputs import FrameChoice
from pave.bases.loading import Loading
from pave.data.share import share_of
from pave.evaluate.arms import PLAIN, ArmSpec, arm_of
from pave.placement import DTYPE_HELP, DtypeWord
from pave.renamed import renamed
from pave.tasks.registry import EXACT
from pave.tasks.task import Style

# It becomes a file's name, so no dots and no slashes.
_NAME = re.compile(r"[\w-]+")


class EvalConfig(Loading):
    """What to ask, of whom, and where the results go.

    Every arm answers the same questions about the same frames. An arm is a patch folder, several of
    them for patches that work together (a base patch before what was trained on top of it), or null
    for the base as it is. Put the reference arms first (base, then LoRA-only): differences are
    reported of each later arm to each earlier one.

    Example:
        >>> arms = {"base": None, "sound": "runs/sound/patch"}
        >>> EvalConfig(records="test.jsonl", out="out", arms=arms).arms["base"] is None
        True
    """

    records: Path = Field(
        description="Test records, of any format. Each record needs accepted answers, or an answer "
        "in its last turn."
    )
    out: Path = Field(
        description="Folder for the results: one JSONL file of answers per arm, results.json, "
        "report.md, and plot.png."
    )
    task: str = Field(
        EXACT,
        description="Benchmark whose scores to use (see pave prepare --help); by default exact "
        "match with the answers.",
    )
    style: Style = Field(
        "default",
        description="`authors` scores exactly as the scripts of the PAVE authors do.",
    )
    base: str = Field("smol", description='The frozen base: a folder, a Hub id, or "smol".')
    dtype: DtypeWord = Field("auto", description=DTYPE_HELP)
    arms: dict[str, list[Path] | None] = Field(
        {"base": None},
        min_length=1,
        # A file may name one folder, or several with commas, as the command line does.
        json_schema_extra={"additionalProperties": {"type": ["array", "string", "null"]}},
        description="One flag per arm: --arms.NAME FOLDER for a patch, FOLDER,FOLDER for several "
        "patches, or none for the bare base. Controls: blind: or blind:FOLDER (the question "
        "without the clip), shuffled:FOLDER (another clip's channel), linear:FOLDER, "
        "mlp:FOLDER and attention:FOLDER (do the encoder's tokens hold the answer?), prior: (the "
        "most frequent answer).",
    )
    train_records: Path | None = Field(
        None,
        description="Training records, of any format, that the arms linear:, mlp:, attention: "
        "and prior: learn from.",
    )
    cache: Path | None = Field(
        None,
        description="Folder of the token cache, by default `out`/cache. Training and evaluation "
        "can share it.",
    )
    frames: FrameChoice | None = Field(
        None,
        description="Number of evenly spread frames per clip, or auto for the frames that the "
        "base's own video processor takes. By default as the patches were trained, or else the "
        "base's own number.",
    )
    swap: str | None = Field(
        None,
        description="A channel to exchange between clips that are asked the same and answer "
        "differently: shows whether an arm follows the channel or the picture where they disagree.",
    )
    limit: int | None = Field(
        None, ge=1, description="Use only this many clips, from the start of the file."
    )
    batch: int = Field(
        32,
        ge=1,
        description="Number of questions to answer at a time. Questions about the same clip "
        "share its prefix.",
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        le=2**20,
        description="Maximum length of an answer in tokens; by default that of the task, or 16 "
        "for exact match.",
    )
    shard: str | None = Field(
        None,
        description='Answer only one share of the questions, for example "2/8" for the second of '
        "eight. The last share to finish joins them.",
    )
    same_weights: bool = Field(
        False,
        description="Refuse a patch that was trained on a base with other weights, for example "
        "before fine-tuning. Without this, there is a warning.",
    )
    resamples: int = Field(
        10_000,
        ge=100,
        le=10**7,
        description="Number of bootstrap samples of whole videos for the intervals.",
    )
    seed: int = Field(
        0, ge=0, description="Seed of the bootstrap; answers are greedy and need none."
    )
    workers: int = Field(
        1,
        ge=0,
        description="Number of processes that read media while tokens are computed for the first "
        "time. With 0, this process reads them, and a clip that crashes a decoder ends it.",
    )
    plot: bool = Field(
        True, description="Draw plot.png (needs matplotlib, in the extras `smol` and `eval`)."
    )

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        """Settings of an older pave: `store`, and no task at all for exact match."""
        values = renamed(values, {"store": "cache"}, "evaluation settings")
        if isinstance(values, dict) and values.get("task", EXACT) is None:
            values = values | {"task": EXACT}
        return values

    @field_validator("arms", mode="before")
    @classmethod
    def _as_lists(cls, arms: object) -> object:
        """One folder is a list of one.

        On the command line commas make a list, and an empty word or `none` stands for null.
        """
        if not isinstance(arms, dict):
            return arms
        return {name: _folders(given) for name, given in arms.items()}

    @field_validator("arms")
    @classmethod
    def _file_names(cls, arms: dict[str, list[Path] | None]) -> dict[str, list[Path] | None]:
        """An arm's name is also that of its file of answers."""
        for name in arms:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"the name of an arm may contain letters, digits, - and _, got {name!r}"
                )
        for given in arms.values():
            arm_of(given)  # says what is wrong with a control
        return arms

    @field_validator("shard")
    @classmethod
    def _is_share(cls, shard: str | None) -> str | None:
        share_of(shard)
        return shard

    @model_validator(mode="after")
    def _styles_belong_to_tasks(self) -> Self:
        """The authors have no script for exact match."""
        if self.style != "default" and self.task == EXACT:
            raise ValueError("`style` changes how a task is scored; set `task`, too")
        return self

    @model_validator(mode="after")
    def _controls_fit(self) -> Self:
        """What learns needs records to learn from; cells of a swap are for models that see them."""
        for name, spec in self.specs.items():
            if spec.learns and self.train_records is None:
                raise ValueError(
                    f"the arm {name} learns from training records; give them with train_records"
                )
            if self.swap is not None and spec.kind != PLAIN:
                raise ValueError(
                    f"swap asks the base and patches; leave the control {name} ({spec.kind}:) out"
                )
        return self

    @property
    def specs(self) -> dict[str, ArmSpec]:
        """Arm -> what it is."""
        found = {}
        for name, given in self.arms.items():
            found[name] = arm_of(given)
        return found

    @property
    def share(self) -> tuple[int, int]:
        """(number of the part counted from 0, number of parts)."""
        return share_of(self.shard)

    @property
    def cache_folder(self) -> Path:
        """Where tokens are cached."""
        return self.cache or self.out / "cache"


def _folders(given: object) -> object:
    """What an arm was given as, as a list or None."""
    folders: object = given
    if isinstance(given, str):
        folders = given.split(",")
    elif given is None or isinstance(given, Path):
        folders = [given]
    if not isinstance(folders, list | tuple):
        return given  # the field's own type says what is wrong
    if all(map(_is_bare, folders)):
        return None
    return list(folders)


def _is_bare(folder: object) -> bool:
    """Whether a word stands for the base without any patch."""
    return folder is None or str(folder).lower() in ("", "none", "null")
