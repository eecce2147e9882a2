"""The run folder: whose run it holds, and whether this call may go on with it.

    run/
      run.json         what the run is: its settings, and digests of records, base and base patches
      settings.yaml    all settings, ready for `load_config`
      train_log.jsonl  a row every few steps
      log.csv          the same as a table
      run.html         the same as curves, for a browser; it refreshes while the run goes on
      checkpoints/     the two newest, each whole
      cache/           the token cache, unless it was put elsewhere
      patch/           the finished patch
  best/            the one that did best in validation, if there is any
  validation.jsonl the records that were taken out of the training records to validate on

A run goes on only as itself, because two halves of different runs would make a patch that nobody
asked for. Files may have moved meanwhile: what counts is what is in them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from pave.bases import Base
from pave.cache import TokenCache
from pave.data import Record, write_records
from pave.data.base_digests import digests_of
from pave.data.sources import is_jsonl
from pave.errors import TrainError
from pave.files import held_alone, make_folder, write_text_atomically
from pave.patches import read_config
from pave.patches.remote import locate
from pave.renamed import renamed
from pave.texts import TextFile, counted, lines_of, parse_json, read_object, read_text
from pave.train.checkpoints import newest_checkpoint, processes_of
from pave.train.config import OLD_NAMES, TrainConfig
from pave.train.held_out import Exam
from pave.train.origin import Origin
from pave.train.together import clear_tokens
from pave.train.trainer_fields import decisive

LOG_NAME, NOTE_NAME, SETTINGS_NAME = "train_log.jsonl", "run.json", "settings.yaml"
HELD_OUT_NAME = "validation.jsonl"
ADVICE = "use another folder, or resume=never to start over"
STEP = "sequences_of_all_processes_a_step"

# Settings that say where things are, how often they are written, how memory is spent and what
# multiplies: they may change between an interrupted run and its continuation without changing what
# is computed.
FREE_TO_CHANGE = frozenset(
    {
        "out",
        "cache",
        "save_every",
        "log_every",
        "track",
        "workers",
        "device",
        "device_map",
        "attention",
        "engine",
        "revision",
        "gradient_checkpointing",
        "patch_dtype",
        "resume",
        "records",
        "base",
        "base_patches",
        "start_from",
        "validation",
    }
)


def alone_in(folder: Path) -> AbstractContextManager[None]:
    """Hold the run folder, in the first process of a run; two runs would mix their files.

    Raises:
        TrainError: If another run is at work there.
    """
    return held_alone(folder, TrainError, "wait for it, or train into another folder")


def open_folder(
    config: TrainConfig,
    records: Iterable[Record],
    base: Base,
    processes: int,
    *,
    exam: Exam | None = None,
    origin: Origin | None = None,
    to_align: Iterable[Record] = (),
) -> None:
    """Make the run folder this run's, or check that it holds this very run.

    Args:
        config: The settings; `config.out` is the folder.
        records: The training records, as read.
        base: The base, as loaded.
        processes: How many processes train.
        exam: What the patch is asked while it trains.
        origin: What it starts from; None for fresh weights.
        to_align: Clips that teach the aligned start without their questions.

    Raises:
        TrainError: If the folder holds a run with other settings, records, base or number of
            processes.
    """
    identity = _identity(config, records, base, processes)
    # Both by content, wherever they lie.
    identity["validation"] = _validation(config, exam)
    if config.align_clips is not None:
        identity["align_clips"] = _digest_of(to_align)
    identity["start_from"] = None
    if origin is not None:
        identity["start_from"] = dict(origin.digests)
    clear_tokens(config.out)
    note = config.out / NOTE_NAME
    checkpoints = config.out / "checkpoints"
    if config.resume == "never":
        shutil.rmtree(checkpoints, ignore_errors=True)
        shutil.rmtree(config.best_folder, ignore_errors=True)
        (config.out / LOG_NAME).unlink(missing_ok=True)
    make_folder(checkpoints)  # what is in its way is to be known now, not at the first checkpoint
    newest = newest_checkpoint(checkpoints)
    if newest is not None and note.exists():
        _check_same(note, identity, config, made_by=processes_of(newest))
    write_text_atomically(note, json.dumps(identity, indent=1))
    settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_text_atomically(config.out / SETTINGS_NAME, settings)
    if exam is not None and exam.held_out:
        write_records(config.out / HELD_OUT_NAME, exam.records)


def _identity(
    config: TrainConfig, records: Iterable[Record], base: Base, processes: int
) -> dict[str, Any]:
    """What makes a run this run: its settings, and the contents of what they name."""
    identity: dict[str, Any] = config.model_dump(mode="json", exclude=set(FREE_TO_CHANGE))
    # How a step's sequences are cut into processes and forward passes does not change their mean
    # loss, nor which ones they are.
    each = identity.pop("batch_clips") * identity.pop("accumulation")
    identity[STEP] = each * processes
    # Records and base may lie elsewhere now: what counts is what is in them.
    identity["records"] = _digest_of(records)
    if config.mixture is not None:
        for file in identity["mixture"]["files"].values():
            del file["records"]
            del file["families"]  # the digest has only the questions that are used
        # A forward pass is of one file, so how a step is cut says what is in it.
        identity["batch_clips"] = config.batch_clips
    identity["trainer"] = decisive(config.trainer)
    # Runs of an older pave have no such block.
    if not identity["trainer"]:
        del identity["trainer"]
    identity["base_patches"] = [read_config(locate(place)).files for place in config.base_patches]
    identity["base"] = digests_of(base, TokenCache(config.cache_folder))
    identity |= base.prompt_identity()
    return identity


def _validation(config: TrainConfig, exam: Exam | None) -> dict[str, Any] | None:
    """What of the validation decides which patch is the best; another patience may go on."""
    if config.validation is None or exam is None:
        return None
    settings = config.validation.model_dump(mode="json", exclude={"records", "clips", "patience"})
    settings["every"] = config.validation.every or config.save_every
    return settings | {"records": _digest_of(exam.records)}


def _digest_of(records: Iterable[Record]) -> str:
    """SHA-256 of the records' texts; where their media lie does not count."""
    lines = [record.model_dump_json(exclude={"video", "channels"}) for record in records]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _check_same(
    note: Path,
    identity: dict[str, Any],
    config: TrainConfig,
    made_by: int,
) -> None:
    """The run that the folder holds must be the one that is asked for.

    Args:
        note: What the folder says of its run.
        identity: What is asked for.
        config: The same, as settings.
        made_by: How many processes made the newest checkpoint.
    """
    before = renamed(read_object(note, TrainError, ADVICE), OLD_NAMES, str(note))
    if "accumulation" in before:  # of an older pave, which refused to cut a step otherwise
        before["sequences_a_step"] = before.pop("batch_clips", 1) * before.pop("accumulation")
    if "sequences_a_step" in before:  # of one process of an older pave
        before[STEP] = before.pop("sequences_a_step") * made_by
    # Settings that came since have the values that made no difference before.
    for name in identity.keys() - before.keys():
        if name in TrainConfig.model_fields:
            before[name] = TrainConfig.model_fields[name].get_default(call_default_factory=True)
    if before.get("records") != identity.get("records") and _is_older(before, config):
        before["records"] = identity["records"]
    told = identity.keys() | (
        before.keys() & {"chat", "clip_text", "trainer"}
    )  # either may leave out what is built in
    changed = sorted(name for name in told if before.get(name) != identity.get(name))
    if changed == [STEP]:
        raise TrainError(_other_step(config, before[STEP], identity[STEP]))
    if changed:
        raise TrainError(f"{config.out} holds a run with other {', '.join(changed)}; {ADVICE}")


