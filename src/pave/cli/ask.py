"""`pave ask`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pave.answer.sampling import Sampling
from pave.bases.loading import AS_USUAL, Loading
from pave.cli import output
from pave.cli.models import FrameFlag, channels_of, check_length, check_video, patched_model
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.placement import DtypeWord

if TYPE_CHECKING:
    from pave.model import PatchedModel

GREEDY = Sampling()


def ask_verb(
    video: Path | None = None,
    /,
    *question: str,
    patch: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    channel: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    base: str | None = None,
    off: Switch = False,
    same_weights: Switch = False,
    frames: FrameFlag = None,
    system: str | None = None,
    dtype: DtypeWord = "auto",
    loading: Annotated[Loading, Parameter(name="*")] = AS_USUAL,
    sampling: Annotated[Sampling, Parameter(name="*")] = GREEDY,
    stream: Switch = False,
    batch: Path | None = None,
    out: Path | None = None,
    json: Switch = False,
) -> int:
    r"""Ask questions about a video, with patches or without; each answer is one line on stdout.

    ```
    pave ask concert.mp4 "What do you hear?" --patch sound-demo
    pave ask concert.mp4 "What do you hear?" --patch sound-demo --off
    pave ask concert.mp4 "What do you see?" "What do you hear?" --json
    pave ask concert.mp4 "Describe the stage." --temperature 0.7 --seed 1 --n 3
    pave ask --batch questions.jsonl --out answers.jsonl --patch sound-demo
    pave ask ego.mp4 "What is behind the door?" --patch cameras \
        --channel views=cam1.mp4,cam2.mp4
    ```

    Args:
        video: A video file, or a folder of frames.
        question: One or more questions. The video is decoded only once.
        patch: A patch folder or Hub id. If you give several patches, their effects add up.
        channel: NAME=MEDIA for a channel that is not in the video itself. MEDIA is a path, several
            paths separated by commas, or a JSON object as in records. You can repeat the flag for
            several channels.
        base: The base model: smol, a folder, or a Hub id. By default the base of the first patch.
        off: Load the patches but switch them off, so that the answer is exactly that of the base.
        same_weights: Refuse a patch that was trained on a base with other weights, for example
            before fine-tuning. Without this flag, there is a warning.
        frames: Number of evenly spread frames, or auto for the frames that the base's own video
            processor takes. By default as the patches were trained, or else the base's own number.
        system: A system message before each question, if the base's chat template takes one.
        dtype: Floating-point type of the base. auto is the type of its files.
        loading: How the base is loaded.
        sampling: How answers are generated.
        stream: Print each answer while it is generated.
        batch: Ask the questions in a file of records instead. Turns without an answer are
            asked, in order; turns with an answer are history.
        out: With --batch, the file for the answers, with one line per finished record. If you
            repeat the command, it continues with the missing ones.
        json: Print the questions, the answers, the base, and the patches as JSON.
    """
    if batch is not None or out is not None:
        if channel or stream or json:
            raise ConfigError(
                "--channel, --stream and --json cannot be used with --batch: its records name "
                "their channels, and the answers go into a file"
            )
        return _batch(
            batch, out, video, question, patch=patch, base=base, off=off, frames=frames,
            system=system, same_weights=same_weights, dtype=dtype, loading=loading,
            sampling=sampling,
        )  # fmt: skip
    if video is None:
        raise ConfigError("VIDEO is missing (see: pave ask --help)")
    if stream and json:
        raise ConfigError("--json prints complete answers; leave out --stream")
    if not question or not all(text.strip() for text in question):
        raise ConfigError(
            "the question is missing or empty; write it after the video, as in: "
            'pave ask concert.mp4 "What do you hear?"'
        )
    _check_text(question)
    check_length(sampling)
    media = channels_of(channel)
    # A second for a frame, before a minute for a model.
    check_video(video)
    with patched_model(
        patch, base, off=off, same_weights=same_weights, dtype=dtype, loading=loading
    ) as (model, name):
        options: Any = {
            "channels": media,
            "frames": frames,
            "system": system,
            "sampling": sampling,
        }
        if stream:
            return _stream(model, video, question, options)
        # n a question, one question after the other
        answers = _answers(model, video, question, options)
    if json:
        turns = []
        for number, answer in enumerate(answers):
            turns.append({"question": question[number // sampling.n], "answer": answer})
        output.as_json(
            {"video": video, "base": name, "patches": list(patch), "off": off, "turns": turns}
        )
    else:
        for answer in answers:
            output.line(answer)
    return 0


def _answers(
    model: PatchedModel, video: Path, question: Sequence[str], options: dict[str, Any]
) -> list[str]:
    """`n` answers to each question; questions that get one each share the clip's prefix."""
    if options["sampling"].n == 1:
        return model.ask(video, list(question), **options)
    answers: list[str] = []
    for text in question:
        answers += model.ask(video, text, **options)
    return answers


def _stream(
    model: PatchedModel, video: Path, question: Sequence[str], options: dict[str, Any]
) -> int:
    """Answers while they are generated, a line each."""
    show = {"type": "video", "video": video, "frames": options["frames"]}
    for text in question:
        content = [show | {"channels": options["channels"]}, {"type": "text", "text": text}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if options["system"] is not None:
            messages.insert(0, {"role": "system", "content": options["system"]})
        for piece in model.chat(messages, stream=True, sampling=options["sampling"]):
            output.piece(piece)
        output.line()
    return 0


def _batch(
    batch: Path | None,
    out: Path | None,
    video: Path | None,
    question: Sequence[str],
    *,
    frames: FrameFlag,
    system: str | None,
    sampling: Sampling,
    **how: Any,
) -> int:
    """The questions of a file."""
    if batch is None or out is None or video is not None or question:
        raise ConfigError(
            "--batch needs --out, and no video or question beside it: pave ask --batch "
            "questions.jsonl --out answers.jsonl"
        )
    check_length(sampling)
    from pave.evaluate.batch import answer_file, questions_of

    options: Any = {"frames": frames, "sampling": sampling, "system": system}
    asked = questions_of(batch, out)
    for told in asked.failures:
        output.note(told)
    failed = len(asked.failures)
    if asked.records:
        with patched_model(how.pop("patch"), how.pop("base"), **how) as (model, _):
            for told in answer_file(model, asked.records, out, **options):
                output.note(told)
                failed += 1
    output.line(
        f"{len(asked.records) + len(asked.failures) - failed} answered, {asked.done} answered "
        f"before, {failed} failed; answers in {out}"
    )
    return 2 if failed else 0


def _check_text(question: Sequence[str]) -> None:
    """Bytes that are no UTF-8 come from the system as half characters, which no tokenizer takes."""
    try:
        "".join(question).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "the question is not valid UTF-8; check the encoding of the terminal"
        ) from error
