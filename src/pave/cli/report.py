"""`pave report`."""

from __future__ import annotations

from pathlib import Path

from pave.cli import output
from pave.errors import ConfigError


def report_verb(
    run: Path,
    /,
    *,
    out: Path | None = None,
    records: Path | None = None,
    questions: int = 500,
    seconds: float = 10.0,
) -> int:
    """Write one HTML page of an evaluation: differences, and clips with pictures and sound.

    The page shows the clips on which the arms differ, first those that the last arm gets right and
    the first one wrong, with filters by arm, kind of question and words. It is a single file that
    needs no server and no network.

    ```
    pave report runs/eval
    pave report outputs/demo/eval --out demo.html --questions 100
    ```

    Args:
        run: The out folder of `pave eval`, or of `pave demo`.
        out: The file to write, by default `report.html` in that folder.
        records: The records that were asked, if they have been moved.
        questions: Maximum number of questions on the contact sheet. Clips on which the arms differ
            come first.
        seconds: Maximum length of the sound of a clip.
    """
    from pave.evaluate.page import write_page

    if questions < 1:
        raise ConfigError(f"--questions must be at least 1, got {questions}")
    if not 0 <= seconds <= 600:  # ten minutes of sound are 3 MB a clip
        raise ConfigError(f"--seconds must be from 0 to 600, got {seconds:g}")
    with output.stages() as stages:
        page = write_page(
            run, out, records=records, questions=questions, seconds=seconds, progress=stages
        )
    size = page.stat().st_size / 1e6
    output.line(f"{page} ({size:.1f} MB): open it in a browser")
    return 0