def _other_step(config: TrainConfig, before: int, now: int) -> str:
    """That a step of the run has another number of sequences than is asked for, and a way out."""
    processes = now // (config.batch_clips * config.accumulation)
    words = counted(processes, "process", "processes")
    said = (
        f"{config.out} holds a run with {before} sequences a step, and {words} x "
        f"batch_clips {config.batch_clips} x accumulation {config.accumulation} are {now}; "
    )
    if before % (config.batch_clips * processes):
        return said + f"choose others whose product is {before}, or resume=never to start over"
    fitting = before // (config.batch_clips * processes)
    return said + f"set accumulation to {fitting}, or use resume=never to start over"


def _is_older(before: dict[str, Any], config: TrainConfig) -> bool:
    """Whether a run was noted with the digest that its records had in an older pave."""
    # Which read nothing but JSONL.
    if config.records is None or not is_jsonl(config.records):
        return False
    return before.get("records") == _older_digest(config.records)


def _older_digest(records: Path) -> str:
    """The digest that was taken before `meta.needs` of a record was read as `meta.channel`."""
    found = []
    text = read_text(TextFile(records, TrainError, "give a JSONL file in UTF-8"))
    for _, line in lines_of(text):
        values = parse_json(line)
        record = Record.model_validate(values)
        meta = values.get("meta", {})
        found.append(record.model_copy(update={"meta": meta}))
    return _digest_of(found)
