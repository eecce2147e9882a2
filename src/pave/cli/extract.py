"""`pave extract`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from pave.bases.loading import AS_USUAL, Loading
from pave.cli import output
from pave.cli.models import FrameFlag
from pave.cli.settings import Switch, from_words
from pave.placement import DtypeWord

if TYPE_CHECKING:
    from pave.extract import ExtractReport, Progress

_TELL = 15.0  # seconds between lines where there is no terminal


def extract_verb(
    records: Path,
    /,
    *,
    cache: Path,
    channel: str | None = None,
    encoder: str | None = None,
    encoder_settings: Annotated[dict[str, Any] | None, Parameter(show_default=False)] = None,
    visual: Switch = False,
    base: str | None = None,
    inputs: Annotated[dict[str, Any] | None, Parameter(show_default=False)] = None,
    frames: FrameFlag = None,
    dtype: DtypeWord = "auto",
    loading: Annotated[Loading, Parameter(name="*")] = AS_USUAL,
    cache_dtype: Literal["bf16", "exact"] | None = None,
    workers: int = 1,
    shard: str | None = None,
    retry: Switch = False,
    engine: Literal["local", "ray"] = "local",
    json: Switch = False,
) -> int:
    r"""Encode every clip in a records file once, and cache the tokens for training and evaluation.

    You can interrupt the command at any time; if you repeat it, it continues. Several calls share
    the work if you give each of them a `--shard`; under torchrun this is automatic. Use `pave cache
    merge` to join caches in several folders. A clip that cannot be read is named and skipped. If no
    clip can be read, the exit code is 2.

    ```
    pave extract train.jsonl --channel audio --encoder mel --cache tokens \
        --workers 4
    pave extract train.jsonl --visual --base smol --cache tokens
    pave extract train.jsonl --channel views --encoder tower --base smol \
        --cache tokens
    pave extract train.jsonl --channel audio --encoder mel --cache tokens \
        --shard 2/8
    ```

    Args:
        records: Records: JSONL, JSON, CSV, Parquet, tar, or a data set.
        cache: Folder of the token cache; give the same one to `pave train` and `pave eval`.
        channel: Side channel to encode.
        encoder: Encoder of the channel.
        encoder_settings: Settings of the encoder, each as `--encoder-settings.NAME VALUE`.
        visual: Compute the base's own visual tokens, too; without a channel, only these.
        base: The base whose vision tower makes the visual tokens, or is used by the encoder: smol,
            a folder, or a Hub id.
        inputs: How the base gets its inputs, each as `--inputs.NAME VALUE`, if training sets them
            too.
        frames: Number of evenly spread frames for visual tokens, or auto for the frames that the
            base's own video processor takes. By default the base's own number.
        dtype: Floating-point type of the base. auto is the type of its files.
        loading: How the base is loaded; the encoder runs on its device.
        cache_dtype: Type of the stored tokens: bf16, or exact for the encoder's own type. By
            default that of the cache, and bf16 for a new one.
        workers: Number of processes that encode. With 0, this process encodes, and a clip that
            crashes a decoder ends it.
        shard: Do only a share of the work, such as 2/8.
        retry: Try clips again that the cache notes as broken.
        engine: Run the workers here, or on a Ray cluster (needs the extra `ray`).
        json: Print the summary as JSON.
    """
    from pydantic import ValidationError

    from pave.cli.launched import own_shard
    from pave.cli.settings import validation_error
    from pave.errors import ConfigError, RecordError
    from pave.extract import ExtractConfig, extract

    settings = from_words({"encoder_settings": encoder_settings or {}, "inputs": inputs or {}})
    try:
        config = ExtractConfig(
            records=records,
            cache=cache,
            channel=channel,
            encoder=encoder,
            visual=visual,
            base=base,
            frames=frames,
            dtype=dtype,
            cache_dtype=cache_dtype,
            workers=workers,
            shard=own_shard(shard),
            retry=retry,
            **loading.model_dump(),
            **settings,
        )
    except ValidationError as error:
        raise ConfigError(validation_error(error)) from error
    output.log_to_stderr()
    with output.stages() as bars:
        watch = _Watch(bars)
        if engine == "ray":
            from pave.extract.cluster import extract_on_ray

            report = extract_on_ray(config, watch=watch)
        else:
            report = extract(config, watch=watch)
    if json:
        output.as_json(report.as_dict())
    else:
        _tell(report)
    # A few broken clips are normal; when all of them are, the next verb would find nothing.
    if report.skipped and not report.usable:
        raise RecordError(
            f"no clip of {len(report.skipped):,} could be encoded; the first: "
            f"{report.skipped[0].reason}"
        )
    return 0


class _Watch:
    """Progress: a bar on a terminal, else a line now and then, both with rate and time left."""

    def __init__(self, bars: output.Stages) -> None:
        self.bars, self.told = bars, time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Show it."""
        if sys.stderr.isatty():
            self.bars("clips", progress.done, progress.total)
            return
        # Lines of its own: they tell the rate and what was skipped, too.
        if time.monotonic() - self.told < _TELL:
            return
        self.told = time.monotonic()
        left = "" if progress.left is None else f", about {output.duration(progress.left)} left"
        skipped = f", {progress.skipped} skipped" if progress.skipped else ""
        sys.stderr.write(
            f"{progress.done} of {progress.total} clips, {progress.rate:.1f} a "
            f"second{skipped}{left}\n"
        )


def _tell(report: ExtractReport) -> None:
    rows = [
        ("clips", f"{report.clips:,}"),
        ("encoded", f"{report.made:,}"),
        ("found", f"{report.found:,}"),
        ("absent", f"{report.absent:,} (the clip has no such channel)"),
        ("without", f"{report.without:,} (the record names no such channel)"),
        ("skipped", f"{len(report.skipped):,}"),
        ("bytes", f"{report.bytes:,}"),
        ("seconds", f"{report.seconds:.1f}"),
    ]
    output.facts(
        [row for row in rows if row[0] not in ("absent", "without") or not row[1].startswith("0 ")]
    )
    for skipped in report.skipped:
        output.line(f"skipped {skipped.part} of {skipped.id}: {skipped.reason}")
