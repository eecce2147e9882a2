"""`pave records`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from pave.cli import output

if TYPE_CHECKING:
    from pave.data import Record


def records_verb(
    action: Literal["from-csv"],
    table: Path,
    /,
    *,
    clips: Path,
    out: Path,
    channel: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    test_out: Path | None = None,
    test_share: float = 0.2,
    seed: int = 0,
) -> int:
    """Make records of a CSV file of questions and a folder of clips.

    The first line of the CSV file names the columns: `video` (a file in the folder), `question` and
    `answer`. It may also have `id`, `answers` (all that are accepted) and `options`, with `|`
    between the values. Every other column, such as `family`, goes into the record's `meta`.

    ```
    pave records from-csv questions.csv --clips clips --out train.jsonl --channel audio
    pave records from-csv questions.csv --clips clips --out train.jsonl --test-out test.jsonl
        --channel audio
    pave records from-csv questions.csv --clips clips --out train.jsonl --channel imu=imu_file
    ```

    Args:
        action: What to do.
        table: The CSV file, in UTF-8.
        clips: Folder of the clips.
        out: The records file to write.
        channel: A side channel of every clip: `audio` if it is a track of the clip itself, or
            `NAME=COLUMN` for the column that names its file. May be given several times.
        test_out: A second records file, for clips that are held out for testing.
        test_share: With --test-out, the share of the clips that goes there.
        seed: With --test-out, decides which clips.
    """
    from pave.data import write_records
    from pave.data.table import records_from_csv, split_by_clip
    from pave.files import writing

    records = records_from_csv(table, clips, _columns(channel or []))
    parts = [(out, records)]
    if test_out is not None:
        train, test = split_by_clip(records, test_share, seed)
        parts = [(out, train), (test_out, test)]
    for file, some in parts:
        with writing(file):
            write_records(file, some)
        _tell(file, some)
    return 0


def _columns(given: Sequence[str]) -> dict[str, str]:
    """Channel -> column; a channel alone is a track of the clip."""
    from pave.channels import list_encoders
    from pave.registry import did_you_mean

    known = sorted({name for name, _ in list_encoders()})
    columns = {}
    for word in given:
        name, _, column = word.partition("=")
        # Not refused: the package that reads it may be written later.
        if name not in known:
            output.note(f"no encoder reads the channel {name!r} here{did_you_mean(name, known)}")
        columns[name] = column or "video"
    return columns


def _tell(file: Path, records: Sequence[Record]) -> None:
    from pave.data import group_by_clip

    clips = len(group_by_clip(records))
    output.line(f"{file}: {len(records):,} questions about {clips:,} clips")
    # Such a record can be asked, but neither trained on nor scored.
    unanswered = [record for record in records if record.turns[-1].answer is None]
    if unanswered:
        output.note(f"{len(unanswered):,} questions in {file} have no answer")
