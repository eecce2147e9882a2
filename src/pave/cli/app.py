"""`main`: verbs, their settings, and how an error becomes one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict

from pave.cli.launched import check_verb
from pave.cli.old_names import present_words
from pave.cli.verbs import Verb, all_verbs, find_verb
from pave.errors import ConfigError, PaveError
from pave.version import __version__

CONFIG_VERBS = ("train", "eval")
"""Verbs whose settings may stand in a file."""
HELP = """Small patches that give a frozen Video LLM a new sense: sound, 3D, other cameras, any \
timed features.

New to pave? `pave demo` shows all of it in a few minutes, on a CPU. \
`pave COMMAND --help` explains a command.
Add `--debug` to any command to see the traceback of an error.
"""
USER_ERROR, BUG, INTERRUPTED = 2, 1, 130
PLACE_ADVICE = {
    errno.EACCES: "check who may write there",  # permission denied
    errno.EPERM: "check who may write there",
    errno.EROFS: "choose a place that you can write to",  # a read-only file system
    errno.ENOSPC: "make room, or choose another place",  # the disk is full
    errno.EDQUOT: "make room, or choose another place",  # the user's share of it is
    # More than the file system takes in one file.
    errno.EFBIG: "make room, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "it is a folder; name a file",
    errno.EEXIST: "something else is already there; choose another place",
    errno.ENOTDIR: "it is not a folder; choose another place",
    errno.ENOTEMPTY: "something else is already there; choose another place",
    errno.ELOOP: "check the links on the way there",
}
"""What the system says of a place that cannot be used, and what to do.

Any other number is a bug of ours.
"""
PLACE_ADVICE_WRITING = PLACE_ADVICE | {errno.ENOENT: "check the path"}
"""The same for a place that was to be written: a missing file is the user's fault there.

Elsewhere we have lost it.
"""


def make_app(verb: Verb | None = None) -> App:
    """The application: of one verb alone, or of all of them with a line each.

    Verbs are named by their import path, so that nothing is loaded that is not used. The verb that
    is to be run stands alone: cyclopts passes over every key of a settings file that is also a
    verb's name.
    """
    app = App(
        name="pave",
        help=HELP,
        version=__version__,
        help_format="markdown",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        help_on_error=False,
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative_iterable=(), negative_none=()),
    )
    if verb is not None:
        app.command(verb.place, name=verb.name)
        return app
    # Only here: it is a flag of the whole program, and completion has to know every verb.
    app.register_install_completion_command()
    for place, listed in enumerate(all_verbs()):
        app.command(listed.place, name=listed.name, help=listed.summary(), sort_key=place)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words after `pave`; those of the process when not given.

    Returns:
        The exit code: 0, 2 for what the user can mend, 1 for a bug of ours, 130 for an
        interruption.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = bool(os.environ.get("PAVE_DEBUG")) or "--debug" in words
    # Allowed anywhere, so no verb has to know it.
    words = [word for word in words if word != "--debug"]
    _be_quiet()
    _print_anything()
    try:
        code = _run(words)
        sys.stdout.flush()  # what cannot be written is to be known here, not at the exit of Python
        return code
    except (CycloptsError, PaveError) as error:
        return _complain(f"error: {_one_line(error, words)}", USER_ERROR, debug)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED, debug)
    except BrokenPipeError:  # the reader has gone
        _drop_output()
        return 0
    except Exception as error:
        if place := _place(error):
            return _complain(f"error: {place}", USER_ERROR, debug)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return _complain(
            f"unexpected error: {text} (run again with --debug for the traceback)", BUG, debug
        )


def _run(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        app = make_app()
    else:
        words = present_words(words)
        verb = find_verb(words[0])
        check_verb(verb.name)  # before its modules are loaded, which takes seconds
        app = make_app(verb)
        if verb.name in CONFIG_VERBS:
            words, app.config = _with_config(words)
    result = app(words)
    return result if isinstance(result, int) else 0


def _with_config(words: list[str]) -> tuple[list[str], list[Dict]]:
    """The words without the settings file, and the file as a source of settings."""
    from pave.cli.settings import take_config

    verb = words[0]
    words, sources = take_config(words)
    for source in sources:
        if verb in source.data:  # cyclopts would take it for the verb's section
            raise ConfigError(
                f"unknown setting {verb!r} in the settings file (see: pave {verb} --help)"
            )
    return words, sources


def _place(error: Exception) -> str:
    """What to say of a place that cannot be used; empty if the error is of another kind."""
    from pave.files import PlaceError

    if not isinstance(error, OSError):
        return ""
    advice = PLACE_ADVICE_WRITING if isinstance(error, PlaceError) else PLACE_ADVICE
    if error.errno not in advice:
        return ""
    if error.filename is None:  # only a stream that is open already has no name: standard output
        _drop_output()
    return f"cannot use {error.filename or 'the output'}: {error.strerror}; {advice[error.errno]}"


def _drop_output() -> None:
    """Keep Python from complaining at exit about lines that cannot be written."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(text: str, code: int, debug: bool) -> int:
    """One line on the error stream, after the traceback where that is wanted."""
    from pave.errors import printable

    if debug:
        sys.stderr.write(printable(traceback.format_exc()))
    # Messages quote names and contents of files, which may hold what steers a terminal.
    sys.stderr.write(printable(f"pave: {text}\n"))
    return code


def _one_line(error: BaseException, words: Sequence[str]) -> str:
    """The message of an error that the user can mend."""
    if not isinstance(error, CycloptsError):
        return " ".join(str(error).split())
    from pave.cli.settings import usage_error

    if words and not words[0].startswith("-"):
        return f"{usage_error(error)} (see: pave {words[0]} --help)"
    return f"{usage_error(error)} (see: pave --help)"


def _be_quiet() -> None:
    """Keep the libraries' bars and advice off the terminal.

    Environment variables also reach child processes.
    """
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_VERBOSITY", "error"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"),
        ("TQDM_DISABLE", "1"),
        ("PYTHONWARNINGS", "ignore"),
    ):
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore")
    # transformers imports torchao where it is installed, and that warns of GPU kernels of its own.
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _print_anything() -> None:
    """Answers and file names may hold characters that the terminal lacks, or would obey.

    These are spelt out.
    """
    from pave.texts import PrintableFormatter

    if logging.lastResort is not None:  # where nobody has set up a log, warnings go through it
        logging.lastResort.setFormatter(PrintableFormatter())
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
