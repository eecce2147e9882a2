"""`pave prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pave.cli import output
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.tasks.registry import EXACT, list_tasks
from pave.texts import counted

# Exact match scores any records and has no annotation files of its own.
BENCHMARKS = list_tasks()
BENCHMARKS.remove(EXACT)


def prepare_verb(
    task: Annotated[str, Parameter(help=f"The benchmark: {', '.join(BENCHMARKS)}.")],
    /,
    *,
    annotations: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)],
    media: Path,
    split: str,
    out: Path,
    features: Path | None = None,
    authors_features: Annotated[
        tuple[str, ...], Parameter(consume_multiple=True, show_default=False)
    ] = (),
    channels: Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)] = (),
    video_map: Path | None = None,
    feature_map: Path | None = None,
    style: Literal["default", "authors"] = "default",
    allow_missing: Switch = False,
    authors_files: Path | None = None,
    json: Switch = False,
) -> int:
    r"""Turn the public annotation files of a benchmark into records.

    Missing media are listed beside the records and stop the command unless `--allow-missing` is
    given.

    Files of the PAVE authors are read as they are published: their training files in place of a
    benchmark's own, their mapping files, and their features. The records then name these features
    as the benchmark's channel, which the encoder `official` reads.

    ```
    pave prepare avqa --annotations val_qa.json --media avqa/videos \
        --split val --out avqa-val.jsonl
    pave prepare scanqa --annotations ScanQA_v1.0_val.json --media scannet \
        --split val --out val.jsonl --features features
    pave prepare avsd --annotations avsd_train_instruct.json \
        --media Charades_v1_480 --split train --out train.jsonl \
        --authors-features Charades_v1_audio_imagebind_feat
    ```

    Args:
        task: The benchmark, pave's own or a package's.
        annotations: Its annotation files, one or several, or a folder of them; or the authors'
            training file of it.
        media: Folder of the videos (or of folders of frames).
        split: Which part: train, val or test.
        out: The records file; a summary and the list of missing media go beside it.
        features: Folder of precomputed features; the records then name these as the channel
            `features`.
        authors_features: Folder of the authors' features, as unpacked; the records then name these
            as the benchmark's channel. Of another channel: CHANNEL=FOLDER.
        channels: Channels that the records name, such as audio frames; by default those of the
            benchmark, or those that have features.
        video_map: The authors' mapping file of videos (video id to path below `--media`).
        feature_map: The authors' mapping file of features (video id to path below the folder of
            features).
        style: `authors` converts as the PAVE authors' scripts do, in every detail.
        allow_missing: Leave out the examples whose media are missing, instead of stopping.
        authors_files: Folder for the files that the authors' scripts would make; they are written,
            too.
        json: Print the summary as JSON.
    """
    from pave.tasks import get_task
    from pave.tasks.prepare import prepare, write, write_authors_files

    chosen = get_task(task)
    prepared = prepare(
        chosen,
        annotations,
        media,
        split,
        style=style,
        features=features,
        authors_features=_named(authors_features, chosen.channel),
        channels=channels,
        video_map=video_map,
        feature_map=feature_map,
    )
    write(prepared, out, allow_missing=allow_missing)
    extra = write_authors_files(chosen, annotations, split, authors_files) if authors_files else []
    summary = prepared.summary
    if json:
        output.as_json({**summary.model_dump(mode="json"), "records": out, "authors_files": extra})
        return 0
    expected = (
        f"{summary.expected:,} expected"
        if summary.expected
        else "the published number is not known"
    )
    output.facts(
        [
            ("records", f"{out} ({summary.written:,}, prompt {summary.prompt})"),
            ("annotated", f"{counted(summary.converted, 'example')}; {expected}"),
            ("left out", f"{summary.left_out:,}"),
            ("without the channel", f"{summary.without_channel:,}"),
            ("missing media", f"{len(summary.missing):,}"),
            *(("also wrote", str(path)) for path in extra),
        ]
    )
    return 0


def _named(words: Sequence[str], own: str) -> dict[str, str]:
    """Channel -> folder; a folder alone is of the benchmark's own channel.

    Raises:
        ConfigError: If a channel has two.
    """
    found: dict[str, str] = {}
    for word in words:
        head, equals, folder = word.partition("=")
        channel, folder = (head, folder) if equals and "/" not in head else (own, word)
        if channel in found:
            raise ConfigError(
                f"{found[channel]} and {folder} are both for the channel {channel}; give one "
                "folder per channel, for example one that contains both"
            )
        found[channel] = folder
    return found
