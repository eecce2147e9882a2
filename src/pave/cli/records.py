"""`pave records`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter

from pave.cli import output
from pave.cli.models import FrameFlag
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.texts import counted

if TYPE_CHECKING:
    from pave.data import Record
    from pave.data.check import RecordsCheck


class _HeldOut(NamedTuple):
    """Clips that are held out for testing."""

    file: Path
    share: float
    seed: int


def records_verb(
    action: Literal["from-csv", "check"],
    file: Path,
    /,
    *,
    clips: Path | None = None,
    out: Path | None = None,
    channel: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    test_out: Path | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    against: Annotated[list[Path] | None, Parameter(show_default=False)] = None,
    base: str | None = None,
    frames: FrameFlag = None,
    fast: Switch = False,
    json: Switch = False,
) -> int:
    r"""Make records of a CSV file and a folder of clips, or check records before a run.

    `from-csv` reads a CSV file whose first line names the columns: `video` (a file in the folder),
    `question` and `answer`. It may also have `id`, `answers` (all that are accepted) and `options`,
    with `|` between the values. Every other column, such as `family`, goes into the record's
    `meta`.

    `check` reads records of any format, opens every clip, and prints what is broken, missing, or
    doubled, and how long everything is. The exit code is 2 if a run on these records would fail.

    ```
    pave records from-csv questions.csv --clips clips --out train.jsonl \
        --channel audio
    pave records from-csv questions.csv --clips clips --out train.jsonl \
        --test-out test.jsonl --channel audio
    pave records from-csv questions.csv --clips clips --out train.jsonl \
        --channel imu=imu_file
    pave records check train.jsonl --against test.jsonl --base smol
    ```

    Args:
        action: What to do.
        file: With from-csv, the CSV file, in UTF-8. With check, records of any format.
        clips: With from-csv, the folder of the clips.
        out: With from-csv, the records file to write.
        channel: With from-csv, a side channel of every clip: `audio` if it is a track of the clip
            itself, or `NAME=COLUMN` for the column that names its file. May be given several times.
        test_out: A second records file, for clips that are held out for testing.
        test_share: With --test-out, the share of the clips that goes there.
        seed: With --test-out, decides which clips.
        against: With check, records of another split, which must not share a clip with these. May
            be given several times.
        base: With check, a base (smol, a folder, or a Hub id) whose tokens are counted. No weights
            are read.
        frames: With check and --base, the number of frames of a clip.
        fast: With check, do not open the clips; only see whether they exist.
        json: With check, print JSON.
    """
    if action == "check":
        _refuse(action, clips=clips, out=out, channel=channel, test_out=test_out)
        return _check(file, against or [], base, frames, fast=fast, json=json)
    _refuse(action, against=against, base=base, frames=frames, fast=fast or None, json=json or None)
    if clips is None or out is None:
        raise ConfigError("records from-csv needs --clips and --out (see: pave records --help)")
    held_out = None if test_out is None else _HeldOut(test_out, test_share, seed)
    return _from_csv(file, clips, out, channel or [], held_out)


def _refuse(action: str, **flags: object) -> None:
    """Flags of the other action are not silently ignored."""
    for name, value in flags.items():
        if value is not None:
            raise ConfigError(
                f"records {action} has no flag --{name.replace('_', '-')}; leave it out"
            )


def _from_csv(
    table: Path,
    clips: Path,
    out: Path,
    channel: Sequence[str],
    held_out: _HeldOut | None,
) -> int:
    """Write the records of a table."""
    from pave.data import write_records
    from pave.data.table import records_from_csv, split_by_clip
    from pave.files import writing

    records = records_from_csv(table, clips, _columns(channel))
    parts = [(out, records)]
    if held_out is not None:
        train, test = split_by_clip(records, held_out.share, held_out.seed)
        parts = [(out, train), (held_out.file, test)]
    for file, some in parts:
        with writing(file):
            write_records(file, some)
        _tell(file, some)
    return 0


def _check(
    file: Path,
    against: Sequence[Path],
    base: str | None,
    frames: FrameFlag,
    *,
    fast: bool,
    json: bool,
) -> int:
    """Print what is wrong with records; 2 if a run would fail."""
    from pave.bases import load_base
    from pave.data.check import check_records

    counted = None if base is None else load_base(base, weights=False)
    output.log_to_stderr()
    with output.stages() as bars:
        found = check_records(
            file,
            against=list(against),
            base=counted,
            frames=frames,
            fast=fast,
            progress=lambda done, total: bars("clips", done, total),
        )
    if json:
        output.as_json(found.as_dict())
    else:
        _show(found)
    return 2 if found.problems else 0


def _show(found: RecordsCheck) -> None:
    """What was found, for people."""
    rows = [("records", f"{found.records:,}"), ("clips", f"{found.clips:,}")]
    for name, count in sorted(found.channels.items()):
        rows.append((f"with {name}", counted(count, "record")))
    if found.unanswered:
        rows.append(("unanswered", f"{found.unanswered:,} (only for asking)"))
    if found.seconds:
        rows.append(("seconds per clip", _range(found.seconds)))
        rows.append(("all clips", output.duration(sum(found.seconds))))
    if found.clip_tokens is not None:
        rows.append(("visual tokens", f"{found.clip_tokens:,} for the first clip"))
    if found.text_tokens:
        rows.append(("text tokens", _range(found.text_tokens)))
    output.facts(rows)
    for kind, problem in found.problems.items():
        output.line(f"\n{kind}: {problem.count:,}")
        for example in problem.examples:
            output.line(f"  {example}")
        if problem.count > len(problem.examples):
            output.line(f"  and {problem.count - len(problem.examples):,} more")
    if not found.problems:
        output.line("\nnothing is wrong")


def _range(values: Sequence[float]) -> str:
    """Least, middle and greatest."""
    from statistics import median

    least, middle, most = min(values), median(values), max(values)
    return f"{least:,.4g} to {most:,.4g}, median {middle:,.4g}"


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
            output.note(
                f"no installed encoder reads the channel {name!r}{did_you_mean(name, known)}"
            )
        columns[name] = column or "video"
    return columns


def _tell(file: Path, records: Sequence[Record]) -> None:
    from pave.data import group_by_clip

    clips = len(group_by_clip(records))
    output.line(f"{file}: {counted(len(records), 'question')} about {counted(clips, 'clip')}")
    # Such a record can be asked, but neither trained on nor scored.
    unanswered = [record for record in records if record.turns[-1].answer is None]
    if unanswered:
        output.note(f"without an answer in {file}: {counted(len(unanswered), 'question')}")
